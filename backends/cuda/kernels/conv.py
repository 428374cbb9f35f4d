"""Convolution in float32 as a matrix product of packed weights and pixels gathered on the way (implicit GEMM).

Products are C[map, pixel] = W[map, k] * X[k, pixel], k running over channel, row and column of the window, pixels over
all images of the batch. Tiles of both go through shared memory, two of each: while one is multiplied, the next is
fetched into registers. FC is the same with a window of one pixel. Results may be halves, and in nets of half precision
what is read and written is blocked (``typed.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels import tile_sums
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import Geometry, image_strides
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.kernels.typed import code_of, is_readable, place_of_channel, several
from graphc.backends.cuda.rules import Rule, Template, blocks_for, is_float32, is_floating, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View
from graphc.ir.types import DType

NAMES = (
    *("x", "xn", "xc", "xr", "xp", "weights", "y", "yn", "yc", "yr", "yp"),
    *("pixels", "oh", "ow", "h", "w", "channels", "maps", "packed", "depth"),
    *("sh", "sw", "dh", "dw", "pt", "pl"),
)
"""packed: maps of a group with padding, as the rows of weights have them; depth: products of a result, padded too.
channels, maps: of a group."""


def tile_of(spec: KernelSpec) -> Tile:
    """The tile of a kernel."""
    maps, pixels, depth, own_maps, own_pixels = (
        spec.int(n) for n in ("maps", "pixels", "depth", "own_maps", "own_pixels")
    )
    return Tile(maps, pixels, depth, own_maps, own_pixels)


def make_spec(
    tile: Tile, kernel: Sequence[int], bias: bool, epilogue: Epilogue, blocks: tuple[int, int] = (1, 1), y: str = "f4"
) -> KernelSpec:
    """The kernel for a window of ``kernel`` rows and columns.

    blocks: channels of a block of input and result. y: code of the result, f4 where that is plain.
    """
    kh, kw = kernel
    static: dict[str, Static] = {**tile.static(), "kh": kh, "kw": kw, "bias": int(bias), "threads": tile.threads}
    other: dict[str, Static] = (
        {"x_block": blocks[0], "y_block": blocks[1], "y": y} if (blocks, y) != ((1, 1), "f4") else {}
    )
    return KernelSpec.make("conv", **static, **other, **epilogue.static())


def _blocks(spec: KernelSpec) -> tuple[int, int]:
    """Channels of a block of input and result."""
    return int(spec.get("x_block", 1)), int(spec.get("y_block", 1))


def pack(weights: np.ndarray, groups: int, tile: Tile) -> np.ndarray:
    """Weights (M, C / groups, kh, kw) as (groups, products, maps), both filled up with zeros to whole tiles."""
    maps, products = weights.shape[0] // groups, int(np.prod(weights.shape[1:]))
    rows, columns = -(-products // tile.depth) * tile.depth, -(-maps // tile.maps) * tile.maps
    packed = np.zeros((groups, rows, columns), np.float32)
    packed[:, :products, :maps] = weights.reshape(groups, maps, products).transpose(0, 2, 1)
    return packed


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv``; parameters: ``NAMES``, the bias where there is one, those of the epilogue."""
    s, tile, epilogue = Lines(), tile_of(spec), Epilogue.of_spec(spec)
    bias = ["bias"] if spec.int("bias") else []
    plain = _blocks(spec)[1] == 1
    if plain:
        _emit_put(s, epilogue, bool(bias))
    else:
        _emit_put_block(s, epilogue, bool(bias), str(spec["y"]))
    with s.block(f"def {spec.name}({', '.join([*NAMES, *bias, *epilogue.arguments()])}):"):
        s("u = i64(block())")
        emit_sums(s, tile, spec)
        (_emit_results if plain else _emit_result_blocks)(s, tile, epilogue, bool(bias))
    return s.text()


def emit_sums(s: Lines, tile: Tile, spec: KernelSpec, begin: str = "0", end: str = "depth") -> None:
    """Code that computes the sums ``c<i>_<j>`` of the products from ``begin`` to ``end``, of block ``u``."""
    s(f"a, b = shared({2 * tile.depth * tile.maps}), shared({2 * tile.depth * tile.pixels})")
    s("t = thread()")
    _emit_place(s, tile, spec)
    # always true: or the compiler moves products behind the conditions of their stores
    condition = "" if _blocks(spec)[1] == 1 else "depth > 0"
    fetch, keep = partial(_emit_fetch, s, tile, spec), partial(_emit_keep, s, tile)
    tile_sums.emit_sums(s, tile, fetch, keep, (begin, end), tile_sums.plain(tile), condition)


