"""Live worker processes, timed turn by turn; those that wait are stopped, so that none computes in another's turn."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from machine import cpu_time
from model_files import ModelFiles

WORKER = Path(__file__).resolve().parent / "worker.py"
LOAD_SECONDS = 900.0
WARM_SECONDS = 0.05
PAUSE = 0.3
"""Seconds to wait before a disturbed turn is repeated."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class RuntimeFailed(Exception):
    """A worker ended or did not answer; the message is the end of what it printed."""


@dataclass(frozen=True)
class Turn:
    """Seconds of a call in one turn; others: cores that other processes used meanwhile."""

    median: float
    fastest: float
    calls: int
    others: float


@dataclass(frozen=True)
class Effort:
    """How long a turn takes, and how often one is repeated in which others used more than ``quiet`` cores."""

    seconds: float
    repeats: int = 3
    quiet: float = 0.1


@dataclass
class Worker:
    """A process with one runtime and one net, loaded; used with ``with``."""

    runtime: str
    files: ModelFiles
    threads: int
    loading: dict[str, float] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)

    def __enter__(self) -> Worker:
        """Start and load; raises ``RuntimeFailed``."""
        self._log = tempfile.TemporaryFile("w+")
        command = [sys.executable, str(WORKER), self.runtime, self.files.name, str(self.files.folder)]
        self._process = subprocess.Popen(
            [*command, str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {name: str(self.threads) for name in THREAD_VARIABLES},
        )
        try:
            self.loading = self._answer(LOAD_SECONDS)
        except RuntimeFailed:
            self.__exit__(None, None, None)
            raise
        self._process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def take_turn(self, effort: Effort) -> None:
        """Add a turn: the first that is quiet, else the quietest of the attempts."""
        best = self._attempt(effort.seconds)
        for _ in range(effort.repeats):
            if best.others <= effort.quiet:
                break
            time.sleep(PAUSE)
            best = min(best, self._attempt(effort.seconds), key=lambda turn: turn.others)
        self.turns.append(best)

    def _attempt(self, seconds: float) -> Turn:
        process = self._process
        assert process.stdin is not None
        process.send_signal(signal.SIGCONT)
        start, before = time.perf_counter(), cpu_time(process.pid)
        process.stdin.write(f"{WARM_SECONDS} {seconds}\n")
        process.stdin.flush()
        answer = self._answer(60 + 20 * seconds)
        after, end = cpu_time(process.pid), time.perf_counter()
        process.send_signal(signal.SIGSTOP)
        others = (after.all - before.all) - (after.own - before.own)
        return Turn(others=max(0.0, others / (end - start)), **answer)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        raise RuntimeFailed(lines[-1] if lines else f"no answer within {seconds:.0f} s" if not ready else "ended")
