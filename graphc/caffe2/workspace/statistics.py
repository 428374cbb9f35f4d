"""Host operators that measure: timers, registries of statistics, the clock, the names of blobs. Rules from Caffe2's
``stat_ops.cc`` and ``stats.h``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator


@dataclass
class StatRegistry:
    """Sums of whole numbers by name, and when they last changed (nanoseconds since 1970)."""

    sums: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, items: Iterable[tuple[str, int]]) -> None:
        """Add to sums, which begin with 0."""
        with self.lock:
            for name, value in items:
                self.sums[name] = self.sums.get(name, 0) + value
                self.changed[name] = time.time_ns()

    def publish(self, reset: bool) -> list[tuple[str, int, int]]:
        """Names, sums and times; with ``reset`` the sums are 0 afterwards."""
        with self.lock:
            found = [(name, value, self.changed[name]) for name, value in self.sums.items()]
            if reset:
                self.sums = dict.fromkeys(self.sums, 0)
        return found


GLOBAL = StatRegistry()
"""The registry of operators that name none."""


@dataclass
class Timer:
    """A running clock; its time counts for a name."""

    name: str
    start: int

    def elapsed(self) -> np.ndarray:
        """Nanoseconds since the start, a vector of one."""
        return np.array([time.perf_counter_ns() - self.start], np.int64)


def _strings(texts: Iterable[str]) -> np.ndarray:
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    array = np.empty(len(encoded), object)
    array[:] = encoded
    return array


@host_operator("StatRegistryCreate")
def stat_registry_create(call: HostCall) -> None:
    """A registry."""
    call.write(0, StatRegistry())


@host_operator("StatRegistryUpdate")
def stat_registry_update(call: HostCall) -> None:
    """Add the numbers of input 1 to the sums that input 0 names, in the registry of input 2, else the global one."""
    registry = call.object(2, StatRegistry) if call.n_inputs > 2 else GLOBAL
    keys, values = np.asarray(call.read(0)).reshape(-1), np.asarray(call.read(1)).reshape(-1)
    if len(keys) != len(values):
        call.fail(f"{len(keys)} names for {len(values)} numbers", "give one number for each name")
    registry.add((key.decode("utf-8", "surrogateescape"), int(value)) for key, value in zip(keys, values))


@host_operator("StatRegistryExport")
def stat_registry_export(call: HostCall) -> None:
    """Names, sums and times of a registry; afterwards the sums are 0, unless ``reset`` is false."""
    registry = call.object(0, StatRegistry) if call.n_inputs else GLOBAL
    found = registry.publish(bool(call.arg("reset", 1)))
    call.write(0, _strings(name for name, _, _ in found))
    call.write(1, np.array([value for _, value, _ in found], np.int64))
    call.write(2, np.array([moment for _, _, moment in found], np.int64))


@host_operator("TimerBegin")
def timer_begin(call: HostCall) -> None:
    """A timer, which starts now."""
    call.write(0, Timer(str(call.arg("counter_name", "") or call.op.name), time.perf_counter_ns()))


@host_operator("TimerGet")
def timer_get(call: HostCall) -> None:
    """Nanoseconds since a timer started."""
    call.write(0, call.object(0, Timer).elapsed())


@host_operator("TimerEnd", "TimerGetAndEnd")
def timer_end(call: HostCall) -> None:
    """Add a timer's nanoseconds, and 1 to their number, to the global statistics; TimerGetAndEnd gives them."""
    timer = call.object(0, Timer)
    elapsed = timer.elapsed()
    GLOBAL.add([(f"{timer.name}/time_ns/sum", int(elapsed[0])), (f"{timer.name}/time_ns/count", 1)])
    call.write(0, elapsed)


@host_operator("WallClockTime")
def wall_clock_time(call: HostCall) -> None:
    """Nanoseconds since 1970."""
    call.write(0, np.array(time.time_ns(), np.int64))


@host_operator("GetAllBlobNames")
def get_all_blob_names(call: HostCall) -> None:
    """The names of the blobs; without ``include_shared`` only those that are not of a workspace around."""
    call.write(0, _strings(call.blobs.names() if call.arg("include_shared", 1) else call.blobs.own_names()))


def GetStats() -> dict[str, int]:
    """The global statistics: sums by name."""
    return {name: value for name, value, _ in GLOBAL.publish(False)}
