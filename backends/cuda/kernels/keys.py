"""Turns of a loop that have the same key: of each turn the next one, so that a thread can run all of a key in order."""

from __future__ import annotations

from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.rules import THREADS, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Task

PAIRS = 1 << 28
"""Comparisons of keys at most; so many turns may have a single key, too."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``keys{code}``; parameters: keys, total, chain. code: of the type of a key.

    chain: of each turn the next one of its key, or the number of turns; -1 less that where it is not the first one.
    """
    s, load = Lines(), f"ld_{spec['code']}"
    with each_thread(s, spec, ("keys", "total", "chain")):
        s(f"key, next, earlier = {load}(keys, i), total, 0")
        with counting(s, "k", "0", "i"), s.block(f"if {load}(keys, k) == key:"):
            s("earlier = 1")
        s("k = i + 1")
        with s.block("while k < next:"):
            with s.block(f"if {load}(keys, k) == key:"):
                s("next = k")
            s("k = k + 1")
        s("st_i8(chain, i, -1 - next if earlier > 0 else next)")
    return s.text()


def keys_task(keys: Address, code: str, turns: int, chain: Address, label: str) -> Task:
    """The task that fills ``turns`` int64 from ``chain`` on."""
    spec = KernelSpec.make("keys", code=code, threads=THREADS)
    return Task(spec, (keys, turns, chain), blocks_for(turns), label, turns * turns, 16 * turns)


TEMPLATES = (Template("keys", emit),)
