"""Matrix products: FC, FCTransposed, MatMul, BatchMatMul.

B is packed into panels (K, blocks * lanes), at compile time where it is a weight, else by a first step. A unit is a
block of rows times a panel. Several rows share the panel's loads; a single row is split over K into independent sums,
so that it streams the panel at the speed of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.kernels.epilogue import Epilogue
from graphc.backends.cpu.kernels.half_types import FLOATS, Types, itemsize, stored
from graphc.backends.cpu.kernels.tiles import Tile, emit_cuts
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.products import OPERATORS, Product, matrix_of, product_of
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.precision import reads_float
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View

PARAMS = (
    *("a", "panels", "bias", "y"),
    *("rows", "inner", "columns"),
    *("a_batch", "a_row", "a_step", "panel_batch", "y_batch"),
    *("row_block", "row_blocks", "column_blocks", "channel_step", "channel_count"),
)
SINGLE = 4
"""Independent sums over K of a single row."""
PAIRLESS = ("if inner % 2 != 0:", "hsingle", "(inner // 2)")
"""The number without a neighbour at the end of a row of bfloat16: condition, word that loads it, its pair."""
NO_EPILOGUE = Epilogue("y=x0", ())


def emit_gemm(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``gemm{rows, tail, blocks, by_row, epilogue, kinds}``."""
    return _Gemm(spec, target).source()


