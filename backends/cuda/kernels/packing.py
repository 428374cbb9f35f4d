"""Runs of rows from one after another into a block with gaps, and back. A block's first dimension is the run, or time.

First the card finds where the runs begin. Then a thread takes up to eight neighbouring bytes of a row of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.cuda.kernels.copy import CODES
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.length_sizes import clip
from graphc.backends.cuda.kernels.segment_starts import Lengths, room, starts_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

PARAMS: tuple[str, ...] = ("total", "width", "inner", "starts", "block_", "flat", "mask", "gap")
"""total: words of the block. width: of a row. inner: second dimension of the block. gap: bits of a word in a gap."""
KINDS = {"u1": np.uint8, "u2": np.uint16, "i4": np.int32, "i8": np.int64}
MINUS_INFINITY: dict[DType | None, np.generic] = {
    DType.FLOAT: np.float32(-np.inf),
    DType.DOUBLE: np.float64(-np.inf),
    DType.FLOAT16: np.float16(-np.inf),
}
SERVED = ("PackRNNSequence", "PackSegments", "UnpackRNNSequence", "UnpackSegments")


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``packing{itemsize, pack, time, mask}``; parameters: ``PARAMS``.

    itemsize: bytes of a word, 0 where rows have none and there is only the mask of rows to write. time: the first
    dimension of the block is time.
    """
    s, size, pack = Lines(), spec.int("itemsize"), spec.int("pack")
    with each_thread(s, spec, PARAMS):
        s("k = quot(i, width)")
        s(f"{'j, run' if spec.int('time') else 'run, j'} = quot(k, inner), rest(k, inner)")
        s("first = i64(ld_i8(starts, run))")
        s("taken = j < i64(ld_i8(starts, run + 1)) - first")
        if size:
            code = CODES[size]
            s("at = (first + j) * width + rest(i, width)")
            with s.block("if taken:"):
                s(
                    f"st_{code}(block_, i, ld_{code}(flat, at))"
                    if pack
                    else f"st_{code}(flat, at, ld_{code}(block_, i))"
                )
            if pack:
                with s.block("else:"):
                    s(f"st_{code}(block_, i, gap)")
        if spec.int("mask"):
            with s.block("if rest(i, width) == 0:"):
                s("st_u1(mask, k, 1 if taken else 0)")
    return s.text()


def word_of(nbytes: int, *views: View) -> int:
    """Bytes of the widest word that rows of ``nbytes`` consist of, in all of the values; 0 for rows without any."""
    if not nbytes:
        return 0
    return next(
        size for size in (8, 4, 2, 1) if not any(n % size for n in (nbytes, *(v.address.offset for v in views)))
    )


def _gap(call: Call, size: int) -> int:
    """The number whose bits are those of a word in a gap: of zeros, or of minus infinity."""
    least = MINUS_INFINITY.get(call.type(1).dtype)
    wanted = call.opdef.has_arg("pad_minf") and call.arg("pad_minf")
    if least is None or not size or not wanted:
        return 0
    return int(np.full(8 // least.itemsize, least).view(KINDS[CODES[size]])[0])


def is_movable(call: Call, data: int, lengths: int) -> bool:
    """The rows of an input are plain numbers, and the lengths int32."""
    plain = call.type(data).layout.block == 1 and call.type(data).dtype is not DType.STRING
    return plain and call.type(lengths).dtype is DType.INT32


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_movable(call, *_ports(call)):
        return None
    name = call.node.op.removeprefix("g.fill.")
    how = {"pack": int(name.startswith("Pack")), "time": int(name.endswith("RNNSequence"))}
    return Choice("packing", KernelSpec.make("packing", itemsize=4, mask=0, threads=THREADS, **how))


def _ports(call: Call) -> tuple[int, int]:
    """Which inputs are the rows, and their lengths."""
    return (0, 1) if call.node.op.endswith("RNNSequence") else (1, 0)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(
        dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=room(call.type(_ports(call)[1]).size)
    )


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (x, given), label = (ins[i] for i in _ports(call)), call.node.results[0].name
    assert given is not None
    assert x is not None
    assert choice.spec is not None
    require_reach(x, *outs)
    packs = bool(choice.spec.int("pack"))
    block, flat = (outs[0], x) if packs else (x, outs[0])
    time, (outer, inner), rows = choice.spec.int("time"), block.type.static_shape[:2], flat.type.static_shape[0]
    runs, most = (inner, outer) if time else (outer, inner)
    lengths = Lengths(given.address, runs, 0 if time else rows, rows)
    if not packs:
        lengths = Lengths(given.address, runs, rows, rows, clip(call), most)
    nbytes = prod(flat.type.static_shape[1:]) * (flat.type.dtype.itemsize if flat.type.dtype else 4)
    size, masks = word_of(nbytes, block, flat), outs[1:] if packs else ()
    width = nbytes // size if size else 1
    total = outer * inner * width if size or masks else 0
    mask = masks[0].address if masks else 0
    spec = choice.spec.but(itemsize=size, mask=int(bool(masks)))
    params = (total, width, inner, workspace, block.address, flat.address, mask, _gap(call, size))
    steps = starts_of(lengths, workspace, label)
    task = Task(spec, params, blocks_for(total), label, 0, x.type.nbytes + sum(v.type.nbytes for v in outs))
    return [*steps, (task,)] if task.units else steps


RULES = (
    Rule("packing", tuple(f"{part}{name}" for name in SERVED for part in ("", "g.fill.")), _choose, _needs, _bind),
)
TEMPLATES = (Template("packing", emit),)
