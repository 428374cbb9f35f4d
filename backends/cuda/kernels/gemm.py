"""Products of two matrices that a net computes, in batches: MatMul, BatchMatMul, and FC whose weights are computed, or
are halves of whose rows tensor cores could not load pieces. Sums are float32, by FFMA.

A tile of the result a block, as in ``conv.py``: rows are its maps, columns its pixels, because results of neighbouring
columns lie side by side. Long sums of few results are cut into pieces, which a second launch adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cuda.kernels.conv import tile_of
from graphc.backends.cuda.kernels.conv_tile import Tile
from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.gemm_operand import Operand
from graphc.backends.cuda.kernels.tile_sums import emit_sums
from graphc.backends.cuda.kernels.tilings import decide, parts_for
from graphc.backends.cuda.kernels.typed import code_of, itemsize, multiplied, several
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, is_floating
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.backends.products import OPERATORS, Product, product_of
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View

NAMES = (
    *("x", "x_batch", "x_line", "w", "w_batch", "w_line", "y", "rows", "inner", "columns", "first"),
    *("pieces", "each", "plane"),
)
"""x_batch, w_batch: elements from one product of the launch to the next; x_line, w_line: from a line of an operand, as
it lies in memory, to the next one. first: the launch's first product. pieces: of a sum; each: products of one. plane:
elements of the results of one."""
JOIN = ("total", "pieces", "work", "y", "columns")
"""work: the sums (pieces, total), float32."""
BARE = Epilogue("y=x0", (), ())

# ---- source ---------------------------------------------------------------------------------------------------------


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``gemm``; parameters: ``NAMES``, the bias, those of the epilogue.

    x_along, w_along: lines of the operand run along the sum. x_each, w_each: numbers of a line that a thread loads at
    once. x, w, extra, y: codes of operands, bias, result.
    """
    s, tile, epilogue = Lines(), tile_of(spec), Epilogue.of_spec(spec)
    x, w = operands = Operand.of_spec(spec, tile)
    ending = [*(["bias"] if spec.int("bias") else []), *epilogue.arguments()]
    _emit_put(s, spec, epilogue, ending)

    def fetch(k0: str) -> None:
        for operand in operands:
            operand.emit_fetch(s, k0)

    def keep(side: str) -> None:
        for operand in operands:
            operand.emit_keep(s, side)

    with s.block(f"def {spec.name}({', '.join([*NAMES, *ending])}):"):
        s(f"a, b = shared({2 * x.floats}), shared({2 * w.floats})")
        s("t, u = thread(), i64(block())")
        s(f"down, across = quot(rows + {tile.maps - 1}, {tile.maps}), quot(columns + {tile.pixels - 1}, {tile.pixels})")
        s("piece, u = rest(u, pieces), quot(u, pieces)")
        s(f"n0, u = rest(u, across) * {tile.pixels}, quot(u, across)")
        s(f"m0, batch = rest(u, down) * {tile.maps}, quot(u, down)")
        s("begin = piece * each")
        s("end = min(begin + each, inner)")
        for operand in operands:
            operand.emit_place(s)
        emit_sums(s, tile, fetch, keep, ("begin", "end"), (x.pitch, w.pitch))
        _emit_results(s, tile, ending)
    return s.text()


