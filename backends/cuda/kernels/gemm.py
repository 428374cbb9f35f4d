"""Products of two matrices of any strides, in batches: MatMul, BatchMatMul, and FC whose weights are computed, or are
halves of whose rows tensor cores could not load pieces. Sums are float32.

A tile of the result a block, as in ``conv.py``, but one tile of each operand in shared memory: what is loaded next
waits for the products before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.conv import emit_products
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.typed import code_of, itemsize
from graphc.backends.cuda.rules import Rule, Template, blocks_for, is_floating
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.products import OPERATORS, Product, product_of
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View

TILE = Tile(64, 64, 16, 4, 4)
NAMES = (
    *("x", "w", "y", "rows", "inner", "columns", "x_row", "x_step", "w_step", "w_column"),
    *("x_batch", "w_batch", "first"),
)
"""Strides in elements; x_batch, w_batch: from one product of the launch to the next. first: its first product."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``gemm{x_along, w_along}``; parameters: ``NAMES``, the bias, those of the epilogue.

    x_along, w_along: whether neighbouring threads load along the sum. x, w, extra, y: codes of operands, bias, result.
    """
    s, tile, epilogue = Lines(), TILE, Epilogue.of_spec(spec)
    loads = {name: f"ld_{spec[name]}({name}, {{}})" for name in ("x", "w")}
    bias = ["bias"] if spec.int("bias") else []
    with s.block(f"def {spec.name}({', '.join([*NAMES, *bias, *epilogue.arguments()])}):"):
        s(f"a, b = shared({tile.depth * tile.maps}), shared({tile.depth * tile.pixels})")
        s("t, side = thread(), 0")
        s(f"down, across = quot(rows + {tile.maps - 1}, {tile.maps}), quot(columns + {tile.pixels - 1}, {tile.pixels})")
        s("u = i64(block())")
        s(f"n0, u = rest(u, across) * {tile.pixels}, quot(u, across)")
        s(f"m0, batch = rest(u, down) * {tile.maps}, quot(u, down)")
        s("x_from, w_from = batch * x_batch, batch * w_batch")
        s("batch = batch + first")
        for i in range(tile.own_maps):
            s("; ".join(f"c{i}_{j} = f4(0.0)" for j in range(tile.own_pixels)))
        with counting(s, "k0", "0", "inner", tile.depth):
            load = loads["x"].format("x_from + at * x_row + k * x_step")
            _fetch(s, "a", tile.maps, spec.int("x_along"), ("m0", "rows"), load)
            load = loads["w"].format("w_from + k * w_step + at * w_column")
            _fetch(s, "b", tile.pixels, spec.int("w_along"), ("n0", "columns"), load)
            s("barrier()")
            emit_products(s, tile)
            s("barrier()")
        _store(s, tile, epilogue, str(spec["extra"]) if bias else "", str(spec["y"]))
    return s.text()


def _fetch(s: Lines, to: str, width: int, along: int, bounds: tuple[str, str], load: str) -> None:
    """Load a tile of ``width`` rows or columns from ``bounds[0]`` on, zero where the matrix ends."""
    for j in range(TILE.depth * width // TILE.threads):
        s(f"e = t + {j * TILE.threads}")
        by = TILE.depth if along else width
        s(f"inside, other = e & {by - 1}, quot(e, {by})")
        s("row, lane = inside, other" if along else "row, lane = other, inside")
        s(f"k, at = k0 + row, {bounds[0]} + lane")
        s("v = f4(0.0)")
        with s.block(f"if (k < inner) & (at < {bounds[1]}):"):
            s(f"v = {load}")
        s(f"sst({to}, row * {width} + lane, v)")


def _store(s: Lines, tile: Tile, epilogue: Epilogue, bias: str, code: str) -> None:
    per_row = tile.pixels // tile.own_pixels
    s(f"n = n0 + rest(t, {per_row}) * 4")
    for i in range(tile.own_maps):
        s(f"m = m0 + quot(t, {per_row}) * 4 + {i}")
        for j in range(tile.own_pixels):
            with s.block(f"if (m < rows) & (n + {j} < columns):"):
                s(f"column = n + {j}")
                s(f"v = c{i}_{j}" + (f" + ld_{bias}(bias, column)" if bias else ""))
                s("place = (batch * rows + m) * columns + column")
                s(f"st_{code}(y, place, {epilogue.apply(s, 'v', 'column', ['place'] * len(epilogue.same))})")


def choose(call: Call, target: CudaTarget) -> Choice | None:
    """A kernel that serves all shapes and strides."""
    if not is_floating(call):
        return None
    g, epilogue = product_of(call), Epilogue.of_call(call)
    if "channel" in epilogue.kinds and call.node.results[0].type.rank != 2:
        return None
    bias = call.node.op.startswith("FC") and call.has(2)
    along = {"x_along": int(g.a_step == 1), "w_along": int(g.b_row == 1)}
    types = {"x": call.type(0), "w": call.type(1), "y": call.node.results[0].type}
    types |= {"extra": call.type(2)} if bias else {}
    codes = {name: code_of(type) for name, type in types.items()}
    spec = KernelSpec.make("gemm", bias=int(bias), threads=TILE.threads, **along, **codes, **epilogue.static())
    return Choice("gemm", spec, cost=2.0)  # FC on weights has a rule of its own, which comes before this one


def needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    """Dense operands and a dense result."""
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True)


def bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    """A launch, or one for each product where their operands lie at no constant distances."""
    g, (x, w), y = product_of(call), ins[:2], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert w is not None
    extra: list[Param] = [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    extra += Epilogue.of_spec(choice.spec).params(call, ins)
    label = call.node.results[0].name
    return [tuple(_task(choice.spec, g, group, i, (x, w, y), extra, label) for i, group in enumerate(g.groups))]


def _task(
    spec: KernelSpec,
    g: Product,
    batch: tuple[tuple[int, int], ...],
    number: int,
    views: tuple[View, View, View],
    extra: Sequence[Param],
    label: str,
) -> Task:
    """The launch of some products that lie at constant distances; number: of the first one."""
    steps = g.regular or (0, 0)
    (first, second), size = batch[0], g.rows * g.columns
    places = [v.address.plus(itemsize(code_of(v.type)) * at) for v, at in zip(views, (first, second, 0))]
    sizes = (g.rows, g.inner, g.columns, g.a_row, g.a_step, g.b_row, g.b_column)
    units = blocks_for(-(-g.rows // TILE.maps) * -(-g.columns // TILE.pixels) * len(batch), 1)
    elements = (g.rows * g.inner, g.inner * g.columns, size)
    traffic = len(batch) * sum(n * itemsize(code_of(v.type)) for n, v in zip(elements, views))
    return Task(spec, (*places, *sizes, *steps, number, *extra), units, label, 2 * len(batch) * size * g.inner, traffic)


def bare_spec(g: Product) -> KernelSpec:
    """The kernel of a product of float32 without bias and epilogue."""
    static: dict[str, Static] = {"x_along": int(g.a_step == 1), "w_along": int(g.b_row == 1)}
    static |= {"bias": 0, "threads": TILE.threads, "x": "f4", "w": "f4", "y": "f4"}
    return KernelSpec.make("gemm", **static, **Epilogue("y=x0", (), ()).static())


def bare_task(g: Product, views: tuple[View, View, View], label: str) -> Task:
    """The launch of one such product. views: of both operands and the result, dense."""
    return _task(bare_spec(g), g, g.batches, 0, views, (), label)


RULES = (Rule("gemm", OPERATORS, choose, needs, bind, half=True),)
TEMPLATES = (Template("gemm", emit),)
