"""graphc's int8 products on tensor cores: uint8 NHWC, int8 weights, exact sums in int32 (``tensor_product.py``).

Sixteen channels of a pixel are a piece. Where those of a group are no multiple of sixteen, X is copied first, each
group's channels filled up to one. What is outside of the image is X's zero point, so that its share of the sums is that
of every pixel, which the bias has in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.cuda.kernels import int8_ending, tensor_product
from graphc.backends.cuda.kernels.int8_ending import Ending, constants, ending_of
from graphc.backends.cuda.kernels.tensor_product import PIECE, Product, emit_sums, pack
from graphc.backends.cuda.kernels.tensor_tile import ROW, Size, tile_for
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.int8_call import NATIVE, Int8Product
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

FEW = 8
"""Groups of fewer channels would fill tensor cores with zeros: ``int8_direct.py`` has them."""
NAMES = (*tensor_product.NAMES, "filling", "width", *int8_ending.NAMES)
"""filling: the address of 16 bytes of X's zero point. width: maps of all groups."""
FILL = ("total", "x", "y", "channels", "pieces", "zero")


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``int8_tensor``; parameters: ``NAMES``. pairs: maps of a group are even in number."""
    s, product, ending = Lines(), Product.of_spec(spec), Ending.of_spec(spec)
    _emit_put(s, ending, bool(spec.int("pairs")))
    with s.block(f"def {spec.name}({', '.join(NAMES)}):"):
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
    with s.block(f"def {spec.name}({', '.join(FILL)}):"):
        s(f"i = i64(block()) * {spec['threads']} + thread()")
        with s.block("if i < total:"):
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


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    p = Int8Product.of(call)
    if p is None or (p.group > 1 and p.depth < FEW):
        return None
    packed = constants(call, p)
    if packed is None:
        return None
    maps, taps = p.maps // p.group, prod(p.kernel)
    pieces = -(-p.depth // PIECE) * taps
    tile, _ = tile_for(Size(p.pixels, maps, -(-pieces // tensor_product.PIECES), p.group), target, 1)
    product = Product(tile, "u1", not p.is_flat)
    static = {**product.static(), **ending_of(call).static(), "pairs": int(maps % 2 == 0)}
    panels = pack(packed[0], p.group, product).view(np.uint8).reshape(-1)
    filling = np.full(PIECE, p.x_zero, np.uint8)
    spec = KernelSpec.make("int8_tensor", **static)
    return Choice("int8_tensor", spec, {1: np.concatenate([panels, filling]), **packed[1]}, 1.0)


def _is_filled(p: Int8Product) -> bool:
    """X is copied: a group's channels are no whole pieces."""
    return p.depth % PIECE > 0


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    p = Int8Product.of(call)
    assert p is not None
    nbytes = p.images * prod(p.image) * p.group * -(-p.depth // PIECE) * PIECE if _is_filled(p) else 0
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    p, (x, weights), spec = Int8Product.of(call), ins[:2], choice.spec
    assert spec is not None
    assert p is not None
    assert x is not None
    assert weights is not None
    require_reach(x, outs[0])
    product, maps, taps = Product.of_spec(spec), p.maps // p.group, prod(p.kernel)
    steps, packed = product.packed(maps, taps, p.depth)
    pieces, label = product.pieces(p.depth), call.node.results[0].name
    pixel = p.group * pieces * PIECE
    row, (h, w) = pixel * p.image[1], p.image
    filled = _is_filled(p)
    params: list[Param] = [workspace if filled else x.address, row * h, PIECE, row, pixel, weights.address, p.pixels]
    params += [prod(p.output), p.output[1], h, w, pieces * PIECE, pieces, *p.kernel, maps, packed, steps]
    params += [*p.stride, *p.dilation, *p.heads]
    filling = weights.address.plus(p.group * steps * packed * ROW)
    params += [filling, p.maps, *int8_ending.params(call, p, ins, outs[0])]
    tile = product.tile
    units = blocks_for(-(-maps // tile.maps) * -(-p.pixels // tile.pixels) * p.group, 1)
    traffic = x.type.nbytes + weights.type.nbytes + outs[0].type.nbytes
    task = Task(spec, tuple(params), units, label, 2 * p.macs, traffic)
    if not filled:
        return [(task,)]
    total = p.images * h * w * p.group * pieces
    fill = (total, x.address, workspace, p.depth, pieces, p.x_zero)
    made = KernelSpec.make("int8_fill", threads=THREADS)
    return [(Task(made, fill, blocks_for(total), label, 0, x.type.nbytes + total * PIECE),), (task,)]


RULES = (Rule("int8_tensor", NATIVE, _choose, _needs, _bind),)
TEMPLATES = (Template("int8_tensor", emit), Template("int8_fill", emit_fill))
