"""A compile worker: a process that turns kernel source into object code for one target, and does nothing else.

Numba fixes its target when it is imported, so each target has processes of its own (``workers.py`` starts
them). Protocol (``backends/worker.py``): ``{"name", "source"}``, answered by ``{"name", "symbol", "object"}``.
"""

from __future__ import annotations

import base64
import math
import os
import sys
from collections.abc import Iterator, Mapping
from threading import Timer
from typing import Any, TextIO

import numpy as np
from numba import njit, types
from numba.core.compiler import CompilerBase, Flags, compile_extra
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering, NoPythonBackend, NopythonTypeInference, PreLowerStripPhis
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode

from graphc.backends.cpu import atomics, halves, integers, shuffles, vector, vmath
from graphc.backends.vocabulary import load_source
from graphc.backends.worker import serve

IDLE_SECONDS = 30.0


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """The passes that generated source needs. Numba's others look for what it never has (closures, lists, ``with``)
    and take up to a third of the time; the code is the same."""

    def define_pipelines(self) -> list[PassManager]:
        """The one pipeline."""
        passes = PassManager("graphc")
        for step in (
            *(TranslateByteCode, FixupArgs, IRProcessing, ReconstructSSA),
            *(NopythonTypeInference, PreLowerStripPhis, NativeLowering, NoPythonBackend),
        ):
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


def compile_kernel(
    name: str, source: str, lanes: int, fma: bool, vnni: bool = False, bf16: bool = False
) -> tuple[str, bytes]:
    """Symbol and object code of ``def NAME(p, lo, hi, tid)`` in ``source``, all four being intp.

    The machine function is Numba's bare one, ``int32 f(void *result, void *exception, p, lo, hi, tid)``: without
    wrappers it refers to neither Python nor Numba, so a process that has neither loaded can run it.
    """
    words = {
        **vector.namespace(lanes, fma),
        **vmath.namespace(lanes, fma),
        **atomics.namespace(),
        **shuffles.namespace(lanes),
        **integers.namespace(lanes, vnni),
        **halves.namespace(lanes, fma, bf16),
        "np": np,
        "math": math,
    }
    kernel = load_source(name, source, words, njit(error_model="numpy"))
    flags = Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    typing, target = cpu_target.typing_context, cpu_target.target_context
    target.refresh()
    typing.refresh()
    result = compile_extra(
        typing, target, kernel, (types.intp,) * 4, types.none, flags, {}, pipeline_class=KernelCompiler
    )
    code = result.library._get_compiled_object()
    if b".numba.unresolved" in code:
        raise ValueError(f"kernel {name}: a function calls itself with arguments of other types")
    return result.fndesc.llvm_func_name, code


def until_idle(requests: TextIO) -> Iterator[str]:
    """Lines until end of file; the process ends when none comes for ``IDLE_SECONDS``."""
    while True:
        clock = Timer(IDLE_SECONDS, os._exit, (0,))
        clock.daemon = True
        clock.start()
        line = requests.readline()
        clock.cancel()
        if not line:
            return
        yield line


def main(lanes: int, fma: bool, vnni: bool, bf16: bool) -> None:
    """Serve until end of file, or until no request came for a while."""

    def answer(request: Mapping[str, Any]) -> dict[str, str]:
        symbol, code = compile_kernel(request["name"], request["source"], lanes, fma, vnni, bf16)
        return {"symbol": symbol, "object": base64.b64encode(code).decode()}

    serve(until_idle(sys.stdin), answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), *(flag == "1" for flag in sys.argv[2:]))
