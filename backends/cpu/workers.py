"""Compile workers: processes for one target each, which wait a while for more work when a caller is done with them.

Starting one costs a second of CPU time (importing Numba, its first kernel); a small kernel after that costs hundredths.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from threading import Lock

from graphc.backends.cpu.target import CpuTarget

KERNELS = 50
"""As many make a worker retire: Numba keeps what it compiled, some megabytes a kernel."""


FIRST_LLVMLITE = {"+fast-dpwssd": (0, 45)}
"""The llvmlite whose LLVM knows a feature; older ones (LLVM 15 and before) warn of it on standard error."""


def known_features(features: str) -> str:
    """Those of a list of features that the LLVM here knows."""
    here = tuple(int(part) for part in version("llvmlite").split(".")[:2])
    return ",".join(f for f in features.split(",") if here >= FIRST_LLVMLITE.get(f, here))


class Died(Exception):
    """A worker ended before it answered."""


class Worker:
    """A process that turns kernel source into object code for a target (``worker.py``)."""

    def __init__(self, target: CpuTarget) -> None:
        self.target, self.answers = target, 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
        environment |= {"NUMBA_CPU_NAME": target.cpu, "NUMBA_CPU_FEATURES": known_features(target.features)}
        # -P is Python 3.11+: PYTHONSAFEPATH keeps the current folder off the path where it is known, harmless elsewhere
        environment |= {"PYTHONIOENCODING": "utf-8", "PYTHONSAFEPATH": "1"}
        features = (target.lanes, target.fma, target.vnni, target.bf16)
        # a session of its own: Ctrl-C reaches this process alone, which then ends its workers
        self.process = subprocess.Popen(
            [sys.executable, "-m", "graphc.backends.cpu.worker", *(str(int(n)) for n in features)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
            start_new_session=True,
        )

    def ask(self, name: str, source: str) -> dict[str, str]:
        """The answer about a kernel; raises ``Died``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"name": name, "source": source}) + "\n")
            self.process.stdin.flush()
            reply: dict[str, str] = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):  # a broken pipe, or no line or half a line
            raise Died from None
        self.answers += 1
        return reply

    def end(self) -> int:
        """Let the process end; gives its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.end()


_idle: dict[CpuTarget, list[Worker]] = {}
_lock = Lock()


def take(target: CpuTarget) -> Worker:
    """A worker that waits, or a new one. It is the caller's until ``give_back``, ``end`` or ``kill``."""
    with _lock:
        waiting = _idle.get(target, [])
        while waiting:
            worker = waiting.pop()
            if worker.process.poll() is None:
                return worker
            worker.end()
    return Worker(target)


def give_back(worker: Worker) -> None:
    """Let a worker that has answered everything wait for the next caller; it ends by itself when none comes."""
    if worker.answers >= KERNELS:
        worker.end()
        return
    with _lock:
        _idle.setdefault(worker.target, []).append(worker)


@atexit.register
def end_all() -> None:
    """End the workers that wait."""
    with _lock:
        for worker in [w for waiting in _idle.values() for w in waiting]:
            worker.end()
        _idle.clear()


def _forget() -> None:
    """A forked child has none of its parent's workers, and no lock that another thread of the parent held."""
    global _lock
    _lock = Lock()
    for worker in [w for waiting in _idle.values() for w in waiting]:
        worker.process.returncode = 0  # not the child's to wait for
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
