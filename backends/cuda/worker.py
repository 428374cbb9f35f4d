"""A compile worker: a process that turns kernel source into machine code for one architecture.

Protocol (``backends/worker.py``): ``{"name", "source", "threads"}``, answered by the fields of ``cubin.Cubin``, its
code in base64.
"""

from __future__ import annotations

import base64
import re
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

from cuda.core import Linker, LinkerOptions, ObjectCode
from numba import cuda
from numba.core.types.functions import BaseFunction
from numba.cuda import dispatcher, types

from graphc.backends.cuda import arrays, conversions, inline_words, tensor_words, vector_words, warpgroup_words, words
from graphc.backends.cuda.target import CudaTarget, find
from graphc.backends.vocabulary import load_source
from graphc.backends.worker import serve

RESIDENT = 512
"""Threads of a multiprocessor for which there have to be registers: 128 each. A kernel that would spill with these gets
those of half as many threads, 255, unless one block has more threads than that."""


def compile_kernel(name: str, source: str, threads: int, target: CudaTarget) -> dict[str, Any]:
    """Machine code of the function ``name`` in ``source``, whose parameters are int64, for blocks of ``threads``."""
    capability = (*target.capability, "a") if target.arch.endswith("a") else target.capability
    # functions that a kernel calls are compiled for the card of this machine, which may have none
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    vocabulary = _vocabulary(inline_words.NEEDS_NO_CALLS in source)
    kernel = load_source(name, source, vocabulary, cuda.jit(device=True, forceinline=True))
    signature = types.void(*[types.int64] * kernel.__code__.co_argcount)
    blocks = max(RESIDENT // threads, 1)
    ptx, _ = cuda.compile(
        kernel, signature, cc=capability, abi="numba", device=False, output="ptx", launch_bounds=(threads, blocks)
    )
    ptx = _renamed(ptx, name)
    made = _link(name, ptx, target)
    return _link(name, _for_fewer_blocks(ptx), target) if made["spilled"] and blocks > 1 else made


@cache
def _vocabulary(without_calls: bool) -> dict[str, Any]:
    conversions.register()
    modules = (words, vector_words, tensor_words, warpgroup_words, arrays, *[inline_words] * without_calls)
    return {name: meaning for module in modules for name, meaning in module.namespace().items()}


def _remember_signatures() -> None:
    """Have Numba ask once what a function gives for arguments of some types: asking again and again for the thousand
    statements of a kernel takes a third of all the time.
    """
    known: dict[tuple[int, Any], tuple[Any, Any]] = {}
    ask = BaseFunction.get_call_type

    def remembered(function: Any, context: Any, arguments: Any, named: Any) -> Any:
        if named:
            return ask(function, context, arguments, named)
        key = (id(function), arguments)
        if key not in known:
            known[key] = (ask(function, context, arguments, named), function)  # alive, so that its id stays its own
        return known[key][0]

    setattr(BaseFunction, "get_call_type", remembered)  # noqa: B010 - to mypy it is no assignment of another signature


def _renamed(ptx: str, name: str) -> str:
    """The text with the kernel under its own name: Numba's holds a number that differs from process to process."""
    found = re.search(r"\.entry\s+(\S+?)\s*\(", ptx)
    assert found is not None
    return ptx.replace(found.group(1), name)


def _for_fewer_blocks(ptx: str) -> str:
    """The text with registers for half as many blocks on a multiprocessor."""
    return re.sub(r"(?<=\.minnctapersm )\d+", lambda blocks: str(int(blocks[0]) // 2), ptx)


def _link(name: str, ptx: str, target: CudaTarget) -> dict[str, Any]:
    linker = Linker(
        ObjectCode.from_ptx(ptx.encode(), name=name), options=LinkerOptions(arch=target.arch, ptxas_options=["-v"])
    )
    code = linker.link("cubin").code
    log = linker.get_info_log()

    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found.group(1)) if found else 0

    return {
        "name": name,
        "code": base64.b64encode(code).decode(),
        "registers": number(r"Used (\d+) registers"),
        "stack": number(r"(\d+) bytes stack frame"),
        "spilled": number(r"(\d+) bytes spill stores"),
        "shared": number(r"(\d+) bytes smem") + words.dynamic_bytes(ptx),
        "serialized": len(re.findall(r"\(C75\d\d\)", log)),  # of wgmma: advice of ptxas that some wait, or all
    }


def main(target: CudaTarget) -> None:
    """Serve until end of file."""
    _remember_signatures()
    serve(sys.stdin, lambda request: compile_kernel(request["name"], request["source"], request["threads"], target))


if __name__ == "__main__":
    main(find(sys.argv[1]))
