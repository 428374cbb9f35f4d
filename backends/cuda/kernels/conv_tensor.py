"""Convolution and FC of halves or TF32 on tensor cores, with sums in float32 (``tensor_product.py``).

Images are blocked: the eight channels of a pixel that a block has are one piece of 16 bytes, of float32 two. A result's
two neighbouring maps go to memory at once. FC is the same on a matrix, whose rows are pixels of one image each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels import tensor_parts
from graphc.backends.cuda.kernels.conv import two
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import Geometry, image_strides
from graphc.backends.cuda.kernels.tensor_parts import JOIN, emit_totals, join_spec, workspace_of
from graphc.backends.cuda.kernels.tensor_product import NAMES, Product, emit_sums, pack
from graphc.backends.cuda.kernels.tensor_tile import TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.kernels.typed import code_of, itemsize, multiplied, stored
from graphc.backends.cuda.rules import Rule, Template, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window, window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, View

OUT = ("y", "yn", "yc", "yp")
"""Strides of image, block of maps, pixel of the result, in elements."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_tensor``; parameters: those of products, ``OUT``, the bias if there is one, the epilogue's.

    pairs: two maps lie at a multiple of their size, and there is room for both.
    """
    s, product, epilogue = Lines(), Product.of_spec(spec), Epilogue.of_spec(spec)
    emit_put(s, spec, epilogue)
    with s.block(f"def {spec.name}({', '.join([*NAMES, *OUT, *_end(spec, epilogue)])}):"):
        emit_sums(s, product)
        tile = product.tile
        for i in range(tile.warp_pixels // 16):
            for half in range(2):
                s(f"p = p0 + {16 * i + 8 * half}")
                with s.block("if p < pixels:"):
                    _emit_pixel(s, epilogue)
                    for j in range(tile.warp_maps // 8):
                        values = [f"c{i}_{j}_{2 * half + k}" for k in range(2)]
                        emit_call(s, spec, epilogue, f"m0 + {8 * j}", values)
    return s.text()


def _end(spec: KernelSpec, epilogue: Epilogue) -> list[str]:
    """The last parameters."""
    return [*(["bias"] if spec.int("bias") else []), *epilogue.arguments()]


def _emit_pixel(s: Lines, epilogue: Epilogue) -> None:
    """Where results and operands of pixel ``p`` lie."""
    s("n, p = quot(p, image), rest(p, image)")
    s("o = n * yn + p * yp")
    for k in epilogue.same:
        s(f"o{k} = n * e{k}n + p * e{k}p")


def emit_call(s: Lines, spec: KernelSpec, epilogue: Epilogue, m: str, values: Sequence[str]) -> None:
    """Call ``put`` for the sums of map ``m`` and the one behind it."""
    places, bias = ["o", *(f"o{k}" for k in epilogue.same)], ["bias"] if spec.int("bias") else []
    extra = ["maps", *bias, *(f"e{k}" for k in epilogue.numbers), *(f"e{k}c" for k in epilogue.same)]
    s(f"put({', '.join(['y', 'yc', 'group', m, *places, *values, *extra])})")


def emit_join(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``tensor_join``: adds up the parts of two neighbouring maps of a pixel, and ends as ``conv_tensor``.

    Parameters: ``JOIN``, ``image``, ``OUT``, the bias if there is one, the epilogue's.
    """
    s, epilogue = Lines(), Epilogue.of_spec(spec)
    emit_put(s, spec, epilogue)
    with each_thread(s, spec, [*JOIN, "image", *OUT, *_end(spec, epilogue)]):
        emit_totals(s, "f2")
        _emit_pixel(s, epilogue)
        emit_call(s, spec, epilogue, "m", ("v0", "v1"))
    return s.text()