def _emit_place(s: Lines, tile: Tile, spec: KernelSpec) -> None:
    """The block's tile, and the pixel whose elements this thread fetches."""
    s(f"rows, columns = quot(maps + {tile.maps - 1}, {tile.maps}), quot(pixels + {tile.pixels - 1}, {tile.pixels})")
    s(f"m0, u = rest(u, rows) * {tile.maps}, quot(u, rows)")
    s(f"p0, group = rest(u, columns) * {tile.pixels}, quot(u, columns)")
    s(f"pixel, part = t & {tile.pixels - 1}, quot(t, {tile.pixels})")
    _emit_pixel(s, "p0 + pixel")
    s("row, column = i32(oy * sh - pt), i32(ox * sw - pl)")
    s("inside = p0 + pixel < pixels")
    if spec.int("kh") * spec.int("kw") == 1:
        s("inside = inside & (row >= 0) & (row < h) & (column >= 0) & (column < w)")
    s("from_ = i32(n * xn + row * xr + column * xp)")
    s("wide = weights + 4 * (group * depth * packed + m0)")


def _emit_pixel(s: Lines, number: str) -> None:
    """Image, row and column of a pixel of the result."""
    s(f"q = {number}")
    s("ox, q = rest(q, ow), quot(q, ow)")
    s("oy, n = rest(q, oh), quot(q, oh)")