def _emit_results(s: Lines, tile: Tile, ending: Sequence[str]) -> None:
    """The results of a thread, four neighbouring columns of a row at once."""
    across = tile.pixels // tile.own_pixels
    s("o = piece * plane + (first + batch) * rows * columns")
    for g in range(tile.own_pixels // 4):
        s(f"n = n0 + rest(t, {across}) * 4 + {g * 4 * across}")
        for i in range(tile.own_maps):
            s(f"m = m0 + quot(t, {across}) * 4 + {i // 4 * 4 * tile.maps // tile.own_maps + i % 4}")
            with s.block("if (m < rows) & (n < columns):"):
                values = [f"c{i}_{4 * g + j}" for j in range(4)]
                s(f"put({', '.join(['y', 'o + m * columns + n', 'n', 'columns - n', *values, *ending])})")


def _emit_put(s: Lines, spec: KernelSpec, epilogue: Epilogue, ending: Sequence[str]) -> None:
    """``put``: the results of four columns, of which ``count`` exist, stored at once where possible."""
    bias = f"ld_{spec['extra']}(bias, column + {{}})" if spec.int("bias") else ""
    code = str(spec["y"])
    size = itemsize(code)

    def finished(j: int) -> str:
        s(f"r{j} = v{j}" + (f" + {bias.format(j)}" if bias else ""))
        return epilogue.apply(s, f"r{j}", f"column + {j}", [f"place + {j}"] * len(epilogue.same), f"z{j}_")

    with s.block(f"def put({', '.join(['y', 'place', 'column', 'count', 'v0', 'v1', 'v2', 'v3', *ending])}):"):
        with s.block(f"if (count >= 4) & ((y + {size} * place) & {4 * size - 1} == 0):"):
            s(f"st{several(code, 4)}(y, place, {', '.join([finished(j) for j in range(4)])})")
        with s.block("else:"):
            for j in range(4):
                with s.block(f"if count > {j}:"):
                    s(f"st_{code}(y, place + {j}, {finished(j)})")


def emit_join(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``gemm_join``; parameters: ``JOIN``, the bias, those of the epilogue. A thread a result."""
    s, epilogue = Lines(), Epilogue.of_spec(spec)
    bias = ["bias"] if spec.int("bias") else []
    with each_thread(s, spec, [*JOIN, *bias, *epilogue.arguments()]):
        s("v, column = f4(0.0), rest(i, columns)")
        with counting(s, "k", "0", "pieces"):
            s("v = v + ld_f4(work, k * total + i)")
        if bias:
            s(f"v = v + ld_{spec['extra']}(bias, column)")
        s(f"st_{spec['y']}(y, i, {epilogue.apply(s, 'v', 'column', ['i'] * len(epilogue.same))})")
    return s.text()


# ---- rule -----------------------------------------------------------------------------------------------------------


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for, None for what is not computed here; pixels are columns, maps rows, groups the batch.

    Sums are cut where everything is float32: answers in halves are the same bits whatever the tiling.
    """
    epilogue = Epilogue.of_call(call)
    if not is_floating(call) or ("channel" in epilogue.kinds and call.node.results[0].type.rank != 2):
        return None
    y, cuts = code_of(call.node.results[0].type), is_float32(call) and multiplied(call) == "f4"
    return _problem(product_of(call), y, len(epilogue.same), cuts)


def _problem(g: Product, y: str = "f4", others: int = 0, cuts: bool = False) -> Problem:
    op = "gemm_" + "".join("n" if along == wanted else "t" for along, wanted in zip(_along(g), (1, 0)))
    return Problem(op, "f4", y, g.columns, g.rows, g.inner, len(g.batches), others=others, cuts=cuts)


def _along(g: Product) -> tuple[int, int]:
    """Whether the operands' lines run along the sum."""
    return int(g.a_step == 1), int(g.b_row == 1)


def choose(call: Call, target: CudaTarget) -> Choice | None:
    """A kernel for the tile that serves the sizes at hand; it is right for all of them."""
    problem = problem_of(call)
    tiling = decide(problem, target) if problem is not None else None
    if problem is None or tiling is None or not isinstance(tiling.tile, Tile):
        return None
    bias = call.node.op.startswith("FC") and call.has(2)
    types = {"x": call.type(0), "w": call.type(1), "y": call.node.results[0].type}
    types |= {"extra": call.type(2)} if bias else {}
    codes = {name: code_of(type) for name, type in types.items()}
    spec = _make_spec(tiling.tile, product_of(call), codes, Epilogue.of_call(call))
    spec = spec.but(parts=1) if tiling.parts > 1 else spec
    return Choice("gemm", spec, cost=2.0)  # FC on weights has a rule of its own, which comes before this one


def _make_spec(tile: Tile, g: Product, codes: dict[str, str], epilogue: Epilogue) -> KernelSpec:
    """The kernel of a product of elements of these codes; extra: of the bias, where there is one."""
    how: dict[str, Static] = dict(zip(("x_along", "w_along"), _along(g)))
    how |= {f"{o}_each": 1 if _line(g, o, how[f"{o}_along"]) % 4 else 4 for o in ("x", "w")}
    static: dict[str, Static] = {**tile.static(), **how, **codes, "bias": int("extra" in codes)}
    return KernelSpec.make("gemm", threads=tile.threads, **static, **epilogue.static())


def _line(g: Product, operand: str, along: Static) -> int:
    """Numbers of an operand that lie side by side."""
    return g.inner if along else {"x": g.rows, "w": g.columns}[operand]


def _fitting(spec: KernelSpec, g: Product, views: tuple[View, View, View]) -> KernelSpec:
    """The kernel for operands as they lie: of other sizes than those compiled for, or pieces of longer rows."""
    strides = {"x": (g.a_row, g.a_step), "w": (g.b_column, g.b_row)}
    for operand, view in zip("xw", views):
        along = spec.int(f"{operand}_along")
        if strides[operand][along] != 1:
            along = 1 - along
        several_bytes = 4 * itemsize(code_of(view.type))
        single = _line(g, operand, along) % 4 or view.address.offset % several_bytes
        each = 1 if single else spec.int(f"{operand}_each")
        spec = spec.but(**{f"{operand}_along": along, f"{operand}_each": each})
    return spec


def _results(g: Product) -> int:
    return len(g.batches) * g.rows * g.columns


def _cut(call: Call, spec: KernelSpec, target: CudaTarget) -> Cut:
    """The pieces of a choice's sums for the sizes at hand, whole turns of the tile's loop."""
    g, problem, tile = product_of(call), problem_of(call), tile_of(spec)
    assert problem is not None
    each = -(-max(g.inner, 1) // (parts_for(tile, problem, target) * tile.depth)) * tile.depth
    return Cut(-(-max(g.inner, 1) // each), each, _results(g))


@dataclass(frozen=True)
class Cut:
    """Pieces of sums; each: products of one. plane: elements of the results of one."""

    pieces: int
    each: int
    plane: int


def needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    """Dense operands and a dense result; room for the pieces of sums."""
    spec, nbytes = choice.spec, 0
    if spec is not None and spec.template == "gemm" and spec.get("parts", 0):
        cut = _cut(call, spec, target)
        nbytes = 4 * cut.pieces * cut.plane
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=nbytes)


def bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    """A launch, or one for each product where their operands lie at no constant distances; and one that adds up."""
    g, (x, w), y, spec = product_of(call), ins[:2], outs[0], choice.spec
    assert spec is not None
    assert x is not None
    assert w is not None
    extra: list[Param] = [v.address for v in ins[2:3] if v is not None and spec.int("bias")]
    extra += Epilogue.of_spec(spec).params(call, ins)
    label = call.node.results[0].name
    if not spec.get("parts", 0):
        return [_launches(_fitting(spec, g, (x, w, y)), g, (x, w, y), extra, label, Cut(1, g.inner, 0))]
    cut, sums = _cut(call, spec, target), View(workspace, y.type, y.strides)
    bare = _make_spec(tile_of(spec), g, dict.fromkeys("xwy", "f4"), BARE)
    step = _launches(_fitting(bare, g, (x, w, y)), g, (x, w, sums), (), label, cut)
    kept = {name: value for name, value in spec.params if name in ("bias", "extra", "y", "epilogue", "kinds")}
    join, total = KernelSpec.make("gemm_join", threads=THREADS, **kept), _results(g)
    params: tuple[Param, ...] = (total, cut.pieces, workspace, y.address, g.columns, *extra)
    return [step, (Task(join, params, blocks_for(total), label, total, 4 * total * (cut.pieces + 1)),)]


def _launches(
    spec: KernelSpec, g: Product, views: tuple[View, View, View], extra: Sequence[Param], label: str, cut: Cut
) -> Step:
    """The step of all products."""
    return tuple(_task(spec, g, group, i, views, extra, label, cut) for i, group in enumerate(g.groups))


def _task(
    spec: KernelSpec,
    g: Product,
    batch: tuple[tuple[int, int], ...],
    number: int,
    views: tuple[View, View, View],
    extra: Sequence[Param],
    label: str,
    cut: Cut,
) -> Task:
    """The launch of some products that lie at constant distances; number: of the first one."""
    tile, elements = tile_of(spec), (g.rows * g.inner, g.inner * g.columns, g.rows * g.columns)
    for size in elements:
        blocks_for(size)
    places: list[Param] = []
    sides = zip("xw", views, batch[0], g.regular or (0, 0), ((g.a_step, g.a_row), (g.b_row, g.b_column)))
    for operand, view, at, step, lines in sides:
        line = lines[spec.int(f"{operand}_along")]
        places += [view.address.plus(itemsize(code_of(view.type)) * at), step, line]
    params = (*places, views[2].address, g.rows, g.inner, g.columns, number, cut.pieces, cut.each, cut.plane, *extra)
    units = blocks_for(-(-g.rows // tile.maps) * -(-g.columns // tile.pixels) * len(batch) * cut.pieces, 1)
    traffic = len(batch) * sum(n * itemsize(code_of(v.type)) for n, v in zip(elements, views))
    return Task(spec, params, units, label, 2 * len(batch) * elements[2] * g.inner, traffic)


def bare_spec(g: Product, target: CudaTarget) -> KernelSpec:
    """The kernel of a product of float32 without bias and epilogue."""
    tiling = decide(_problem(g), target)
    assert tiling is not None
    assert isinstance(tiling.tile, Tile)
    return _make_spec(tiling.tile, g, dict.fromkeys("xwy", "f4"), BARE)


def bare_step(g: Product, views: tuple[View, View, View], label: str, target: CudaTarget) -> Step:
    """The launches of one such product. views: of both operands and the result, dense."""
    return _launches(_fitting(bare_spec(g, target), g, views), g, views, (), label, Cut(1, g.inner, 0))


RULES = (Rule("gemm", OPERATORS, choose, needs, bind, half=True),)
TEMPLATES = (Template("gemm", emit), Template("gemm_join", emit_join))