def emit_put(s: Lines, spec: KernelSpec, epilogue: Epilogue) -> None:
    """``put``: the results of two neighbouring maps of a pixel, of which ``m``, the first one, may not exist."""
    bias, code, pairs = spec.int("bias"), str(spec["y"]), spec.int("pairs")
    same = [f"o{k}" for k in epilogue.same]
    operands = [*(f"e{k}" for k in epilogue.numbers), *(f"e{k}c" for k in epilogue.same)]
    names = ["y", "yc", "group", "m", "o", *same, "v0", "v1", "maps", *(["bias"] if bias else []), *operands]
    with s.block(f"def put({', '.join(names)}):"), s.block("if m < maps:"):
        s("c0 = group * maps + m")
        s("c1 = group * maps + min(m + 1, maps - 1)")
        s("wide, within = c0 >> 3, c0 & 7")
        if bias:
            s("v0 = v0 + ld_f4(bias, c0)")
            s("v1 = v1 + ld_f4(bias, c1)")
        values = [["v0"], ["v1"]]
        for k, kind, each in zip(epilogue.numbers, epilogue.kinds, epilogue.codes):
            place = f"o{k} + wide * e{k}c + within"
            if kind == "same" and pairs:
                s(f"x{k} = ld2_{each}(e{k}, {place})")
            for i in range(2):
                loaded = {
                    "same": f"x{k}[{i}]" if pairs else f"ld_{each}(e{k}, {place} + c{i} - c0)",
                    "channel": f"ld_{each}(e{k}, c{i})",
                    "scalar": f"ld_{each}(e{k}, 0)",
                }[kind]
                s(f"x{k}_{i} = {loaded}")
                values[i].append(f"x{k}_{i}")
        results = [epilogue.compute(s, values[i], f"z{i}_") for i in range(2)]
        s("at = o + wide * yc + within")
        if pairs:
            s(f"st2_{code}(y, at, {', '.join(results)})")
            return
        s(f"st_{code}(y, at, {results[0]})")
        with s.block("if m + 1 < maps:"):
            s(f"st_{code}(y, at + 1, {results[1]})")


def make_choice(call: Call, rule: str, problem: Problem, window: bool, target: CudaTarget) -> Choice | None:
    """The choice for a product whose weights, operand 1, are not packed yet; None where other kernels are to do it.

    Where sums are cut for the sizes at hand, they are for all sizes, be it into one part: a plan has all its kernels.
    """
    tiling = decide(problem, target)
    if tiling is None or not isinstance(tiling.tile, TensorTile):
        return None
    y = call.node.results[0].type
    pairs = int(y.layout.block > 1 or problem.maps % 2 == 0)
    cut = int(tiling.parts > 1)
    static: dict[str, Static] = {"y": problem.y, "pairs": pairs, "bias": int(call.has(2)), "parts": cut}
    product = Product(tiling.tile, problem.kind, window)
    spec = KernelSpec.make("conv_tensor", **product.static(), **static, **Epilogue.of_call(call).static())
    return Choice(rule, spec, {}, 0.0)