class _Gemm:
    def __init__(self, spec: KernelSpec, target: CpuTarget) -> None:
        self.spec, self.lanes = spec, target.lanes
        self.tile = Tile(spec.int("rows"), spec.int("tail"), spec.int("blocks"))
        self.epilogue = Epilogue.of_spec(spec)
        self.by_row = bool(spec.int("by_row"))
        self.types = Types.of_spec(spec)
        self.s = Lines()

    def source(self) -> str:
        """The kernel."""
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        with s.block(f"def {self.spec.name}(p, lo, hi, tid):"):
            for i, name in enumerate(PARAMS):
                s(f"{name} = ld(p, {i})")
            self.epilogue.read(s, len(PARAMS))
            with s.block("for u in range(lo, hi):"):
                s("nb = u % column_blocks")
                s("t = u // column_blocks")
                s("row0 = (t % row_blocks) * row_block")
                s("batch = t // row_blocks")
                s("row1 = min(row0 + row_block, rows)")
                s(f"n0 = nb * {nb * lanes}")
                inner = "(inner + inner % 2)" if self.types.dot else "inner"
                s(f"panel0 = batch * panel_batch + nb * {inner} * {nb * lanes}")
                s("first = batch * a_batch")
                for o in range(nb):
                    s(f"b{o} = vzero()")
                    with s.block("if bias != 0:"):
                        s(f"b{o} = vloadm(bias, n0 + {o * lanes}, columns - n0 - {o * lanes})")
                    if not self.by_row:
                        self.epilogue.read_channels(s, f"_{o}", f"n0 + {o * lanes}", "columns")
                emit_cuts(s, self.tile, "row0", "row1", "m", self._tile)
        return s.text()

    def _tile(self, rows: int) -> None:
        if rows == 1:
            self._single()
        elif self.types.dot:
            self._many_pairs(rows)
        else:
            self._many(rows)
        self._store(rows)

    def _many(self, rows: int) -> None:
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        for i in range(rows):
            self._start_row(i)
            for o in range(nb):
                s(f"a{o}_{i} = b{o}")
        with s.block("for k in range(inner):"):
            s(f"wo = panel0 + k * {nb * lanes}")
            for o in range(nb):
                s(f"w{o} = vload{self.types.weights}(panels, wo + {o * lanes})")
            for i in range(rows):
                s(f"v = vbcast{self.types.x}(x{i}, k * a_step)")
                for o in range(nb):
                    s(f"a{o}_{i} = vfma(v, w{o}, a{o}_{i})")

    def _start_row(self, i: int) -> None:
        self.s(f"x{i} = a + {itemsize(self.types.x)} * (first + (m + {i}) * a_row)")

    def _many_pairs(self, rows: int) -> None:
        """Pairs of neighbours in the rows of A, both bfloat16."""
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        for i in range(rows):
            self._start_row(i)
            for o in range(nb):
                s(f"a{o}_{i} = b{o}")
        for head, load, k in (("for k in range(inner // 2):", "hpair", "k"), PAIRLESS):
            with s.block(head):
                for o in range(nb):
                    s(f"w{o} = hload(panels, panel0 + {k} * {2 * nb * lanes} + {2 * o * lanes})")
                for i in range(rows):
                    s(f"v = {load}(x{i}, 2 * ({k}))")
                    for o in range(nb):
                        s(f"a{o}_{i} = hdot(a{o}_{i}, v, w{o})")

    def _single_pairs(self) -> None:
        """A single row's pairs into ``SINGLE`` sums."""
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        s(f"whole = inner // 2 - inner // 2 % {SINGLE}")
        for head, load, k, count in (
            (f"for k in range(0, whole, {SINGLE}):", "hpair", "k", SINGLE),
            ("for k in range(whole, inner // 2):", "hpair", "k", 1),
            (*PAIRLESS, 1),
        ):
            with s.block(head):
                s(f"wo = panel0 + {k} * {2 * nb * lanes}")
                for j in range(count):
                    s(f"v = {load}(x0, 2 * ({k} + {j}))")
                    for o in range(nb):
                        s(f"s{o}_{j} = hdot(s{o}_{j}, v, hload(panels, wo + {2 * (j * nb + o) * lanes}))")

    def _single(self) -> None:
        s, nb = self.s, self.tile.blocks
        self._start_row(0)
        for o in range(nb):
            s(f"s{o}_0 = b{o}")
            for j in range(1, SINGLE):
                s(f"s{o}_{j} = vzero()")
        if self.types.dot:
            self._single_pairs()
        else:
            self._single_numbers()
        for o in range(nb):
            s(f"a{o}_0 = vadd(vadd(s{o}_0, s{o}_1), vadd(s{o}_2, s{o}_3))")

    def _single_numbers(self) -> None:
        """A single row's numbers into ``SINGLE`` sums."""
        s, nb, lanes, load = self.s, self.tile.blocks, self.lanes, f"vload{self.types.weights}"
        s(f"whole = inner - inner % {SINGLE}")
        with s.block(f"for k in range(0, whole, {SINGLE}):"):
            s(f"wo = panel0 + k * {nb * lanes}")
            for j in range(SINGLE):
                s(f"v = vbcast{self.types.x}(x0, (k + {j}) * a_step)")
                for o in range(nb):
                    s(f"s{o}_{j} = vfma(v, {load}(panels, wo + {(j * nb + o) * lanes}), s{o}_{j})")
        with s.block("for k in range(whole, inner):"):
            s(f"v = vbcast{self.types.x}(x0, k * a_step)")
            for o in range(nb):
                s(f"s{o}_0 = vfma(v, {load}(panels, panel0 + k * {nb * lanes} + {o * lanes}), s{o}_0)")

    def _store(self, rows: int) -> None:
        s, nb, lanes = self.s, self.tile.blocks, self.lanes
        for i in range(rows):
            s(f"yo = batch * y_batch + (m + {i}) * columns + n0")
            for e, kind in enumerate(self.epilogue.kinds, 1):
                if kind == "channel" and self.by_row:
                    s(f"v{e}_ = vbcast(e{e}, (m + {i}) // channel_step % channel_count)")
            for o in range(nb):
                with s.block(f"if columns - n0 > {o * lanes}:"):
                    s(f"left = columns - n0 - {o * lanes}")
                    halves, at = self.epilogue.half, f"yo + {o * lanes}"
                    same = [f"vloadm{halves(e)}(e{e}, {at}, left)" for e in self.epilogue.same]
                    result = self.epilogue.apply(s, f"a{o}_{i}", "_" if self.by_row else f"_{o}", same)
                    s(f"vstorem{self.types.y}(y, yo + {o * lanes}, left, {result})")


PACK_PARAMS = ("b", "panels", "inner", "columns", "b_batch", "b_row", "b_column", "panel_batch", "column_blocks")


