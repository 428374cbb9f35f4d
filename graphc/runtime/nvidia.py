"""NVIDIA's cards through cuda.core. Neither Numba nor a compiler is needed to run."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError, PlanError, RunError
from graphc.ir.library_call import LibraryCall
from graphc.runtime.card import LESS_MEMORY, CardMemory, Launch, Replay, Request, Transfer, Work
from graphc.runtime.card_array import CardArray
from graphc.runtime.card_stream import PER_THREAD_STREAM, CallerStream
from graphc.runtime.libraries import LIBRARIES, CardLibrary

ON_THE_CPU = "run on a machine with a card, or compile for the CPU: --target native"
DRIVER = 13000
"""The oldest driver's number: CUDA 13.0, with whose tools machine code is made."""


USE_CARD = "plan.with_card(number) chooses among the cards that a process sees, CUDA_VISIBLE_DEVICES which these are"
STEPS = "GRAPHC_CARD_STEPS"
"""With this in the environment, launches are waited for one by one, so that an error names the one that failed."""
NAME_IT = f"{STEPS}=1 in the environment has the next error name it"
FATAL = (
    *("ILLEGAL_ADDRESS", "LAUNCH_FAILED", "LAUNCH_TIMEOUT", "ASSERT", "HARDWARE_STACK_ERROR", "ILLEGAL_INSTRUCTION"),
    *("MISALIGNED_ADDRESS", "INVALID_ADDRESS_SPACE", "INVALID_PC", "ECC_UNCORRECTABLE", "CONTEXT_IS_DESTROYED"),
)
"""Ends of the names of errors after which a process can do nothing more on the card: its memory there is lost."""


FORKED = "the process was forked from one that uses the card (multiprocessing: take 'spawn' in place of 'fork')"
"""Why a card is lost; CUDA calls it not initialized."""

STAGING = 1 << 24
"""Bytes of pinned memory at most through which weights go to the card, and what is looked at comes back."""


class _Shared:
    """What all plans of the process share of a card.

    turn: held by the thread that hands in work, records or allocates. lost: why nothing more can be done on the card.
    returned: memory that nobody holds any more, and work on streams unknown may still read.
    """

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.lost = ""
        self.returned: list[Any] = []


_CARDS: defaultdict[int, _Shared] = defaultdict(_Shared)
"""By number, as this process counts its cards."""


def _lose_all() -> None:
    """In a forked process: CUDA does not follow there, and a turn may be that of a thread which did not follow, too."""
    for shared in _CARDS.values():
        shared.lost = FORKED


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_all)


class _Piece:
    """``CardMemory`` of a real card. stream: the caller's in whose order it is given back."""

    def __init__(self, buffer: Any, nbytes: int, shared: _Shared, stream: CallerStream | None) -> None:
        self.buffer, self.nbytes, self.stream = buffer, nbytes, stream
        self.address = int(buffer.handle) if nbytes else 0
        self.lent, self._shared = False, shared

    def __del__(self) -> None:
        if self._shared.lost:
            _keep_for_ever(self.buffer)
        elif self.lent and self.stream is None:
            self._shared.returned.append(self.buffer)
        self.buffer = None  # before its stream goes


class _Pinned:
    """Pinned memory as NumPy takes it; the array keeps it alive."""

    def __init__(self, buffer: Any, nbytes: int, shared: _Shared) -> None:
        self.buffer, self._shared = buffer, shared
        place = {"data": (int(buffer.handle), False), "shape": (nbytes,), "typestr": "|u1", "version": 3}
        self.__array_interface__: dict[str, Any] = place

    def __del__(self) -> None:
        if self._shared.lost:
            _keep_for_ever(self.buffer)