def packed_weights(weights: np.ndarray, groups: int, choice: Choice) -> np.ndarray:
    """float32 weights (M, taps, C / groups) as the kernel of a choice reads them, rounded to what it multiplies."""
    assert choice.spec is not None
    product = Product.of_spec(choice.spec)
    return pack(stored(weights, product.kind), groups, product)


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for, None for what is not computed here."""
    c = ConvCall.read(call, (4,), window)
    if c is None or not c.constant or not is_floating(call) or not _on_tensor_cores(call, c):
        return None
    w, y = c.window, call.node.results[0].type
    sizes = (c.result[0] * c.result[2] * c.result[3], c.result[1] // w.group, c.shape[1] // w.group, w.group)
    moves, others = (two(w.kernel), two(w.stride)), len(Epilogue.of_call(call).same)
    kind, blocks = multiplied(call), (c.block_in, c.block_out)
    return Problem("conv", kind, code_of(y), *sizes, *moves, blocks, others, cuts=True)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    problem, w = problem_of(call), window(call)
    choice = make_choice(call, "conv_tensor", problem, not _is_flat(w), target) if problem is not None else None
    weights = elements(call, 1)
    if choice is not None and weights is not None:
        ordered = weights.reshape(*weights.shape[:2], -1).transpose(0, 2, 1)
        choice.packed[1] = packed_weights(ordered, w.group, choice)
    return choice


def _on_tensor_cores(call: Call, c: ConvCall) -> bool:
    """Values and weights are halves of one kind, or multiplied as TF32, and groups whole blocks."""
    x, weights, maps = call.type(0), call.type(1), c.result[1]
    whole = c.window.group == 1 or (c.shape[1] // c.window.group % BLOCK == maps // c.window.group % BLOCK == 0)
    served = x.dtype is weights.dtype and multiplied(call) != "f4"
    return served and whole and c.block_in == c.block_out == BLOCK


def _is_flat(w: Window) -> bool:
    """Windows are single pixels, all of them inside the image."""
    return {*w.kernel} == {1} and not any((*w.heads, *w.tails))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    problem = problem_of(call)
    assert choice.spec is not None
    assert problem is not None
    nbytes = workspace_of(choice.spec, problem, target)
    return Needs(dense=Epilogue.of_call(call).dense_operands(call), workspace=nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, y, w, problem = ins[0], outs[0], window(call), problem_of(call)
    assert x is not None
    assert problem is not None
    shape, result = x.type.static_shape, y.type.static_shape
    sizes = (result[0] * result[2] * result[3], result[2] * result[3], result[3], *shape[2:])
    moves = (*w.kernel, *w.stride, *w.dilation, *w.heads)
    geometry = Geometry(image_strides(x), image_strides(y), sizes, moves)
    return product_steps(call, choice, ins, outs, problem, (workspace, target), geometry)


def product_steps(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    problem: Problem,
    where: tuple[Address, CudaTarget],
    g: Geometry,
) -> list[Step]:
    """The steps of a call on packed weights, operand 1, and a bias, operand 2, if there is one.

    where: the workspace, and the target. g: planes are blocks of channels; sizes: from ``pixels`` to ``w`` in
    ``NAMES``; moves: kernel, stride, dilation, heads.
    """
    (x, weights), y = ins[:2], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    require_reach(x, y)
    spec = fitting(choice.spec, [y, *(v for v in ins[call.n_inputs :] if v is not None)])
    product, (_, steps, packed, _) = Product.of_spec(spec), weights.type.static_shape
    element, (kh, kw, *rest), channels = itemsize(product.kind), g.moves, problem.channels
    params: list[Param] = [x.address, *(element * v for v in g.x), weights.address, *g.sizes]
    params += [channels, product.pieces(channels), kh, kw, problem.maps, packed, steps, *rest]
    end: list[Param] = [y.address, g.y[0], g.y[1], g.y[3]]
    end += [v.address for v in ins[2:3] if v is not None and spec.int("bias")]
    end += Epilogue.of_spec(spec).params(call, ins, BLOCK)
    said = (call.node.results[0].name, 2 * problem.products, x.type.nbytes + y.type.nbytes + weights.type.nbytes)
    join = join_spec("tensor_join", spec, ("y", "pairs", "bias", "epilogue", "kinds"))
    ends = (end, [g.sizes[1], *end])
    return tensor_parts.product_steps(spec, join, params, ends, problem, where, said)


def fitting(spec: KernelSpec, views: Sequence[View]) -> KernelSpec:
    """The kernel, or one that stores results one by one where some of the views are at no multiple of two elements."""
    if all(v.address.offset % (2 * v.type.dtype.itemsize if v.type.dtype else 8) == 0 for v in views):
        return spec
    return single(spec)


def single(spec: KernelSpec) -> KernelSpec:
    """The kernel that stores results one by one."""
    return KernelSpec(spec.template, tuple((name, 0 if name == "pairs" else value) for name, value in spec.params))


OPS = ("Conv", "Conv2D")
RULES = (Rule("conv_tensor", OPS, _choose, _needs, _bind, half=True),)
TEMPLATES = (Template("conv_tensor", emit), Template("tensor_join", emit_join))
