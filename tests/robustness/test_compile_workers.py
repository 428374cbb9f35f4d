"""Compile workers that are killed, Ctrl-C while they work, and caches that are shared, damaged or no folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from graphc.backends.cache import KernelCache
from graphc.backends.cpu import compile as compiler
from graphc.backends.cpu import workers
from graphc.backends.cpu.target import CpuTarget, find
from graphc.backends.cpu.workers import Worker
from graphc.ir import LoweringError

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
SOURCE = {"nothing": "def nothing(p, lo, hi, tid):\n    return\n"}


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "kernels")


def kill_first(monkeypatch: pytest.MonkeyPatch, number: int) -> list[subprocess.Popen[str]]:
    """Have the first workers killed before they can answer; gives the processes of all that are taken."""
    taken: list[subprocess.Popen[str]] = []

    def take_and_kill(target: CpuTarget) -> Worker:
        worker = Worker(target)
        taken.append(worker.process)
        if len(taken) <= number:
            worker.process.kill()
        return worker

    monkeypatch.setattr(compiler, "take", take_and_kill)
    return taken


def test_a_killed_worker_is_replaced(cache: KernelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = kill_first(monkeypatch, 1)
    assert "nothing" in compiler.compile_kernels(SOURCE, find("native"), cache)
    assert [p.poll() for p in taken] == [-signal.SIGKILL, None]


def test_a_worker_waits_for_the_next_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers.end_all()
    taken = kill_first(monkeypatch, 0)
    compiler.compile_kernels(SOURCE, find("native"), KernelCache(tmp_path / "one"))
    monkeypatch.undo()
    worker = workers.take(find("native"))
    assert worker.process is taken[0]
    workers.give_back(worker)
    compiler.compile_kernels(SOURCE, find("native"), KernelCache(tmp_path / "two"))
    assert taken[0].poll() is None
    workers.end_all()
    assert taken[0].poll() == 0


def test_a_waiting_worker_that_died_is_passed_over() -> None:
    workers.end_all()
    worker = Worker(find("native"))
    workers.give_back(worker)
    worker.process.kill()
    worker.process.wait()
    other = workers.take(find("native"))
    assert other is not worker
    other.kill()


def test_a_worker_that_has_done_enough_retires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "KERNELS", 1)
    taken = kill_first(monkeypatch, 0)
    compiler.compile_kernels(SOURCE, find("native"), KernelCache(tmp_path))
    assert [p.poll() for p in taken] == [0]


def test_a_worker_ends_when_nothing_comes() -> None:
    script = "import os; from graphc.backends.cpu import worker; worker.IDLE_SECONDS = 0.1;"
    script += "reading = os.fdopen(os.pipe()[0]); list(worker.until_idle(reading))"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_two_killed_workers_are_an_error(cache: KernelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = kill_first(monkeypatch, 2)
    with pytest.raises(LoweringError, match=r"kernel nothing: .* died twice"):
        compiler.compile_kernels(SOURCE, find("native"), cache)
    assert all(p.poll() is not None for p in taken)


@pytest.mark.parametrize("state", ["file", "damaged", "read only"])
def test_caches_that_are_of_no_use(tmp_path: Path, state: str) -> None:
    folder, target = tmp_path / "kernels", find("native")
    if state == "file":
        folder.write_text("no folder")
    if state == "damaged":
        compiler.compile_kernels(SOURCE, target, KernelCache(folder))
        for entry in folder.rglob("*.o"):
            entry.write_bytes(entry.read_bytes()[:-9])
    if state == "read only":
        folder.mkdir(mode=0o555)
    assert "nothing" in compiler.compile_kernels(SOURCE, target, KernelCache(folder))


def test_two_at_once_share_a_cache(cache: KernelCache) -> None:
    done: list[bytes] = []
    work = lambda: done.append(compiler.compile_kernels(SOURCE, find("native"), cache)["nothing"].code)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(done) == 2
    assert [p.suffix for p in cache.folder.rglob("*.*")] == [".o"]


def children(pid: int) -> list[int]:
    """Children of a process, by /proc."""
    return [int(n) for task in Path(f"/proc/{pid}/task").glob("*") for n in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    """The process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_interrupt_ends_the_workers(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group; graphc says so, exits 130, and no worker goes on."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("the kernel does not list children")
    command = [sys.executable, "-m", "graphc", "compile", str(DIGITS / "predict_net.pb")]
    command += ["--init", str(DIGITS / "init_net.pb"), "-o", str(tmp_path / "plan.pkl")]
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    workers: list[int] = []
    while not workers and process.poll() is None:
        time.sleep(0.02)
        workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert workers
    end = time.monotonic() + 30
    while any(alive(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in workers)
    assert not (tmp_path / "plan.pkl").exists()
