"""A compile worker: a process that turns kernel source into object code for one target, and does nothing else.

Numba fixes its target when it is imported, so each target has processes of its own (``workers.py`` starts
them). Protocol: one JSON object a line on stdin ``{"name", "source"}``, one a line on stdout
``{"name", "symbol", "object"}`` or ``{"name", "error"}``.
"""

from __future__ import annotations

import base64
import gc
import json
import math
import os
import sys
from collections.abc import Iterator
from threading import Timer
from types import FunctionType
from typing import Any, TextIO

import numpy as np
from numba import njit, types
from numba.core.compiler import CompilerBase, Flags, compile_extra
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering, NoPythonBackend, NopythonTypeInference, PreLowerStripPhis
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode

from graphc.backends.cpu import arrays, atomics, halves, integers, shuffles, vector, vmath
from graphc.backends.cpu.vocabulary import BUILTINS, check_source

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
        **arrays.namespace(),
        **shuffles.namespace(lanes),
        **integers.namespace(lanes, vnni),
        **halves.namespace(lanes, fma, bf16),
        "np": np,
        "math": math,
    }
    check_source(name, source, words)
    scope: dict[str, Any] = {**words, "__builtins__": BUILTINS, "__name__": "graphc_kernel"}
    exec(compile(source, f"<graphc:{name}>", "exec"), scope)
    for other, function in list(scope.items()):
        if isinstance(function, FunctionType) and other != name:
            scope[other] = njit(error_model="numpy")(function)
    flags = Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    typing, target = cpu_target.typing_context, cpu_target.target_context
    target.refresh()
    typing.refresh()
    result = compile_extra(
        typing, target, scope[name], (types.intp,) * 4, types.none, flags, {}, pipeline_class=KernelCompiler
    )
    code = result.library._get_compiled_object()
    if b".numba.unresolved" in code:
        raise ValueError(f"kernel {name}: a function calls itself with arguments of other types")
    return result.fndesc.llvm_func_name, code


def _lines(requests: TextIO) -> Iterator[str]:
    """Lines until end of file; the process ends when it waits too long for one."""
    while True:
        clock = Timer(IDLE_SECONDS, os._exit, (0,))
        clock.daemon = True
        clock.start()
        line = requests.readline()
        clock.cancel()
        if not line:
            return
        yield line


def serve(lanes: int, fma: bool, vnni: bool, bf16: bool, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until end of file, or until none came for ``IDLE_SECONDS``."""
    for line in _lines(requests):
        request = json.loads(line)
        try:
            symbol, code = compile_kernel(request["name"], request["source"], lanes, fma, vnni, bf16)
            reply = {"name": request["name"], "symbol": symbol, "object": base64.b64encode(code).decode()}
        except Exception as error:  # the parent raises it with the kernel's name
            reply = {"name": request["name"], "error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    gc.disable()  # collecting takes a sixth of the time, and nobody asks a worker for many kernels
    out = sys.stdout
    sys.stdout = sys.stderr  # nothing that Numba prints may mix with replies
    serve(int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3] == "1", sys.argv[4] == "1", sys.stdin, out)
