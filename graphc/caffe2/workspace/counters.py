"""Host operators for counters, mutexes and flags: objects that outlive a run. Rules from Caffe2's ``counter_ops`` and
``atomic_ops``."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.caffe2.workspace.statistics import GLOBAL


@dataclass
class Counter:
    """A whole number that threads may count up and down."""

    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, step: int) -> int:
        """Add to it; what it was before."""
        with self.lock:
            self.count += step
            return self.count - step

    def reset(self, count: int) -> int:
        """Set it; what it was before."""
        with self.lock:
            before, self.count = self.count, count
            return before


@dataclass
class Flag:
    """A truth value that threads may set."""

    value: bool = False


@dataclass
class Mutex:
    """What guards operators that threads share."""

    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def _number(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def _truth(value: bool) -> np.ndarray:
    return np.array(value, np.bool_)


@host_operator("CreateCounter")
def create_counter(call: HostCall) -> None:
    """A counter that starts at ``init_count``."""
    count = call.arg("init_count", 0)
    if count < 0:
        call.fail(f"argument init_count is {count}", "give a number from 0 on")
    call.write(0, Counter(count))


@host_operator("ResetCounter")
def reset_counter(call: HostCall) -> None:
    """Set a counter to ``init_count``; the count before."""
    call.write(0, _number(call.object(0, Counter).reset(call.arg("init_count", 0))))


@host_operator("CountDown")
def count_down(call: HostCall) -> None:
    """Count down; whether the count was 0 or less before."""
    call.write(0, _truth(call.object(0, Counter).add(-1) <= 0))


@host_operator("CountUp")
def count_up(call: HostCall) -> None:
    """Count up; the count before."""
    call.write(0, _number(call.object(0, Counter).add(1)))


@host_operator("CheckCounterDone")
def check_counter_done(call: HostCall) -> None:
    """Whether the count is 0 or less."""
    call.write(0, _truth(call.object(0, Counter).count <= 0))


@host_operator("RetrieveCount")
def retrieve_count(call: HostCall) -> None:
    """The count."""
    call.write(0, _number(call.object(0, Counter).count))


@host_operator("CreateMutex")
def create_mutex(call: HostCall) -> None:
    """A mutex."""
    call.write(0, Mutex())


@host_operator("AtomicFetchAdd", "AtomicFetchAdd64")
def atomic_fetch_add(call: HostCall) -> None:
    """Add input 2 to input 1 under the mutex; outputs of no axes: the sum, and the value before."""
    with call.object(0, Mutex).lock:
        before = np.asarray(call.read(1)).reshape(())
        call.write(0, np.array(before + np.asarray(call.read(2)).reshape(()), before.dtype))
        call.write(1, before)


@host_operator("AtomicIter")
def atomic_iter(call: HostCall) -> None:
    """Add 1 to input 1, an int64, under the mutex; a statistic counts how often."""
    with call.object(0, Mutex).lock:
        before = np.asarray(call.read(1))
        if before.dtype != np.int64 or before.size != 1:
            call.fail(f"input '{call.op.inputs[1]}' is {before.dtype}{list(before.shape)}, one int64 is needed")
        call.write(0, np.asarray(before + 1))
    GLOBAL.add([(f"atomic_iter/stats/{call.op.inputs[1]}/num_iter", 1)])


@host_operator("CreateAtomicBool")
def create_atomic_bool(call: HostCall) -> None:
    """A flag that is not set."""
    call.write(0, Flag())


@host_operator("ConditionalSetAtomicBool")
def conditional_set_atomic_bool(call: HostCall) -> None:
    """Set a flag if input 1 is true."""
    if bool(np.asarray(call.read(1)).reshape(-1)[0]):
        call.object(0, Flag).value = True


@host_operator("CheckAtomicBool")
def check_atomic_bool(call: HostCall) -> None:
    """Whether a flag is set, as a vector of one."""
    call.write(0, np.array([call.object(0, Flag).value], np.bool_))
