"""Which rules have a tiling to choose, and for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.backends.cuda.kernels import conv, conv_tensor, conv_transpose, fc, gemm, int8_tensor, matmul_tensor
from graphc.backends.cuda.tiling import Problem
from graphc.ir.opdef import Call

PROBLEMS: Mapping[str, Callable[[Call], Problem | None]] = {
    "conv": conv.problem_of,
    "conv_pieces": conv.problem_of,
    "conv_tensor": conv_tensor.problem_of,
    "conv_transpose": conv_transpose.problem_of,
    "fc": fc.problem_of,
    "gemm": gemm.problem_of,
    "int8_tensor": int8_tensor.problem_of,
    "matmul_tensor": matmul_tensor.problem_of,
}
"""By the name of the rule; None for a call where nothing is to be chosen."""
