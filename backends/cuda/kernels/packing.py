"""PackSegments and UnpackSegments: rows of runs from one after another into a block with gaps, and back.

First the card finds where the runs begin. Then a thread takes up to eight neighbouring bytes of a row of the block.
"""

from __future__ import annotations

from collections.abc import Sequence

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

PARAMS: tuple[str, ...] = ("total", "width", "most", "starts", "block_", "flat", "mask", "gap")
"""total: words of the block. width: of a row. most: rows of a run in the block. gap: the bits of a word in a gap."""
KINDS = {"u1": np.uint8, "u2": np.uint16, "i4": np.int32, "i8": np.int64}
MINUS_INFINITY: dict[DType | None, np.generic] = {
    DType.FLOAT: np.float32(-np.inf),
    DType.DOUBLE: np.float64(-np.inf),
    DType.FLOAT16: np.float16(-np.inf),
}
SERVED = ("PackSegments", "UnpackSegments")


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``packing{itemsize, pack, mask}``; itemsize: bytes of a word, 0 where rows have none and there is only
    the mask of rows to write. Parameters: ``PARAMS``."""
    s, size, pack = Lines(), spec.int("itemsize"), spec.int("pack")
    with each_thread(s, spec, PARAMS):
        s("k = quot(i, width)")
        s("run, j = quot(k, most), rest(k, most)")
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
    if least is None or not call.arg("pad_minf") or not size:
        return 0
    return int(np.full(8 // least.itemsize, least).view(KINDS[CODES[size]])[0])


def is_movable(call: Call, data: int, lengths: int) -> bool:
    """The rows of an input are plain numbers, and the lengths int32."""
    plain = call.type(data).layout.block == 1 and call.type(data).dtype is not DType.STRING
    return plain and call.type(lengths).dtype is DType.INT32


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_movable(call, 1, 0):
        return None
    packs = int(call.node.op.removeprefix("g.fill.") == "PackSegments")
    return Choice("packing", KernelSpec.make("packing", itemsize=4, pack=packs, mask=0, threads=THREADS))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=room(call.type(0).size))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    given, x, label = ins[0], ins[1], call.node.results[0].name
    assert given is not None
    assert x is not None
    assert choice.spec is not None
    require_reach(x, *outs)
    packs = bool(choice.spec.int("pack"))
    block, flat = (outs[0], x) if packs else (x, outs[0])
    runs, most = block.type.static_shape[:2]
    rows = flat.type.static_shape[0]
    lengths = Lengths(given.address, runs, rows, rows)
    if not packs:
        lengths = Lengths(given.address, runs, rows, rows, clip(call), most)
    nbytes = _row_bytes(block, flat)
    size, masks = word_of(nbytes, block, flat), outs[1:] if packs else ()
    width = nbytes // size if size else 1
    total = runs * most * width if size or masks else 0
    mask = masks[0].address if masks else 0
    spec = choice.spec.but(itemsize=size, mask=int(bool(masks)))
    params = (total, width, most, workspace, block.address, flat.address, mask, _gap(call, size))
    steps = starts_of(lengths, workspace, label)
    task = Task(spec, params, blocks_for(total), label, 0, x.type.nbytes + sum(v.type.nbytes for v in outs))
    return [*steps, (task,)] if task.units else steps


def _row_bytes(block: View, flat: View) -> int:
    """Bytes of a row, of which there may be none."""
    n = 1
    for d in flat.type.static_shape[1:]:
        n *= d
    return n * (flat.type.dtype.itemsize if flat.type.dtype else 4)


RULES = (
    Rule("packing", tuple(f"{part}{name}" for name in SERVED for part in ("", "g.fill.")), _choose, _needs, _bind),
)
TEMPLATES = (Template("packing", emit),)
