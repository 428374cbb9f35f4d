"""Kernel source to object code, in parallel worker processes, through the content-addressed cache."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from threading import Thread

import llvmlite

from graphc.backends.cache import KernelCache
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.load import KernelObject
from graphc.ir import LoweringError

VOCABULARY = ("arrays", "atomics", "elements", "shuffles", "vector", "vmath", "worker")
"""The modules that give the words of kernel source their meaning."""

Progress = Callable[[int, int, str], None]


def cache_key(source: str, target: CpuTarget) -> str:
    """Content hash of everything that the object code depends on."""
    machine = (target.cpu, target.features, str(target.lanes), str(target.fma))
    text = "\0".join((_vocabulary_digest(), llvmlite.__version__, *machine, source))
    return blake2b(text.encode(), digest_size=20).hexdigest()


@cache
def _vocabulary_digest() -> str:
    """Hash of the vocabulary's own source: another meaning of a word is another kernel."""
    folder = Path(__file__).parent
    return blake2b(b"\0".join((folder / f"{name}.py").read_bytes() for name in VOCABULARY)).hexdigest()


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
    pool = _Pool(missing, target, progress)
    for name, obj in pool.run(min(jobs or os.cpu_count() or 1, len(missing))).items():
        store.put(keys[name], obj)
        found[name] = obj
    return found


class _Pool:
    """Workers that take the largest sources first from one list."""

    def __init__(self, sources: Mapping[str, str], target: CpuTarget, progress: Progress | None) -> None:
        self.queue = sorted(sources.items(), key=lambda item: len(item[1]))
        self.total, self.target, self.progress = len(sources), target, progress
        self.done: dict[str, KernelObject] = {}
        self.errors: list[str] = []

    def run(self, jobs: int) -> dict[str, KernelObject]:
        """Compile everything; raises ``LoweringError`` if something failed."""
        threads = [Thread(target=self._drain) for _ in range(jobs)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if self.errors:
            raise LoweringError(f"kernel {self.errors[0]}", "this is a defect of graphc: please report it with the net")
        return self.done

    def _drain(self) -> None:
        worker = _start(self.target)
        assert worker.stdin is not None
        assert worker.stdout is not None
        while not self.errors:
            try:
                name, source = self.queue.pop()
            except IndexError:
                break
            try:
                worker.stdin.write(json.dumps({"name": name, "source": source}) + "\n")
                worker.stdin.flush()
                reply = json.loads(worker.stdout.readline() or '{"error": "the compile worker died"}')
            except OSError as error:
                reply = {"error": f"the compile worker died: {error}"}
            if "error" in reply:
                self.errors.append(f"{name}: {reply['error']}")
                break
            self.done[name] = KernelObject(reply["symbol"], base64.b64decode(reply["object"]))
            if self.progress:
                self.progress(len(self.done), self.total, name)
        worker.stdin.close()
        worker.wait()


def _start(target: CpuTarget) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"NUMBA_CPU_NAME": target.cpu, "NUMBA_CPU_FEATURES": target.features, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "graphc.backends.cpu.worker", str(target.lanes), str(int(target.fma))]
    # -P is Python 3.11+: PYTHONSAFEPATH keeps the current folder off the path where it is known, harmless elsewhere
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment | {"PYTHONSAFEPATH": "1"}
    )