def _keep_for_ever(buffer: Any) -> None:
    """On a lost card nothing can be given back, and the attempt is told on the standard error."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(buffer))


class NvidiaCard:
    """``Card`` for a card of this machine; arch: of the kernels, serves(major, minor): they run on such a card; number:
    as this process counts its cards.

    All work is on one stream, and threads take turns at handing it in, those of all plans. Whatever context the calling
    thread has is its own again afterwards. After an error that costs the card's memory, everything that any plan does
    there raises at once and says so; the process can do all that needs no card, or another one.

    Raises ``GraphcError`` where cuda.core is not installed, ``RunError`` where there is no driver, one that is too old,
    or no such card, ``PlanError`` where the card is of another architecture.
    """

    def __init__(self, arch: str, serves: Callable[[int, int], bool], number: int = 0) -> None:
        self._core, self._driver = _open(number)
        self.number, self.name = number, f"card {number}"
        self._shared, self._turn = _CARDS[number], _CARDS[number].turn
        self._libraries: dict[str, CardLibrary] = {}
        self._staging, self._staged = np.zeros(0, np.uint8), threading.Lock()
        self._device = self._core.Device(number)
        with self._told("opening the card"):
            major, minor = self._device.compute_capability
            self.name = f"card {number} ({self._device.name})"
        if not serves(major, minor):
            raise PlanError(
                f"the plan is for {arch}, but {self.name} of this machine is sm_{major}{minor}",
                f"compile the net for it (--target cuda:sm_{major}{minor}, if graphc has that target)",
            )
        with self._told("opening the card"):
            self._stream = self._device.create_stream()
            self._host_memory = self._core.LegacyPinnedMemoryResource()

    @property
    def stream(self) -> int:
        """The handle of the stream."""
        return int(self._stream.handle)

    # ---- memory ------------------------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """What the driver says, and what its pool keeps for this process."""
        with self._told("asking for free memory"):
            self._stream.sync()  # what was given back counts when the stream has come to it
            free = int(self._require_done(*self._driver.cuMemGetInfo()))
            pool = getattr(self._device.memory_resource, "attributes", None)  # a card without pools has none
            return free if pool is None else free + int(pool.reserved_mem_current) - int(pool.used_mem_current)

    def allocate(self, nbytes: int, stream: CallerStream | None = None) -> CardMemory:
        """Memory of the card's pool."""
        if stream is not None and stream.handle == PER_THREAD_STREAM:
            stream = None  # in another thread it would be another one's
        if not nbytes:
            return _Piece(None, 0, self._shared, None)
        with self._told(f"allocating {nbytes} bytes"):
            if returned := len(self._shared.returned):  # whoever read it may be still at it
                self._require_done(*self._driver.cuCtxSynchronize())
                del self._shared.returned[:returned]  # what came back meanwhile was not waited for
            order = self._stream if stream is None else self._theirs(stream.handle)
            return _Piece(self._device.allocate(nbytes, stream=order), nbytes, self._shared, stream)

    def lend(self, memory: CardMemory, made: int | None, reader: int | None) -> None:
        """Have the reader wait; memory of no caller's stream is given back when all work of that time is done."""
        if isinstance(memory, _Piece):
            memory.lent = True
        if reader is not None and made is not None and reader != made:
            with self._told("waiting for a stream"):
                self._theirs(reader).wait(self._theirs(made))

    def pinned(self, nbytes: int) -> np.ndarray:
        """Memory of the process that stays where it is."""
        if not nbytes:
            return np.zeros(0, np.uint8)
        with self._told(f"allocating {nbytes} bytes of pinned memory"):
            return np.asarray(_Pinned(self._host_memory.allocate(nbytes), nbytes, self._shared))

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        """Copy an array to the card, by way of pinned memory that is kept."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._require_not_lost()
        with self._staged:
            for start, staging in self._pieces(data.size):
                staging[:] = data[start : start + staging.size]
                with self._told("a copy"):
                    self._copy(place.address + start, int(staging.ctypes.data), staging.size, self._stream)
                self.wait("a copy")

    def download(self, address: int, nbytes: int, behind: int | None = None) -> np.ndarray:
        """Copy bytes from the card, by way of pinned memory that is kept."""
        data = np.empty(nbytes, np.uint8)
        self._require_not_lost()
        with self._staged:
            for start, staging in self._pieces(nbytes):
                with self._told("a copy"):
                    if behind is not None:
                        self._stream.wait(self._theirs(behind))
                    self._copy(int(staging.ctypes.data), address + start, staging.size, self._stream)
                self.wait("a copy")
                data[start : start + staging.size] = staging
        return data

    def _pieces(self, nbytes: int) -> Iterator[tuple[int, np.ndarray]]:
        """Where each piece of some bytes begins, and pinned memory of its size."""
        if self._staging.size < (most := min(nbytes, STAGING)):
            self._staging = self.pinned(1 << (most - 1).bit_length())
        for start in range(0, nbytes, STAGING):
            yield start, self._staging[: min(STAGING, nbytes - start)]

    def require_here(self, array: CardArray, name: str) -> None:
        """The driver knows whose memory an address is."""
        if not array.size:
            return
        with self._told("looking at an input"):
            kind = self._driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
            failed, number = self._driver.cuPointerGetAttribute(kind, array.address)
        if int(failed) or number != self.number:
            where = "in no card's memory" if int(failed) else f"on card {number}"
            raise RunError(
                f"input '{name}' is {where} (address {array.address:#x}), the plan runs on card {self.number}",
                "copy it there first, or give a numpy.ndarray",
            )

    # ---- work --------------------------------------------------------------------------------------------------------

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
            return lambda first, wait: self._step_by_step(first, work)
        graph = self._graph(work)
        what = f"a run of {sum(isinstance(item, Launch | Request) for item in work)} kernels"

        def replay(first: Sequence[Transfer], wait: bool) -> None:
            with self._told(what, NAME_IT):
                for transfer in first:
                    self._enqueue(transfer, self._stream)
                graph.launch(self._stream)
            if wait:
                self.wait(what)

        return replay

    def copy(self, transfers: Sequence[Transfer], stream: CallerStream | None = None) -> None:
        """Copies on the one stream; the caller's waits for them by one event."""
        with self._told("copying outputs", NAME_IT):
            theirs = None if stream is None else self._theirs(stream.handle)
            if theirs is not None:  # in whose order the memory was taken
                self._stream.wait(theirs)
            for transfer in transfers:
                self._enqueue(transfer, self._stream)
            if theirs is not None:
                theirs.wait(self._stream)
        if theirs is None:
            self.wait("a run")

    def follow(self, stream: CallerStream) -> None:
        """By an event; raises ``RunError`` for a stream of another card, and for one that records."""
        with self._told("waiting for a stream"):
            if stream.handle > PER_THREAD_STREAM:
                self._require_usable(stream.handle)
            self._stream.wait(self._theirs(stream.handle))

    def _require_usable(self, handle: int) -> None:
        number = int(self._require_done(*self._driver.cuStreamGetDevice(handle)))
        if number != self.number:
            raise RunError(f"the stream is of card {number}, the plan runs on card {self.number}", USE_CARD)
        if int(self._require_done(*self._driver.cuStreamIsCapturing(handle))):
            raise RunError("the stream records a graph, and a run cannot be recorded", "run the plan outside of it")

    def wait(self, what: str = "a run") -> None:
        """Wait for the stream, while other threads may hand in work."""
        self._require_not_lost()
        try:
            with self._current():
                self._stream.sync()
        except Exception as error:
            raise self._error(what, NAME_IT, error) from error

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

    def _enqueue(self, item: Work, stream: Any) -> None:
        if isinstance(item, Launch):
            self._allow_shared(item)
            config = self._core.LaunchConfig(grid=item.blocks, block=item.threads, shmem_size=item.shared)
            self._core.launch(stream, config, item.kernel, *item.params)
        elif isinstance(item, Request):
            item.enqueue(int((stream if stream is self._stream else stream.stream).handle))
        elif isinstance(item, Transfer):
            if item.source.stream is not None:  # behind the work that makes the array
                stream.wait(self._theirs(item.source.stream))
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

    def _theirs(self, handle: int) -> Any:
        """The stream of somebody else."""
        return self._core.Stream.from_handle(handle)

    @staticmethod
    def _require_done(failed: Any, *found: Any) -> Any:
        """What the driver gave; raises ``RuntimeError`` with the name of an error."""
        if int(failed):
            raise RuntimeError(failed.name)
        return found[0] if found else None

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The card's context for this thread, which has its own again afterwards, whatever happens."""
        failed, before = self._driver.cuCtxGetCurrent()
        try:
            self._device.set_current()
            yield
        finally:
            if not int(failed):
                self._driver.cuCtxSetCurrent(before)

    @contextmanager
    def _told(self, what: str, hint: str = "") -> Iterator[None]:
        """A turn at the card, whose errors are told as ``RunError``."""
        self._require_not_lost()
        with self._turn:
            self._require_not_lost()  # by whoever had the turn
            try:
                with self._current():
                    yield
            except GraphcError:
                raise
            except Exception as error:  # cuda.core has kinds of its own for what the driver answers
                raise self._error(what, hint, error) from error

    def _require_not_lost(self) -> None:
        if self._shared.lost:
            raise RunError(
                f"{self.name} cannot be used any more in this process: {self._shared.lost}",
                f"start a new process, or {ON_THE_CPU}",
            )

    def _error(self, what: str, hint: str, error: Exception) -> GraphcError:
        """What a user is told of an error of the driver."""
        told = f"{self.name} failed at {what}: {error}"
        if any(name in str(error) for name in FATAL):
            self._shared.lost = self._shared.lost or told
            return RunError(told, "; ".join(filter(None, [f"start a new process, or {ON_THE_CPU}", hint])))
        if "OUT_OF_MEMORY" in str(error):
            return RunError(told, LESS_MEMORY)
        return RunError(told, f"start a new process, or {ON_THE_CPU}")


def _open(number: int) -> tuple[Any, Any]:
    """The modules cuda.core and cuda.bindings.driver, with a driver that is new enough and has card ``number``."""
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
        why = FORKED if failed.name == "CUDA_ERROR_NOT_INITIALIZED" else failed.name
        raise RunError(f"the NVIDIA driver finds no card that it can use: {why}", ON_THE_CPU)
    if version < DRIVER:
        has, needs = (f"{v // 1000}.{v % 1000 // 10}" for v in (version, DRIVER))
        raise RunError(f"the NVIDIA driver is for CUDA {has}, the kernels need {needs}", f"update it, or {ON_THE_CPU}")
    _, count = driver.cuDeviceGetCount()
    if not 0 <= number < count:
        raise RunError(f"there is no card {number}: this process sees {count}, numbered from 0", USE_CARD)
    return core, driver
