"""NVIDIA's cards through cuda.core. Neither Numba nor a compiler is needed to run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError, PlanError, RunError
from graphc.ir.library_call import LibraryCall
from graphc.runtime.card import CardMemory, Launch, Replay, Request, Transfer, Work
from graphc.runtime.card_array import CardArray
from graphc.runtime.libraries import LIBRARIES, CardLibrary

ON_THE_CPU = "run on a machine with a card, or compile for the CPU: --target native"
DRIVER = 13000
"""The oldest driver's number: CUDA 13.0, with whose tools machine code is made."""


STEPS = "GRAPHC_CARD_STEPS"
"""With this in the environment, launches are waited for one by one, so that an error names the one that failed."""
FATAL = (
    *("ILLEGAL_ADDRESS", "LAUNCH_FAILED", "LAUNCH_TIMEOUT", "ASSERT", "HARDWARE_STACK_ERROR", "ILLEGAL_INSTRUCTION"),
    *("MISALIGNED_ADDRESS", "INVALID_ADDRESS_SPACE", "INVALID_PC", "ECC_UNCORRECTABLE", "CONTEXT_IS_DESTROYED"),
)
"""Ends of the names of errors after which a process can do nothing more on the card: its memory there is lost."""


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

    All work is on one stream, and threads take turns at handing it in. After an error that costs the card's memory,
    everything raises at once and says so; the process can do all that needs no card.

    Raises ``GraphcError`` where cuda.core is not installed, ``RunError`` where there is no driver, one that is too old,
    or no card, ``PlanError`` where the card is of another architecture.
    """

    def __init__(self, arch: str, serves: Callable[[int, int], bool]) -> None:
        self._core, self._driver = _open()
        self._lost = ""
        self._libraries: dict[str, CardLibrary] = {}
        self._turn = threading.RLock()
        with self._told("opening the card"):
            self._device = self._core.Device(0)
            self._device.set_current()
            major, minor = self._device.compute_capability
            name = self._device.name
        if not serves(major, minor):
            raise PlanError(
                f"the plan is for {arch}, but this machine's card ({name}) is sm_{major}{minor}",
                f"compile the net for it (--target cuda:sm_{major}{minor}, if graphc has that target)",
            )
        with self._told("opening the card"):
            self._stream = self._device.create_stream()
            self._host_memory = self._core.LegacyPinnedMemoryResource()

    @property
    def stream(self) -> int:
        """The handle of the stream."""
        return int(self._stream.handle)

    def allocate(self, nbytes: int) -> CardMemory:
        """Memory of the card."""
        if not nbytes:
            return _Piece(None, 0)
        with self._told(f"allocating {nbytes} bytes"):
            return _Piece(self._device.allocate(nbytes, stream=self._stream), nbytes)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Memory of the process that stays where it is."""
        if not nbytes:
            return np.zeros(0, np.uint8)
        with self._told(f"allocating {nbytes} bytes of pinned memory"):
            return np.asarray(_Pinned(self._host_memory.allocate(nbytes), nbytes))

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        """Copy an array to the card."""
        staging = self.pinned(array.nbytes)
        staging[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        with self._told("a copy"):
            self._copy(place.address, int(staging.ctypes.data), array.nbytes, self._stream)
            self._stream.sync()

    def download(self, address: int, nbytes: int) -> np.ndarray:
        """Copy bytes from the card."""
        staging = self.pinned(nbytes)
        with self._told("a copy"):
            self._copy(int(staging.ctypes.data), address, nbytes, self._stream)
            self._stream.sync()
        return np.array(staging)

    def require_here(self, array: CardArray, name: str) -> None:
        """The driver knows whose memory an address is."""
        if not array.size:
            return
        with self._told("looking at an input"):
            kind = self._driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
            failed, number = self._driver.cuPointerGetAttribute(kind, array.address)
        if int(failed) or number != self._device.device_id:
            where, mine = "in no card's memory" if int(failed) else f"on card {number}", self._device.device_id
            raise RunError(
                f"input '{name}' is {where} (address {array.address:#x}), the plan runs on card {mine}",
                "copy it there first, or give a numpy.ndarray",
            )

    def load(self, name: str, code: bytes) -> Any:
        """A kernel of a cubin."""
        with self._told(f"loading the kernel {name}"):
            return self._core.ObjectCode.from_cubin(code, name=name).get_kernel(name)

    def prepare(self, call: LibraryCall, label: str) -> Request:
        """A call that was done once, since libraries load their kernels when they first run."""
        with self._told(f"making {call.library} ready for {label}"):
            if call.library not in self._libraries:
                self._libraries[call.library] = LIBRARIES[call.library]()
            enqueue = self._libraries[call.library].prepare(call, label)
            enqueue(self.stream)
            self._stream.sync()
            return Request(enqueue, label)

    def record(self, work: Sequence[Work]) -> Replay:
        """A CUDA graph of the work."""
        if os.environ.get(STEPS):
            return lambda first: self._step_by_step(first, work)
        graph = self._graph(work)
        count = sum(isinstance(item, Launch | Request) for item in work)

        def replay(first: Sequence[Transfer]) -> None:
            with self._told(f"a run of {count} kernels", f"{STEPS}=1 in the environment has the next error name it"):
                for transfer in first:
                    self._enqueue(transfer, self._stream)
                graph.launch(self._stream)
            self._wait(f"a run of {count} kernels", f"{STEPS}=1 in the environment has the next error name it")

        return replay

    def measure(self, work: Sequence[Work], repeats: int) -> list[float]:
        """Between CUDA events around each launch of a CUDA graph."""
        graph = self._graph(work)
        options, events = self._core.EventOptions(timing_enabled=True), []
        with self._told("timing kernels"):
            graph.launch(self._stream)
            for _ in range(repeats):
                start = self._stream.record(options=options)
                graph.launch(self._stream)
                events.append((start, self._stream.record(options=options)))
            self._stream.sync()
            return [(end - start) / 1e3 for start, end in events]

    def _graph(self, work: Sequence[Work]) -> Any:
        """A CUDA graph of the work, recorded on a stream of its own: other threads may wait for the one that runs."""
        with self._told("recording a run"):
            builder = self._device.create_graph_builder()
            try:
                builder.begin_building()
                for item in work:
                    self._enqueue(item, builder)
                return builder.end_building().complete()
            except BaseException:
                builder.close()  # else the stream goes on recording
                raise

    def _step_by_step(self, first: Sequence[Transfer], work: Sequence[Work]) -> None:
        """The same without a graph, with a wait after each item."""
        for item in (*first, *work):
            what = f"the kernel that computes {item.label}" if isinstance(item, Launch | Request) else "a copy"
            with self._told(what):
                self._enqueue(item, self._stream)
                self._stream.sync()

    def _wait(self, what: str, hint: str) -> None:
        """Wait for the stream, while other threads may hand in work."""
        try:
            self._stream.sync()
        except Exception as error:
            raise self._error(what, hint, error) from error

    def _enqueue(self, item: Work, stream: Any) -> None:
        if isinstance(item, Launch):
            self._allow_shared(item)
            config = self._core.LaunchConfig(grid=item.blocks, block=item.threads, shmem_size=item.shared)
            self._core.launch(stream, config, item.kernel, *item.params)
        elif isinstance(item, Request):
            item.enqueue(int((stream if stream is self._stream else stream.stream).handle))
        elif isinstance(item, Transfer):
            if item.source.stream is not None:  # behind the work that makes the array
                stream.wait(self._core.Stream.from_handle(item.source.stream))
            self._copy(item.card.address + item.start, item.source.address, item.source.nbytes, stream)
        else:
            card, host = item.card.address + item.start, int(item.host.ctypes.data) + item.start
            self._copy(card if item.to_card else host, host if item.to_card else card, item.stop - item.start, stream)

    def _allow_shared(self, item: Launch) -> None:
        """The driver has to be told of a kernel whose blocks are launched with more than 48 KiB of shared memory."""
        if item.shared:
            kind = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            (failed,) = self._driver.cuKernelSetAttribute(kind, item.shared, item.kernel.handle, self._device.device_id)
            if int(failed):
                raise RuntimeError(failed.name)

    def _copy(self, target: int, source: int, size: int, stream: Any) -> None:
        if size:
            part = self._core.Buffer.from_handle
            part(source, size).copy_to(part(target, size), stream=stream)

    @contextmanager
    def _told(self, what: str, hint: str = "") -> Iterator[None]:
        """A turn at the card, whose errors are told as ``RunError``."""
        with self._turn:
            if self._lost:
                raise RunError(
                    f"the card cannot be used any more in this process: {self._lost}",
                    f"start a new process, or {ON_THE_CPU}",
                )
            try:
                if hasattr(self, "_device"):
                    self._device.set_current()
                yield
            except GraphcError:
                raise
            except Exception as error:  # cuda.core has kinds of its own for what the driver answers
                raise self._error(what, hint, error) from error

    def _error(self, what: str, hint: str, error: Exception) -> GraphcError:
        """What a user is told of an error of the driver."""
        told = f"the card failed at {what}: {error}"
        if any(name in str(error) for name in FATAL):
            self._lost = told
            return RunError(told, "; ".join(filter(None, [f"start a new process, or {ON_THE_CPU}", hint])))
        if "OUT_OF_MEMORY" in str(error):
            return RunError(told, "use a smaller batch or smaller images, or end what else uses the card (nvidia-smi)")
        return RunError(told, f"start a new process, or {ON_THE_CPU}")


def _open() -> tuple[Any, Any]:
    """The modules cuda.core and cuda.bindings.driver, with a driver that is new enough."""
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
    return core, driver