def emit_pack(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``gemm_pack{blocks}``: B (inner, columns) with any strides into panels; a unit is one panel."""
    s, width = Lines(), spec.int("blocks") * target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PACK_PARAMS):
            s(f"{name} = ld(p, {i})")
        with s.block("for u in range(lo, hi):"):
            s("batch = u // column_blocks")
            s("nb = u - batch * column_blocks")
            s(f"n0 = nb * {width}")
            s(f"to = batch * panel_batch + nb * inner * {width}")
            s("start = batch * b_batch + n0 * b_column")
            with s.block("if b_column == 1:"), s.block("for k in range(inner):"):
                for o in range(0, width, target.lanes):
                    part = f"vloadm(b, start + k * b_row + {o}, columns - n0 - {o})"
                    s(f"vstore(panels, to + k * {width} + {o}, {part})")
            with s.block("else:"), s.block(f"for j in range({width}):"):
                with s.block("if n0 + j < columns:"), s.block("for k in range(inner):"):
                    s(f"sts(panels, to + k * {width} + j, lds(b, start + j * b_column + k * b_row))")
                with s.block("else:"), s.block("for k in range(inner):"):
                    s(f"sts(panels, to + k * {width} + j, f4(0.0))")
    return s.text()


TEMPLATES = (Template("gemm", emit_gemm), Template("gemm_pack", emit_pack))


def choose(call: Call, target: CpuTarget) -> Choice | None:
    """Any product of float matrices; in half precision, by a weight."""
    if not all(reads_float(call.node, i) and call.type(i).is_static for i in (0, 1)):
        return None
    types = Types.of_call(call)
    if types != FLOATS and not (call.is_weight(1) and call.node.op.startswith("FC")):
        return None
    if any(call.type(i).layout.block != 1 for i in range(call.n_inputs) if call.has(i)):
        return None
    g = product_of(call)
    spec = make_spec(call, g, target)
    b = elements(call, 1)
    packed = Epilogue.of_call(call).packed(call)
    if b is not None and len(g.batches) == 1:
        panels = pack_panels(matrix_of(b, g), spec.int("blocks") * target.lanes, 2 if types.dot else 1)
        packed[1] = stored(panels, types.weights) if types.weights else panels
    work = 2 * g.rows * g.inner * g.columns * len(g.batches)
    cost = max(
        costs.compute_ns(target, work), costs.stream_ns(itemsize(types.weights) * g.inner * g.columns * len(g.batches))
    )
    return Choice("gemm", spec, packed, cost)


def make_spec(call: Call, g: Product, target: CpuTarget) -> KernelSpec:
    """The kernel for a product with its epilogue."""
    epilogue = Epilogue.of_call(call)
    by_row = "channel" in epilogue.kinds and len(call.node.results[0].type.static_shape) != 2
    return product_spec(g, target, epilogue, by_row, Types.of_call(call))


def product_spec(
    g: Product, target: CpuTarget, epilogue: Epilogue = NO_EPILOGUE, by_row: bool = False, types: Types = FLOATS
) -> KernelSpec:
    """The kernel for a product: blocks that waste few columns. by_row: the epilogue's channels are those of rows."""
    spare = 1 if target.fma else 2
    blocks = -(-g.columns // target.lanes)
    options = (4, 3, 2, 1) if target.registers > 16 else (2, 3, 1)
    nb = min(options, key=lambda o: -(-blocks // o) * o * (1.0 if o > 1 else 1.05))
    rows = min(8, (target.registers - nb - spare) // nb)
    return KernelSpec.make(
        "gemm",
        rows=rows,
        tail=max(2, rows // 2),
        blocks=nb,
        by_row=int(by_row),
        **types.static(),
        **epilogue.static(),
    )


def pack_panels(matrix: np.ndarray, width: int, together: int = 1) -> np.ndarray:
    """(inner, columns) as (panels, inner / together, width, together), zero where rows and columns are missing; without
    the last dimension where it is 1."""
    inner, columns = matrix.shape
    panels = -(-columns // width)
    out = np.zeros((panels, -(-inner // together) * together, width), np.float32)
    for i in range(panels):
        part = matrix[:, i * width : (i + 1) * width]
        out[i, :inner, : part.shape[1]] = part
    if together == 1:
        return out
    return np.ascontiguousarray(out.reshape(panels, -1, together, width).swapaxes(2, 3))


def needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    """Dense operands and results; memory for the panels of a B that is no weight."""
    g, width = product_of(call), choice.spec.int("blocks") * target.lanes if choice.spec else 0
    panels = -(-g.columns // width) * width * g.inner * 4
    dense = frozenset(range(len(call.node.operands)))
    return Needs(dense=dense, dense_out=True, workspace=0 if 1 in choice.packed else panels * _pack_count(g))


def _pack_count(g: Product) -> int:
    return len({b for _, b in g.batches})


def bind(
    call: Call,
    choice: Choice,
    ins: Sequence[View | None],
    outs: Sequence[View],
    workspace: Address,
    target: CpuTarget,
) -> list[Step]:
    """The product, after packing B where it is no weight."""
    g, spec = product_of(call), choice.spec
    a, b = ins[0], ins[1]
    assert spec is not None
    assert a is not None
    assert b is not None
    width = spec.int("blocks") * target.lanes
    blocks = -(-g.columns // width)
    panel = blocks * width * g.inner
    steps: list[Step] = []
    panels = b.address
    places = {offset: i * panel for i, offset in enumerate(dict.fromkeys(o for _, o in g.batches))}
    if 1 not in choice.packed:
        panels = workspace
        steps.append(tuple(_pack_tasks(spec, g, b.address, panels, places, blocks, panel)))
    has_bias = call.node.op.startswith("FC") and ins[2] is not None
    bias = ins[2].address if has_bias and ins[2] is not None else 0
    extra = _epilogue_params(call, ins)
    shape, label = call.node.results[0].type.static_shape, call.node.results[0].name
    channels = (math.prod(shape[2:-1]), shape[1] if len(shape) > 1 else 1)
    regular = g.regular
    tasks = []
    for i, batch in enumerate(g.groups):
        (first, where), size = batch[0], g.rows * g.columns
        place = (a.address.plus(4 * first), panels.plus(4 * places[where]), outs[0].address.plus(4 * i * size))
        step = (regular[0], panel if regular[1] else 0) if regular else (0, 0)
        tasks.append(_task(spec, g, place, bias, len(batch), step, channels, extra, target, label))
    return [*steps, tuple(tasks)]


def panel_bytes(g: Product, spec: KernelSpec, target: CpuTarget) -> int:
    """Bytes of the panels of one B."""
    width = spec.int("blocks") * target.lanes
    return 4 * -(-g.columns // width) * width * g.inner


def bare_tasks(
    spec: KernelSpec, g: Product, a: Address, b: Address, y: Address, panels: Address, target: CpuTarget, label: str
) -> tuple[Task, Task]:
    """A product without bias and epilogue, for other rules: the task that packs B, and the one that multiplies."""
    blocks = -(-g.columns // (spec.int("blocks") * target.lanes))
    (pack,) = _pack_tasks(spec, g, b, panels, {0: 0}, blocks, panel_bytes(g, spec, target) // 4)
    return pack, _task(spec, g, (a, panels, y), 0, 1, (0, 0), (1, 1), [], target, label)


def _pack_tasks(
    spec: KernelSpec, g: Product, b: Address, panels: Address, places: dict[int, int], blocks: int, panel: int
) -> list[Task]:
    kernel = KernelSpec.make("gemm_pack", blocks=spec.int("blocks"))
    offsets = list(places)
    step = offsets[1] - offsets[0] if len(offsets) > 1 else 0
    if all(o == offsets[0] + i * step for i, o in enumerate(offsets)):
        runs = [(offsets[0], len(offsets))]
    else:
        runs = [(o, 1) for o in offsets]
    return [
        Task(
            kernel,
            (
                *(b.plus(4 * o), panels.plus(4 * places[o]), g.inner, g.columns),
                *(step, g.b_row, g.b_column, panel, blocks),
            ),
            n * blocks,
            "pack",
            0,
            8 * n * panel,
        )
        for o, n in runs
    ]


def _epilogue_params(call: Call, ins: Sequence[View | None]) -> list[Param]:
    """Addresses; operands of the result's shape are dense, their strides are not read."""
    found: list[Param] = []
    for kind, view in zip(Epilogue.of_call(call).kinds, ins[call.n_inputs :]):
        assert view is not None
        found += [view.address, 0, 0, 0] if kind == "same" else [view.address]
    return found


def _task(
    spec: KernelSpec,
    g: Product,
    place: tuple[Address, Address, Address],
    bias: Param,
    batch: int,
    step: tuple[int, int],
    channels: tuple[int, int],
    extra: list[Param],
    target: CpuTarget,
    label: str,
) -> Task:
    """place: A, panels, Y. step: from one A, and from one B's panels, to the next. channels: rows of one, how many."""
    blocks = -(-g.columns // (spec.int("blocks") * target.lanes))
    per_row = 4 * g.inner
    row_block = max(spec.int("rows"), min(g.rows, target.l2 // 4 // max(per_row, 1)))
    wanted = max(1, -(-8 // (blocks * batch)))
    row_block = max(1, min(row_block, -(-g.rows // wanted)))
    row_blocks = -(-g.rows // row_block)
    params = (
        *(place[0], place[1], bias, place[2], g.rows, g.inner, g.columns),
        *(step[0], g.a_row, g.a_step, step[1], g.rows * g.columns),
        *(row_block, row_blocks, blocks, *channels),
        *extra,
    )
    work = batch * g.rows * g.columns
    nbytes = 4 * (batch * (g.rows * g.inner + g.inner * g.columns) + work)
    return Task(spec, params, batch * row_blocks * blocks, label, 2 * work * g.inner + work, nbytes)


RULE = Rule("gemm", OPERATORS, choose, needs, bind, half=True)
