"""NVIDIA's cards through cuda.core. Neither Numba nor a compiler is needed to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError, PlanError, RunError
from graphc.runtime.card import CardMemory, Launch, Move, Work

ON_THE_CPU = "run on a machine with a card, or compile for the CPU: --target native"
DRIVER = 13000
"""The oldest driver's number: CUDA 13.0, with whose tools machine code is made."""


class _Piece:
    """``CardMemory`` of a real card."""

    def __init__(self, buffer: Any, nbytes: int) -> None:
        self.buffer, self.nbytes = buffer, nbytes
        self.address = int(buffer.handle) if nbytes else 0


class _Pinned:
    """Pinned memory as NumPy takes it; the array keeps it alive."""

    def __init__(self, buffer: Any, nbytes: int) -> None:
        self.buffer = buffer
        place = {"data": (int(buffer.handle), False), "shape": (nbytes,), "typestr": "|u1", "version": 3}
        self.__array_interface__: dict[str, Any] = place


class NvidiaCard:
    """``Card`` for the first card of this machine; arch: of the kernels, serves(major, minor): they run on such a card.

    Raises ``GraphcError`` where cuda.core is not installed, ``RunError`` where there is no driver, one that is too old,
    or no card, ``PlanError`` where the card is of another architecture.
    """

    def __init__(self, arch: str, serves: Callable[[int, int], bool]) -> None:
        self._core = _open()
        with _told("opening the card"):
            self._device = self._core.Device(0)
            self._device.set_current()
            major, minor = self._device.compute_capability
            name = self._device.name
        if not serves(major, minor):
            raise PlanError(
                f"the plan is for {arch}, but this machine's card ({name}) is sm_{major}{minor}",
                f"compile the net for it (--target cuda:sm_{major}{minor}, if graphc has that target)",
            )
        with _told("opening the card"):
            self._stream = self._device.create_stream()
            self._host_memory = self._core.LegacyPinnedMemoryResource()

    def allocate(self, nbytes: int) -> CardMemory:
        """Memory of the card."""
        if not nbytes:
            return _Piece(None, 0)
        with _told(f"allocating {nbytes} bytes"):
            self._device.set_current()
            return _Piece(self._device.allocate(nbytes, stream=self._stream), nbytes)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Memory of the process that stays where it is."""
        if not nbytes:
            return np.zeros(0, np.uint8)
        with _told(f"allocating {nbytes} bytes of pinned memory"):
            self._device.set_current()
            return np.asarray(_Pinned(self._host_memory.allocate(nbytes), nbytes))

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        """Copy an array to the card."""
        staging = self.pinned(array.nbytes)
        staging[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._now(Move(place, staging, 0, array.nbytes, to_card=True))

    def download(self, place: CardMemory, nbytes: int) -> np.ndarray:
        """Copy bytes from the card."""
        staging = self.pinned(nbytes)
        self._now(Move(place, staging, 0, nbytes, to_card=False))
        return np.array(staging)

    def _now(self, move: Move) -> None:
        with _told("a copy"):
            self._device.set_current()
            self._enqueue(move, self._stream)
            self._stream.sync()

    def load(self, name: str, code: bytes) -> Any:
        """A kernel of a cubin."""
        with _told(f"loading the kernel {name}"):
            self._device.set_current()
            return self._core.ObjectCode.from_cubin(code, name=name).get_kernel(name)

    def record(self, work: Sequence[Work]) -> Callable[[], None]:
        """A CUDA graph of the work."""
        with _told("recording a run"):
            self._device.set_current()
            builder = self._stream.create_graph_builder()
            builder.begin_building()
            for item in work:
                self._enqueue(item, builder)
            graph = builder.end_building().complete()

        def replay() -> None:
            with _told("a run"):
                self._device.set_current()
                graph.launch(self._stream)
                self._stream.sync()

        return replay

    def _enqueue(self, item: Work, stream: Any) -> None:
        if isinstance(item, Launch):
            config = self._core.LaunchConfig(grid=item.blocks, block=item.threads)
            self._core.launch(stream, config, item.kernel, *item.params)
        elif item.stop > item.start:
            size, part = item.stop - item.start, self._core.Buffer.from_handle
            card = part(item.card.address + item.start, size)
            host = part(int(item.host.ctypes.data) + item.start, size)
            (host if item.to_card else card).copy_to(card if item.to_card else host, stream=stream)


def _open() -> Any:
    """The module cuda.core, with a driver that is new enough."""
    try:
        import cuda.core as core
        from cuda.bindings import driver
    except ImportError as error:
        raise GraphcError(f"running on a card needs cuda.core: {error}", "pip install 'graphc[cuda]'") from None
    try:
        failed, *_ = driver.cuInit(0)
        _, version = driver.cuDriverGetVersion()
    except RuntimeError as error:  # cuda.bindings finds no driver
        raise RunError(f"this machine has no NVIDIA driver: {error}", ON_THE_CPU) from None
    if int(failed):
        raise RunError(f"the NVIDIA driver finds no card that it can use: {failed.name}", ON_THE_CPU)
    if version < DRIVER:
        has, needs = (f"{v // 1000}.{v % 1000 // 10}" for v in (version, DRIVER))
        raise RunError(f"the NVIDIA driver is for CUDA {has}, the kernels need {needs}", f"update it, or {ON_THE_CPU}")
    return core


@contextmanager
def _told(what: str) -> Iterator[None]:
    """The card's errors as ``RunError``."""
    try:
        yield
    except GraphcError:
        raise
    except Exception as error:  # cuda.core has kinds of its own for what the driver answers
        short = "OUT_OF_MEMORY" in str(error)
        remedy = "use a smaller batch or smaller images" if short else f"start a new process, or {ON_THE_CPU}"
        raise RunError(f"the card failed at {what}: {error}", remedy) from error
