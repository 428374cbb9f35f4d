"""Kernel source to object code, in parallel worker processes, through the content-addressed cache."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock, Thread

import llvmlite

from graphc.backends.cache import KernelCache, content_key, meaning_of_words
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.cpu.workers import Died, Worker, give_back, take
from graphc.backends.load import KernelObject
from graphc.ir import LoweringError

VOCABULARY = ("atomics", "elements", "halves", "integers", "shuffles", "vector", "vmath", "worker")
"""The modules of this folder that give the words of kernel source their meaning."""

Progress = Callable[[int, int, str], None]
Keep = Callable[[str, KernelObject], None]


def cache_key(source: str, target: CpuTarget) -> str:
    """Content hash of everything that the object code depends on."""
    machine = (target.cpu, target.features, str(target.lanes), str(target.fma), str(target.vnni), str(target.bf16))
    meaning = meaning_of_words(Path(__file__).parent, VOCABULARY)
    return content_key(meaning, llvmlite.__version__, *machine, source)


def compile_kernels(
    sources: Mapping[str, str], target: CpuTarget, store: KernelCache, progress: Progress | None = None, jobs: int = 0
) -> dict[str, KernelObject]:
    """Objects by kernel name; what the cache lacks is compiled by ``jobs`` processes (default: one per core).

    Raises ``LoweringError`` naming the kernel that does not compile.
    """
    keys = {name: cache_key(source, target) for name, source in sources.items()}
    found = {name: obj for name in sources if (obj := store.get(keys[name])) is not None}
    missing = {name: sources[name] for name in sources if name not in found}
    if not missing:
        return found
    pool = _Pool(missing, target, lambda name, obj: store.put(keys[name], obj), progress)
    return found | pool.run(min(jobs or os.cpu_count() or 1, len(missing)))


class _Pool:
    """Workers that take the largest sources first from one list. A kernel whose worker died gets one more worker."""

    def __init__(self, sources: Mapping[str, str], target: CpuTarget, keep: Keep, progress: Progress | None) -> None:
        self.queue = sorted(sources.items(), key=lambda item: len(item[1]))
        self.total, self.target, self.keep, self.progress = len(sources), target, keep, progress
        self.done: dict[str, KernelObject] = {}
        self.errors: list[LoweringError] = []
        self.failures: list[BaseException] = []
        self.working: list[Worker] = []
        self.lock, self.over = Lock(), False

    def run(self, jobs: int) -> dict[str, KernelObject]:
        """Compile everything; raises ``LoweringError`` if something failed. No worker goes on after the call."""
        threads = [Thread(target=self._drain, daemon=True) for _ in range(jobs)]
        try:
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        finally:
            with self.lock:
                self.over = True
                working = list(self.working)
            for worker in working:
                worker.kill()  # there are some only if this was interrupted
        for failure in (*self.failures, *self.errors):
            raise failure
        return self.done

    def _drain(self) -> None:
        try:
            worker = self._take_worker()
            while not self.errors and not self.failures:
                try:
                    name, source = self.queue.pop()
                except IndexError:
                    break
                try:
                    reply = worker.ask(name, source)
                except Died:
                    self._lose(worker)
                    worker = self._take_worker()
                    reply = self._again(worker, name, source)
                self._keep(name, reply)
            with self.lock:
                self.working.remove(worker)
            give_back(worker)
        except BaseException as failure:
            self.failures.append(failure)

    def _take_worker(self) -> Worker:
        with self.lock:
            if self.over:
                raise Died
            worker = take(self.target)
            self.working.append(worker)
        return worker

    def _lose(self, worker: Worker) -> int:
        """Done with a worker that died: its exit status."""
        with self.lock:
            self.working.remove(worker)
        return worker.end()

    def _again(self, worker: Worker, name: str, source: str) -> dict[str, str]:
        try:
            return worker.ask(name, source)
        except Died:
            code = self._lose(worker)
            raise LoweringError(
                f"kernel {name}: the process that compiles it died twice (exit status {code})",
                "look whether memory ran out, or something kills processes of this user; then compile again",
            ) from None

    def _keep(self, name: str, reply: Mapping[str, str]) -> None:
        """Keep what a worker answered."""
        if "error" in reply:
            remedy = "this is a defect of graphc: please report it with the net"
            self.errors.append(LoweringError(f"kernel {name}: {reply['error']}", remedy))
            return
        self.done[name] = KernelObject(reply["symbol"], base64.b64decode(reply["object"]))
        self.keep(name, self.done[name])
        if self.progress:
            self.progress(len(self.done), self.total, name)