def _emit_fetch(s: Lines, tile: Tile, spec: KernelSpec, k0: str) -> None:
    """Load this thread's share of the tiles that begin at product ``k0`` into registers."""
    kh, kw, threads = spec.int("kh"), spec.int("kw"), tile.threads
    groups = tile.maps // 4
    for j in range(tile.depth * groups // threads):
        s(f"e = t + {j * threads}")
        s(f"w{j} = ld4(wide, i32(({k0} + quot(e, {groups})) * packed + (e & {groups - 1}) * 4))")
    for j in range(tile.depth * tile.pixels // threads):
        s(f"k = i32({k0} + part + {j * (threads // tile.pixels)})")
        within = "inside & (channel < i32(channels))"
        if kh * kw == 1:
            s("channel, place = k, from_")
        else:
            s(f"channel, q = i32(quot(k, {kh * kw})), rest(k, {kh * kw})")
            s(f"r, q = i32(quot(q, {kw}) * dh), i32(rest(q, {kw}) * dw)")
            s("place = from_ + r * xr + q * xp")
            s("r, q = i32(row + r), i32(column + q)")
            within += " & (r >= 0) & (r < i32(h)) & (q >= 0) & (q < i32(w))"
        s(f"x{j} = f4(0.0)")
        with s.block(f"if {within}:"):
            step = place_of_channel("group * channels + channel", "xc", _blocks(spec)[0])
            s(f"x{j} = ld_f4(x, i32(place + {step}))")


def _emit_keep(s: Lines, tile: Tile, side: str) -> None:
    """Store what was fetched into the tiles of a side."""
    threads = tile.threads
    for j in range(tile.depth * tile.maps // 4 // threads):
        parts = ", ".join(f"w{j}[{k}]" for k in range(4))
        s(f"sst4(a, {side} * {tile.depth * tile.maps} + (t + {j * threads}) * 4, {parts})")
    for j in range(tile.depth * tile.pixels // threads):
        s(f"sst(b, {side} * {tile.depth * tile.pixels} + t + {j * threads}, x{j})")


def _emit_results(s: Lines, tile: Tile, epilogue: Epilogue, bias: bool) -> None:
    across = tile.pixels // tile.own_pixels
    extra = [*(["bias"] if bias else []), *(f"e{k}" for k in epilogue.numbers)]
    for g in range(tile.own_pixels // 4):
        s(f"first = p0 + rest(t, {across}) * 4 + {g * 4 * across}")
        for j in range(4):
            _emit_pixel(s, f"first + {j}")
            s(f"o{j} = i32(n * yn + group * maps * yc + oy * yr + ox * yp)")
            for k in epilogue.same:
                s(f"o{j}_{k} = i32(n * e{k}n + group * maps * e{k}c + oy * e{k}r + ox * e{k}p)")
        for i in range(tile.own_maps):
            s(f"m = m0 + quot(t, {across}) * 4 + {i // 4 * 4 * tile.maps // tile.own_maps + i % 4}")
            with s.block("if m < maps:"):
                places = [f"o{j} + m * yc" for j in range(4)]
                others = [f"o{j}_{k} + m * e{k}c" for j in range(4) for k in epilogue.same]
                values = [f"c{i}_{4 * g + j}" for j in range(4)]
                given = ["y", "pixels - first", "group * maps + m", *places, *others, *values, *extra]
                s(f"put({', '.join(given)})")


def _emit_put(s: Lines, epilogue: Epilogue, bias: bool) -> None:
    """``put``: the results of four neighbouring pixels, of which ``count`` exist, stored at once where possible."""
    others = [f"o{j}_{k}" for j in range(4) for k in epilogue.same]
    extra = [*(["bias"] if bias else []), *(f"e{k}" for k in epilogue.numbers)]
    names = ["y", "count", "map", "o0", "o1", "o2", "o3", *others, "v0", "v1", "v2", "v3", *extra]
    with s.block(f"def put({', '.join(names)}):"):
        s("extra = " + ("ld_f4(bias, map)" if bias else "f4(0.0)"))
        with s.block("if (count >= 4) & (o3 - o0 == 3) & ((y + 4 * o0) & 15 == 0):"):
            results = [_finished(s, epilogue, j) for j in range(4)]
            s(f"st4(y, o0, {', '.join(results)})")
        with s.block("else:"):
            for j in range(4):
                with s.block(f"if count > {j}:"):
                    s(f"st_f4(y, o{j}, {_finished(s, epilogue, j)})")


def _emit_result_blocks(s: Lines, tile: Tile, epilogue: Epilogue, bias: bool) -> None:
    """``_emit_results`` where four neighbouring maps of a pixel lie together."""
    across = tile.pixels // tile.own_pixels
    extra = [*(["bias"] if bias else []), *(f"e{k}" for k in epilogue.numbers), *(f"e{k}c" for k in epilogue.same)]
    for j in range(tile.own_pixels):
        s(f"first = p0 + rest(t, {across}) * 4 + {j // 4 * 4 * across + j % 4}")
        with s.block("if first < pixels:"):
            s("n, p = i32(quot(first, oh * ow)), i32(rest(first, oh * ow))")
            s("o = i32(n * yn + p * yp)")
            for k in epilogue.same:
                s(f"o{k} = i32(n * e{k}n + p * e{k}p)")
            for g in range(tile.own_maps // 4):
                s(f"m = m0 + quot(t, {across}) * 4 + {g * 4 * tile.maps // tile.own_maps}")
                with s.block("if m < maps:"):
                    values = [f"c{4 * g + i}_{j}" for i in range(4)]
                    places = [f"o{k}" for k in epilogue.same]
                    given = ["y", "yc", "group * maps + m", "(group + 1) * maps - 1", "o", *places, *values, *extra]
                    s(f"put({', '.join(given)})")


def _emit_put_block(s: Lines, epilogue: Epilogue, bias: bool, code: str) -> None:
    """``put``: the results of four neighbouring maps of a pixel; those behind the ``last`` one may be anything."""
    extra = [*(["bias"] if bias else []), *(f"e{k}" for k in epilogue.numbers), *(f"e{k}c" for k in epilogue.same)]
    names = ["y", "yc", "map", "last", "o", *(f"o{k}" for k in epilogue.same), *(f"v{i}" for i in range(4)), *extra]
    with s.block(f"def put({', '.join(names)}):"):
        results = []
        for i in range(4):
            s(f"channel = min(map + {i}, last)")
            s(f"r{i} = v{i}" + (" + ld_f4(bias, channel)" if bias else ""))
            places = [f"o{k} + (map >> 3) * e{k}c + (map & 7) + {i}" for k in epilogue.same]
            results.append(epilogue.apply(s, f"r{i}", "channel", places, f"z{i}_"))
        s(f"st{several(code, 4)}(y, i32(o + (map >> 3) * yc + (map & 7)), {', '.join(results)})")


def _finished(s: Lines, epilogue: Epilogue, j: int) -> str:
    s(f"r{j} = v{j} + extra")
    return epilogue.apply(s, f"r{j}", "map", [f"o{j}_{k}" for k in epilogue.same], f"z{j}_")


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for, None for what is not computed here; ``conv_pieces.py`` has those in parts."""
    c = ConvCall.read(call, (3, 4), window)
    if c is None or not c.constant or not _is_served(call, c):
        return None
    w, result = c.window, c.result
    return Problem(
        "conv",
        "f4",
        code_of(call.node.results[0].type),
        result[0] * prod(result[2:]),
        result[1] // w.group,
        c.shape[1] // w.group,
        w.group,
        two(w.kernel),
        two(w.stride),
        (c.block_in, c.block_out),
        len(Epilogue.of_call(call).same),
        cuts=is_float32(call),
    )


def two(sizes: Sequence[int]) -> tuple[int, int]:
    """Sizes of one or two dimensions as those of two."""
    rows, columns = (1, *sizes)[-2:]
    return rows, columns


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    problem = problem_of(call)
    tiling = decide(problem, target) if problem is not None else None
    if problem is None or tiling is None or tiling.parts > 1 or not isinstance(tiling.tile, Tile):
        return None
    weights, epilogue = call.constant(1), Epilogue.of_call(call)
    spec = make_spec(tiling.tile, problem.kernel, call.has(2), epilogue, problem.blocks, problem.y)
    packed = {} if weights is None else {1: pack(weights, problem.groups, tiling.tile)}
    return Choice("conv", spec, packed, float(problem.pixels * problem.maps * problem.groups))


def _is_served(call: Call, c: ConvCall) -> bool:
    """Float32 values and weights, in layouts that a card has; groups of whole blocks."""
    x, weights, maps = call.type(0), call.type(1), c.result[1] // c.window.group
    whole = c.window.group == 1 or c.shape[1] // c.window.group % c.block_in == maps % c.block_out == 0
    y = call.node.results[0].type
    single = x.dtype is weights.dtype is DType.FLOAT and (y.dtype is DType.FLOAT or c.block_out > 1)
    return single and whole and is_floating(call) and all(map(is_readable, (x, y)))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=Epilogue.of_call(call).dense_operands(call))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, w = ins[0], outs[0], window(call)
    assert x is not None
    return [(product_task(call, choice, ins, outs, geometry(x, y, w)),)]


def geometry(x: View, y: View, w: Window) -> Geometry:
    """That of a convolution; sizes: from ``pixels`` to ``maps`` in ``NAMES``, moves: from ``sh`` on."""
    shape, result = x.type.static_shape, y.type.static_shape
    groups, pixels = w.group, result[0] * int(np.prod(result[2:]))
    sizes = (pixels, *(1, *result[2:])[-2:], *(1, *shape[2:])[-2:], shape[1] // groups, result[1] // groups)
    moves = (*(1, *w.stride)[-2:], *(1, *w.dilation)[-2:], *(0, *w.heads)[-2:])
    return Geometry(image_strides(x), image_strides(y), sizes, moves, groups)


def product_task(call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], g: Geometry) -> Task:
    """The task of a call on packed weights, operand 1, and a bias, operand 2, if there is one; g: as ``geometry``'s."""
    (x, weights), y = ins[:2], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    require_reach(x, y)
    tile, bias = tile_of(choice.spec), [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    depth, packed = weights.type.static_shape[1:]
    pixels, maps, products = g.sizes[0], g.sizes[-1], g.sizes[-2] * choice.spec.int("kh") * choice.spec.int("kw")
    places: tuple[Param, ...] = (x.address, *g.x, weights.address, y.address, *g.y)
    extra = Epilogue.of_spec(choice.spec).params(call, ins)
    units = blocks_for(-(-maps // tile.maps) * -(-pixels // tile.pixels) * g.groups, 1)
    flops = 2 * pixels * maps * g.groups * products
    traffic = x.type.nbytes + y.type.nbytes + weights.type.nbytes
    params: tuple[Param, ...] = (*places, *g.sizes, packed, depth, *g.moves, *bias, *extra)
    return Task(choice.spec, params, units, call.node.results[0].name, flops, traffic)


OPS = ("Conv", "Conv1D", "Conv2D")
RULES = (Rule("conv", OPS, _choose, _needs, _bind, half=True),)
TEMPLATES = (Template("conv", emit),)
