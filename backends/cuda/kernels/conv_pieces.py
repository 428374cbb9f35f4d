"""Convolution whose long sums are cut into pieces, for layers with few results (split of K).

A block adds up the products of one piece for one tile of results (``conv.py``) and stores the bare sums; the next
launch adds the pieces of each result, the bias and the epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from graphc.backends.cuda.kernels import conv
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.tilings import decide, parts_for
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

SUMS = ("pieces", "each", "plane", "work")
"""each: products of a piece. work: the sums (pieces, groups * maps, pixels), pixels filled up to a multiple of four.
plane: floats of a piece."""
JOIN = ("total", "pieces", "plane", "work", "pixels", "oh", "ow", "y", "yn", "yc", "yr", "yp")


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_pieces``; parameters: ``conv.NAMES``, ``SUMS``."""
    s, tile = Lines(), conv.tile_of(spec)
    with s.block(f"def {spec.name}({', '.join((*conv.NAMES, *SUMS))}):"):
        s("u = i64(block())")
        s("piece, u = rest(u, pieces), quot(u, pieces)")
        s("begin = piece * each")
        s("end = min(begin + each, depth)")
        conv.emit_sums(s, tile, spec, "begin", "end")
        _emit_store(s, tile)
    return s.text()


def _emit_store(s: Lines, tile: Tile) -> None:
    across = tile.pixels // tile.own_pixels
    s("wide = quot(pixels + 3, 4) * 4")
    for g in range(tile.own_pixels // 4):
        s(f"first = p0 + rest(t, {across}) * 4 + {g * 4 * across}")
        for i in range(tile.own_maps):
            s(f"m = m0 + quot(t, {across}) * 4 + {i // 4 * 4 * tile.maps // tile.own_maps + i % 4}")
            with s.block("if (m < maps) & (first < pixels):"):
                values = ", ".join(f"c{i}_{4 * g + j}" for j in range(4))
                s(f"st4(work, piece * plane + (group * maps + m) * wide + first, {values})")


def emit_join(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_join``; parameters: ``JOIN``, the bias if there is one, the epilogue's. A result a thread."""
    s, epilogue = Lines(), Epilogue.of_spec(spec)
    bias = ["bias"] if spec.int("bias") else []
    with each_thread(s, spec, [*JOIN, *bias, *epilogue.arguments()]):
        s("p, m = rest(i, pixels), quot(i, pixels)")
        s("ox, q = rest(p, ow), quot(p, ow)")
        s("oy, n = rest(q, oh), quot(q, oh)")
        s("at = m * (quot(pixels + 3, 4) * 4) + p")
        s("value = " + ("ld_f4(bias, m)" if bias else "f4(0.0)"))
        with counting(s, "k", "0", "pieces"):
            s("value = value + ld_f4(work, k * plane + at)")
        places = [f"n * e{k}n + m * e{k}c + oy * e{k}r + ox * e{k}p" for k in epilogue.same]
        s(f"st_f4(y, n * yn + m * yc + oy * yr + ox * yp, {epilogue.apply(s, 'value', 'm', places)})")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    problem = conv.problem_of(call)
    tiling = decide(problem, target) if problem is not None else None
    if problem is None or tiling is None or tiling.parts == 1 or not isinstance(tiling.tile, Tile):
        return None
    spec = conv.make_spec(tiling.tile, problem.kernel, False, Epilogue("y=x0", (), ()))
    spec = KernelSpec.make("conv_pieces", **dict(spec.params))
    weights = call.constant(1)
    packed = {} if weights is None else {1: conv.pack(weights, problem.groups, tiling.tile)}
    return Choice("conv_pieces", spec, packed, float(problem.pixels * problem.maps * problem.groups))


def _pieces(call: Call, spec: KernelSpec, target: CudaTarget) -> tuple[int, int]:
    """Pieces and products of one, whole turns of the tile's loop, for the sizes at hand."""
    problem, tile = conv.problem_of(call), conv.tile_of(spec)
    assert problem is not None
    pieces = parts_for(tile, problem, target)
    each = -(-problem.depth // (pieces * tile.depth)) * tile.depth
    return -(-problem.depth // each), each


def _plane(call: Call) -> int:
    result = call.node.results[0].type.static_shape
    return result[1] * -(-result[0] * prod(result[2:]) // 4) * 4


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    assert choice.spec is not None
    pieces, _ = _pieces(call, choice.spec, target)
    return Needs(dense=Epilogue.of_call(call).dense_operands(call), workspace=4 * pieces * _plane(call))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, w, epilogue = ins[0], outs[0], window(call), Epilogue.of_call(call)
    assert choice.spec is not None
    assert x is not None
    pieces, each = _pieces(call, choice.spec, target)
    geometry, plane = conv.geometry(x, y, w), _plane(call)
    whole = conv.product_task(call, choice, ins, outs, geometry)
    sums = replace(whole, params=(*whole.params, pieces, each, plane, workspace), units=whole.units * pieces)
    bias = [v.address for v in ins[2:3] if v is not None and call.has(2)]
    pixels, oh, ow = geometry.sizes[:3]
    total = pixels * y.type.static_shape[1]
    spec = KernelSpec.make("conv_join", bias=len(bias), threads=THREADS, **epilogue.static())
    params: tuple[Param, ...] = (total, pieces, plane, workspace, pixels, oh, ow, y.address, *image_strides(y))
    traffic = 4 * total * (pieces + 1)
    last = Task(spec, (*params, *bias, *epilogue.params(call, ins)), blocks_for(total), whole.label, total, traffic)
    return [(sums,), (last,)]


RULES = (Rule("conv_pieces", conv.OPS, _choose, _needs, _bind),)
TEMPLATES = (Template("conv_pieces", emit), Template("conv_join", emit_join))
