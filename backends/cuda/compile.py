"""Kernel source to machine code of a card, in worker processes, through the content-addressed cache. Needs no card."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from graphc.backends.cache import KernelCache, content_key, meaning_of_words
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.target import CudaTarget
from graphc.ir import GraphcError, LoweringError

COMPILER = ("numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink")
"""Distributions of the extra ``cuda`` that machine code depends on."""
MEANING = (
    "words",
    "vector_words",
    "tensor_words",
    "warpgroup_words",
    "inline_words",
    "arrays",
    "conversions",
    "worker",
)
"""The modules of this folder that give the words of kernel source their meaning, and all that know Numba."""

Source = tuple[str, int]
"""Text of a kernel, threads of a block."""
Progress = Callable[[int, int, str], None]


def compile_kernels(
    sources: Mapping[str, Source], target: CudaTarget, store: KernelCache, progress: Progress | None = None
) -> dict[str, Cubin]:
    """Machine code by kernel name; what the cache lacks is compiled by a process per core.

    Raises ``GraphcError`` where the compiler is not installed, ``LoweringError`` naming a kernel that does not compile.
    """
    versions = compiler_versions()
    keys = {name: _key(source, target, versions) for name, source in sources.items()}
    found = {name: Cubin.unpack(packed) for name in sources if (packed := store.get(keys[name])) is not None}
    missing = sorted((name for name in sources if name not in found), key=lambda name: -len(sources[name][0]))
    jobs = min(os.cpu_count() or 1, len(missing))
    parts = [missing[k::jobs] for k in range(jobs)]
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        for made in pool.map(lambda names: _ask(names, sources, target), parts):
            for cubin in made:
                store.put(keys[cubin.name], cubin.pack())
                found[cubin.name] = cubin
                if progress:
                    progress(len(found), len(sources), cubin.name)
    return found


@cache
def compiler_versions() -> tuple[str, ...]:
    """Versions of what compiles kernels; raises ``GraphcError`` where something is missing."""
    try:
        return tuple(version(name) for name in COMPILER)
    except PackageNotFoundError as error:
        raise GraphcError(
            f"compiling for CUDA needs packages that are not installed: {error.name}",
            "pip install 'graphc[cuda]'; a plan file has its machine code in it, for --allow-native, allow_native=True",
        ) from None


def _key(source: Source, target: CudaTarget, versions: tuple[str, ...]) -> str:
    """Content hash of everything that the machine code depends on."""
    meaning = meaning_of_words(Path(__file__).parent, MEANING)
    return content_key(meaning, *versions, target.arch, str(source[1]), source[0])


def _ask(names: Sequence[str], sources: Mapping[str, Source], target: CudaTarget) -> list[Cubin]:
    """One worker's answers about some kernels."""
    lines = [json.dumps({"name": n, "source": sources[n][0], "threads": sources[n][1]}) for n in names]
    done = subprocess.run(
        [sys.executable, "-m", "graphc.backends.cuda.worker", target.name],
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONSAFEPATH": "1", "NUMBA_ENABLE_CUDASIM": "0"},
        check=False,
    )
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    if len(replies) < len(names):
        raise LoweringError(
            f"kernel {names[len(replies)]}: the process that compiles it died (exit status {done.returncode})",
            "look whether memory ran out; then compile again",
        )
    return [_cubin(reply, sources[reply["name"]][1]) for reply in replies]


def _cubin(reply: dict[str, Any], threads: int) -> Cubin:
    if "error" in reply:
        raise LoweringError(
            f"kernel {reply['name']}: {reply['error']}", "this is a defect of graphc: please report it with the net"
        )
    return Cubin(threads=threads, **{**reply, "code": base64.b64decode(reply["code"])})
