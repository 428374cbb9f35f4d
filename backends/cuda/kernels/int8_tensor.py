"""graphc's int8 products on tensor cores: uint8 NHWC, int8 weights, exact sums in int32 (``tensor_product.py``).

Sixteen channels of a pixel are a piece. Where those of a group are no multiple of sixteen, X is copied first, each
group's channels filled up to one. What is outside of the image is X's zero point, so that its share of the sums is that
of every pixel, which the bias has in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.cuda.kernels import int8_ending, tensor_parts, tensor_product
from graphc.backends.cuda.kernels.conv_tensor import fitting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.int8_ending import Ending, constants, ending_of
from graphc.backends.cuda.kernels.tensor_parts import JOIN, emit_totals, join_spec, workspace_of
from graphc.backends.cuda.kernels.tensor_product import Product, emit_sums, pack
from graphc.backends.cuda.kernels.tensor_tile import PIECE, ROW, TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import ALIGNMENT, CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.int8_call import NATIVE, Int8Product
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View

FEW = 8
"""Groups of fewer channels would fill tensor cores with zeros: ``int8_direct.py`` has them."""
ENDS = ("width", *int8_ending.NAMES)
"""width: maps of all groups."""
FILL = ("total", "x", "y", "channels", "pieces", "zero")


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``int8_tensor``; parameters: those of products, ``filling``, ``ENDS``.

    filling: the address of 16 bytes of X's zero point. pairs: maps of a group are even in number.
    """
    s, product, ending = Lines(), Product.of_spec(spec), Ending.of_spec(spec)
    _emit_put(s, ending, bool(spec.int("pairs")))
    with s.block(f"def {spec.name}({', '.join([*tensor_product.NAMES, 'filling', *ENDS])}):"):
        emit_sums(s, product)
        for i in range(product.tile.warp_pixels // 16):
            for half in range(2):
                s(f"p = p0 + {16 * i + 8 * half}")
                with s.block("if p < pixels:"):
                    for j in range(product.tile.warp_maps // 8):
                        sums = [f"c{i}_{j}_{2 * half + k}" for k in range(2)]
                        given = ["p * width", "group * maps", f"m0 + {8 * j}", "maps", *sums, *int8_ending.NAMES]
                        s(f"put({', '.join(given)})")
    return s.text()


def emit_join(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``int8_join``: adds up the parts of two neighbouring maps of a pixel, and ends as ``int8_tensor``.

    Parameters: ``JOIN``, ``ENDS``.
    """
    s = Lines()
    _emit_put(s, Ending.of_spec(spec), bool(spec.int("pairs")))
    with each_thread(s, spec, [*JOIN, *ENDS]):
        emit_totals(s, "u1")
        given = ["p * width", "group * maps", "m", "maps", "v0", "v1", *int8_ending.NAMES]
        s(f"put({', '.join(given)})")
    return s.text()


def _emit_put(s: Lines, ending: Ending, pairs: bool) -> None:
    """``put``: the results of two neighbouring maps of a pixel, of which ``m``, the first one, may not exist."""
    with s.block(f"def put(o, first, m, maps, v0, v1, {', '.join(int8_ending.NAMES)}):"), s.block("if m < maps:"):
        s("c0, c1 = first + m, first + min(m + 1, maps - 1)")
        ending.emit(s, "v0", "c0", "o + c0", "r0")
        if pairs:
            ending.emit(s, "v1", "c1", "o + c1", "r1")
            ending.store(s, ["r0", "r1"], "o + c0")
            return
        ending.store(s, ["r0"], "o + c0")
        with s.block("if m + 1 < maps:"):
            ending.emit(s, "v1", "c1", "o + c1", "r1")
            ending.store(s, ["r1"], "o + c1")


def emit_fill(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``int8_fill``: a thread copies a piece; parameters: ``FILL``. channels: of a group."""
    s = Lines()
    with each_thread(s, spec, FILL):
        s("piece, q = rest(i, pieces), quot(i, pieces)")
        s(f"first, left = q * channels + piece * {PIECE}, channels - piece * {PIECE}")
        for k in range(0, PIECE, 4):
            s(f"w{k // 4} = 0")
            for j in range(k, k + 4):
                s("v = zero")
                with s.block(f"if left > {j}:"):
                    s(f"v = i64(ld_u1(x, first + {j}))")
                s(f"w{k // 4} = w{k // 4} | v << {8 * (j - k)}")
        s(f"st4_i4(y, i * 4, {', '.join(f'i32(w{k})' for k in range(4))})")
    return s.text()


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for, None for what is not computed here."""
    p = Int8Product.of(call)
    if p is None or (p.group > 1 and p.depth < FEW):
        return None
    ending = ending_of(call)
    op = "fc" if call.node.op == "g.int8_fc" else "conv"
    sizes = (p.pixels, p.maps // p.group, p.depth, p.group, p.kernel, p.stride)
    y = "f4" if ending.to_float else "u1"
    return Problem(op, "u1", y, *sizes, others=int(ending.residual), cuts=True)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    p, problem = Int8Product.of(call), problem_of(call)
    packed = constants(call, p) if p is not None and problem is not None else None
    if p is None or problem is None or packed is None:
        return None
    tiling = decide(problem, target)
    if tiling is None or not isinstance(tiling.tile, TensorTile):
        return None
    product = Product(tiling.tile, "u1", not p.is_flat)
    cut = {"pairs": int(problem.maps % 2 == 0), "parts": int(tiling.parts > 1)}
    static: dict[str, Static] = {**product.static(), **ending_of(call).static(), **cut}
    panels = pack(packed[0], p.group, product).view(np.uint8).reshape(-1)
    filling = np.full(PIECE, p.x_zero, np.uint8)
    spec = KernelSpec.make("int8_tensor", **static)
    return Choice("int8_tensor", spec, {1: np.concatenate([panels, filling]), **packed[1]}, 1.0)


def _is_filled(p: Int8Product) -> bool:
    """X is copied: a group's channels are no whole pieces."""
    return p.depth % PIECE > 0


def _filled_bytes(p: Int8Product) -> int:
    """Bytes of the copy of X, 0 where there is none: also for a single row, which may lie at any address."""
    nbytes = p.images * prod(p.image) * p.group * -(-p.depth // PIECE) * PIECE
    return -(-nbytes // ALIGNMENT) * ALIGNMENT if _is_filled(p) or p.pixels == 1 else 0


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    p, problem = Int8Product.of(call), problem_of(call)
    assert p is not None
    assert problem is not None
    assert choice.spec is not None
    nbytes = _filled_bytes(p) + workspace_of(choice.spec, problem, target)
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    p, problem, (x, weights) = Int8Product.of(call), problem_of(call), ins[:2]
    assert choice.spec is not None
    assert p is not None
    assert problem is not None
    assert x is not None
    assert weights is not None
    require_reach(x, outs[0])
    spec = fitting(choice.spec, outs)
    product, maps, taps = Product.of_spec(spec), p.maps // p.group, prod(p.kernel)
    steps, packed = product.packed(maps, taps, p.depth)
    pieces, label = product.pieces(p.depth), call.node.results[0].name
    pixel = p.group * pieces * PIECE
    row, (h, w) = pixel * p.image[1], p.image
    filled = _is_filled(p) or x.address.offset % PIECE > 0
    assert not filled or _filled_bytes(p), "there is room for a copy of a single row (fc.py)"
    params: list[Param] = [workspace if filled else x.address, row * h, PIECE, row, pixel, weights.address, p.pixels]
    params += [prod(p.output), p.output[1], h, w, pieces * PIECE, pieces, *p.kernel, maps, packed, steps]
    params += [*p.stride, *p.dilation, *p.heads]
    filling = weights.address.plus(p.group * steps * packed * ROW)
    end = [p.maps, *int8_ending.params(call, p, ins, outs[0])]
    said = (label, 2 * p.macs, x.type.nbytes + weights.type.nbytes + outs[0].type.nbytes)
    join = join_spec("int8_join", spec, ("residual", "to_float", "pairs"))
    where = (workspace.plus(_filled_bytes(p)), target)
    made = tensor_parts.product_steps(spec, join, [*params, filling], (end, end), problem, where, said)
    if not filled:
        return made
    total = p.images * h * w * p.group * pieces
    fill = (total, x.address, workspace, p.depth, pieces, p.x_zero)
    kernel = KernelSpec.make("int8_fill", threads=THREADS)
    return [(Task(kernel, fill, blocks_for(total), label, 0, x.type.nbytes + total * PIECE),), *made]


RULES = (Rule("int8_tensor", NATIVE, _choose, _needs, _bind),)
TEMPLATES = (Template("int8_tensor", emit), Template("int8_join", emit_join), Template("int8_fill", emit_fill))
