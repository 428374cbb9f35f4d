"""TT: a fully connected layer whose weight is a train of small tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._products import add_product
from graphc.ir.ops._rules import agree, product, require, vector
from graphc.ir.types import UNKNOWN, DType, TensorType

FLOAT = (DType.FLOAT,)


def _sizes(call: Call) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Sizes of the inputs and outputs of the cores, and the ranks between them."""
    ins, outs, ranks = (tuple(call.arg(name)) for name in ("inp_sizes", "out_sizes", "tt_ranks"))
    if not ins or len(ins) != len(outs) or len(ranks) != len(ins) + 1:
        call.fail(
            f"inp_sizes, out_sizes and tt_ranks have {len(ins)}, {len(outs)} and {len(ranks)} values",
            "give as many inputs as outputs, and one rank more",
        )
    if min(*ins, *outs, *ranks) < 1:
        call.fail("a size or rank of a core is below 1")
    if ranks[0] != 1 or ranks[-1] != 1:
        call.fail(f"tt_ranks begins with {ranks[0]} and ends with {ranks[-1]}", "the outer ranks are 1")
    return ins, outs, ranks


def _infer(call: Call) -> list[TensorType]:
    """Y: (N, product of out_sizes); X has a row of the product of inp_sizes for each, b as many as a row of Y."""
    x, (ins, outs, ranks) = require(call, 0, FLOAT), _sizes(call)
    require(call, 1, FLOAT)
    require(call, 2, FLOAT)
    vector(call, 1, math.prod(outs), "length of b")
    count = sum(i * r * s * o for i, o, r, s in zip(ins, outs, ranks, ranks[1:]))
    found = vector(call, 2, UNKNOWN, "number of elements of the cores")
    if isinstance(found, int) and found < count:
        call.fail(f"the cores have {found} elements, {count} are needed")
    if x.shape is None:
        return [x.with_shape((UNKNOWN, math.prod(outs)))]
    if len(x.shape) < 2:
        call.fail(f"X has {len(x.shape)} dimensions, at least 2 are needed")
    agree(call, product(x.shape[1:]), math.prod(ins), "elements of a row of X")
    return [x.with_shape((x.shape[0], math.prod(outs)))]


def _loop(
    x: np.ndarray,
    b: np.ndarray,
    cores: np.ndarray,
    y: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    ins: tuple[int, ...],
    outs: tuple[int, ...],
    ranks: tuple[int, ...],
) -> None:
    """From the last core on: rows times core, then the core's outputs to the front."""
    size, core = x.size, 0
    for i in range(size):
        old[i] = x.flat[i]
    for t in range(len(ins)):
        i = len(ins) - 1 - t
        inner, columns = ins[i] * ranks[i + 1], ranks[i] * outs[i]
        rows = size // inner
        size = rows * columns
        for j in range(size):
            new[j] = np.float32(0)
        add_product(old, 0, inner, 1, cores, core, columns, new, 0, columns, rows, inner, columns)
        for j in range(size):
            old[j % outs[i] * (size // outs[i]) + j // outs[i]] = new[j]
        core += inner * columns
    batch, row = y.shape[0], y.shape[1]
    for j in range(size):
        y.flat[j % row * batch + j // row] = old[j]
    for j in range(size):
        y.flat[j] += b[j % row]


def _scratch(call: Call) -> Sequence[TensorType]:
    """Room for the largest product between two cores, twice."""
    ins, outs, ranks = _sizes(call)
    size = call.type(0).size
    largest = size
    for i in range(len(ins) - 1, -1, -1):
        size = size // (ins[i] * ranks[i + 1]) * ranks[i] * outs[i]
        largest = max(largest, size)
    return [TensorType(DType.FLOAT, (largest,))] * 2


def _constants(call: Call) -> Sequence[Any]:
    return _sizes(call)


op(
    "TT",
    _infer,
    inputs="X b cores",
    outputs="Y",
    args=(
        Arg("inp_sizes", "ints", (), "factors of the length of a row of X"),
        Arg("out_sizes", "ints", (), "factors of the length of a row of Y"),
        Arg("tt_ranks", "ints", (), "ranks before, between and behind the cores"),
    ),
    loop=_loop,
    scratch=_scratch,
    constants=_constants,
    doc="X times the matrix that the cores stand for, plus b; rows of Y lie as Caffe2 leaves them",
)
