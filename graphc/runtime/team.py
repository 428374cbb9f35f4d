"""The team: worker threads that help the calling thread through a job. One team a process, one job at a time.

Workers are Python threads that spend their working life in one native call (``serve``) with the GIL released, spin
there between jobs for a moment, and sleep on a semaphore when nothing comes. A job never depends on them: if the team
is busy with another job, or the machine runs other things, the calling thread does all the work.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from graphc.backends.job import SLOT_WORDS
from graphc.backends.job import Team as Block

Native = Callable[[int, int, int, int, int, int], int]

MAX_WORKERS = 511


def native_function(address: int) -> Native:
    """The callable of a machine function ``int32 f(6 words)``; calls release the GIL."""
    function: Native = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_ssize_t] * 6)(address)
    return function


def yield_address() -> int:
    """Address of the C function by which a thread gives up its time slice."""
    if sys.platform == "win32":
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value or 0
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0


class Team:
    """Worker threads 1, 2, ... of this process; thread 0 is whoever runs a job."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.words = np.zeros(Block.STATE0 + SLOT_WORDS * MAX_WORKERS, np.int64)
        self.address = self.words.ctypes.data
        self._wake: list[threading.Semaphore] = []
        self._code: list[object] = []
        self._driver = 0

    def grow(self, workers: int, driver: int, code: object) -> None:
        """Have at least ``workers`` worker threads.

        They run the driver at address ``driver`` as long as the process lives, and keep ``code``, which holds it.
        """
        with self.lock:
            if len(self._wake) < workers:
                self._code.append(code)
                self._driver = driver
                self._hire(workers)

    def _hire(self, workers: int) -> None:
        """Start threads until there are ``workers``; the caller holds the lock."""
        while len(self._wake) < min(workers, MAX_WORKERS):
            self._wake.append(threading.Semaphore(0))
            thread = threading.Thread(
                target=self._work,
                args=(len(self._wake), native_function(self._driver)),
                name="graphc-worker",
                daemon=True,
            )
            thread.start()

    def after_fork(self) -> None:
        """In a forked child no worker exists, and the lock may be held by a thread that does not exist either."""
        self.lock = threading.Lock()
        self.words[:] = 0
        self._wake = []

    def wake(self, workers: int) -> None:
        """Wake the sleeping ones of the first ``workers`` workers; the caller holds the lock."""
        self._hire(workers)
        for i in range(workers):
            at = Block.STATE0 + SLOT_WORDS * i
            if self.words[at] == 0:
                self.words[at] = 1
                self._wake[i].release()

    def forget(self, job: int) -> None:
        """Return once no worker looks at the job block at this address, which is idle and about to be freed."""
        if self.words[Block.JOB] == job:
            self.words[Block.JOB] = 0
        looking = self.words[Block.STATE0 + 1 :: SLOT_WORDS][: len(self._wake)]
        while (looking == job).any():
            time.sleep(1e-5)

    def _work(self, tid: int, driver: Native) -> None:
        ignored = np.zeros(2, np.int64)
        result, exception = ignored.ctypes.data, ignored.ctypes.data + 8
        while True:
            self._wake[tid - 1].acquire()
            driver(result, exception, self.address, 1, 0, tid)


TEAM = Team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TEAM.after_fork)
