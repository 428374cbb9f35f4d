"""``caffe2.python.timeout_guard``: ending the process when a call takes too long."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_GRACE_SECONDS = 10.0
"""Between the interrupt and the end of the process."""


class WatcherThread(threading.Thread):
    """A thread that ends the process, unless ``completed`` is set in time: by an interrupt, then at once.

    The places at which all threads stand are written to the standard error stream.
    """

    def __init__(self, timeout_secs: float) -> None:
        super().__init__(daemon=True)
        self.timeout_secs = timeout_secs
        self.completed = False
        self.condition = threading.Condition()
        self.caller_thread = threading.current_thread()

    def run(self) -> None:
        """Wait."""
        if self._wait(self.timeout_secs):
            return
        log = logging.getLogger("timeout_guard")
        log.error("Call did not finish in time. Timeout:%ss PID: %s", self.timeout_secs, os.getpid())
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        os.kill(os.getpid(), signal.SIGINT)
        if not self._wait(_GRACE_SECONDS):
            log.error("Process did not terminate cleanly in %s s, forcing", _GRACE_SECONDS)
            os._exit(1)

    def _wait(self, seconds: float) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.completed, seconds)

    def complete(self) -> None:
        """Let the process live."""
        with self.condition:
            self.completed = True
            self.condition.notify()


@contextmanager
def CompleteInTimeOrDie(timeout_secs: float) -> Iterator[None]:
    """End the process if the block takes longer than so many seconds."""
    watcher = WatcherThread(timeout_secs)
    watcher.start()
    try:
        yield
    finally:
        watcher.complete()


def EuthanizeIfNecessary(timeout_secs: float = 120) -> None:
    """End the process if it is still there after so many seconds."""
    WatcherThread(timeout_secs).start()
