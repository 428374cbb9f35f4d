"""MatMul and BatchMatMul of computed halves on tensor cores, with sums in float32: the loop of ``tensor_product.py``.

Rows of the result are its pixels, columns its maps. Copies take 16 bytes of an operand at once, as it lies in memory:
eight numbers of a sum, or the same one of eight sums. In the first case a stage has the operand as ``mma_product.py``
has it; in the second, 32 lines, one for each number of the sum, which ``ldmatrix`` turns. Their pieces are exchanged by
the line's number, so that the eight lines of a matrix lie in different banks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cuda.kernels import gemm, mma_product
from graphc.backends.cuda.kernels.conv_tensor import emit_call, emit_put, fitting, single
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.tensor_product import emit_ring
from graphc.backends.cuda.kernels.tensor_tile import PIECE, PIECES, ROW, TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.kernels.typed import code_of, itemsize
from graphc.backends.cuda.rules import Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.backends.products import Product, product_of
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Static, Step, Task, View

STEP = PIECES * BLOCK
"""Products of a sum in a step."""
NAMES = ("x", "x_batch", "x_line", "w", "w_batch", "w_line", "y", "rows", "inner", "columns", "first")
"""x_batch, w_batch: bytes from one product of the launch to the next; x_line, w_line: from a line of an operand, as it
lies in memory, to the next one. first: the launch's first product."""


@dataclass(frozen=True)
class Side:
    """An operand in a tile. name: ``x`` or ``w``. width: its rows or columns. along: a piece is of one sum.

    start: bytes of a stage before it. first, end: names of the block's first row or column, and of their number.
    """

    name: str
    width: int
    along: bool
    start: int
    first: str
    end: str

    @property
    def pieces(self) -> int:
        """Pieces of a line in a stage, where a piece is of several sums."""
        return self.width // BLOCK

    def exchange(self, line: str) -> str:
        """What the piece's number is exchanged by in a line of several sums."""
        return f"({line} & 7)" if self.pieces >= 8 else f"({line} >> 1 & 3)"

    def emit_place(self, s: Lines, threads: int) -> None:
        """Which pieces thread ``t`` copies, from where, and to where in a stage."""
        o = self.name
        if self.along:
            s(f"line = {self.first} + (t >> 2)")
            s(f"{o}0 = {o} + batch * {o}_batch + line * {o}_line + (t & 3) * {PIECE}")
            s(f"{o}_left, {o}_k, {o}_end = i32({self.end} - line), i32(t & 3), i32(inner >> 3)")
            s(f"{o}_to = i32({self.start} + (t >> 2) * {ROW} + (((t & 3) ^ (t >> 3 & 3)) << 4))")
            return
        s(f"line, piece = quot(t, {self.pieces}), rest(t, {self.pieces})")
        s(f"{o}0 = {o} + batch * {o}_batch + line * {o}_line + ({self.first} + piece * {BLOCK}) * 2")
        s(f"{o}_k = i32(line)")
        s(f"{o}_end = i32(inner if {self.first} + piece * {BLOCK} < {self.end} else 0)")
        s(f"{o}_to = i32({self.start} + line * {2 * self.width} + ((piece ^ {self.exchange('line')}) << 4))")

    def emit_copies(self, s: Lines, threads: int) -> None:
        """Begin to copy this thread's pieces of the next step to ``to``."""
        o = self.name
        if self.along:
            s(f"{o}_lines = {o}_left if {o}_k < {o}_end else i32(0)")
            for j in range(PIECES * self.width // threads):
                skip = j * threads // PIECES
                place = f"to + {o}_to + {j * threads * PIECE}"
                s(f"copy16({place}, {o}0 + {skip} * {o}_line, {PIECE} if {o}_lines > {skip} else 0)")
            s(f"{o}_k, {o}0 = i32({o}_k + {PIECES}), {o}0 + {ROW}")
            return
        lines = threads // self.pieces
        for j in range(STEP // lines):
            place = f"to + {o}_to + {j * lines * 2 * self.width}"
            s(f"copy16({place}, {o}0 + {j * lines} * {o}_line, {PIECE} if {o}_k + {j * lines} < {o}_end else 0)")
        s(f"{o}_k, {o}0 = i32({o}_k + {STEP}), {o}0 + {STEP} * {o}_line")

    def emit_matrices(self, s: Lines, own: str, first: str, count: int) -> None:
        """Where the matrices begin that a thread turns; own: ``a`` or ``b``, first: the warp's first row or column.

        Of four matrices two lie side by side; of pixels the second one is the next eight, of maps the next of the sum.
        """
        side, down = ("lane >> 3 & 1", "lane >> 4") if own == "a" else ("lane >> 4", "lane >> 3 & 1")
        s(f"line = (lane & 7) + ({down}) * 8")
        for i in range(count):
            s(f"piece = quot({first}, {BLOCK}) + ({side}) + {2 * i}")
            place = f"line * {2 * self.width} + ((piece ^ {self.exchange('line')}) << 4)"
            s(f"{own}{i}_from = i32({self.start} + {place})")

    def emit_loads(self, s: Lines, own: str, half: int, count: int) -> None:
        """Load the matrices of half a step."""
        for i in range(count):
            if self.along:
                s(f"{own}{i} = matrices(from_ + {own}{half}_at + {i * 16 * ROW})")
            else:
                s(f"{own}{i} = turned_matrices(from_ + {own}{i}_from + {half * 16 * 2 * self.width})")


@dataclass(frozen=True)
class Plain:
    """``mma_product.py`` for operands as they lie in memory."""

    x: Side
    w: Side

    def arrange(self, s: Lines, tile: TensorTile) -> None:
        """Where matrices begin; ``line_at`` and ``map_at`` are of copies that are not made here."""
        s("line, part = t >> 2, t & 3")
        mma_product.arrange(s, tile)
        if not self.x.along:
            self.x.emit_matrices(s, "a", f"down * {tile.warp_pixels}", tile.warp_pixels // 16)
        if not self.w.along:
            self.w.emit_matrices(s, "b", f"across * {tile.warp_maps}", tile.warp_maps // 16)

    def zeros(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Code that makes all sums 0."""
        mma_product.zeros(s, tile, kind)

    def landed(self, s: Lines) -> None:
        """The barrier suffices."""

    def begin(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Copies begin first."""

    def end(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Load matrices, and multiply them."""
        for half in range(2):
            self.x.emit_loads(s, "a", half, tile.warp_pixels // 16)
            self.w.emit_loads(s, "b", half, tile.warp_maps // 16)
            mma_product.multiply(s, tile, kind)

    def finish(self, s: Lines, tile: TensorTile) -> None:
        """The first pixel and map of a thread."""
        mma_product.finish(s, tile)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``matmul_tensor``; parameters: ``NAMES``, those of the epilogue.

    x_along, w_along: a piece of the operand is of one sum. pairs: two columns lie at a multiple of their size.
    """
    s, epilogue, tile = Lines(), Epilogue.of_spec(spec), _tile_of(spec)
    x = Side("x", tile.pixels, bool(spec.int("x_along")), 0, "p0", "rows")
    w = Side("w", tile.maps, bool(spec.int("w_along")), tile.pixels * ROW, "m0", "columns")

    def place() -> None:
        s(f"down, across = quot(rows + {tile.pixels - 1}, {tile.pixels}), quot(columns + {tile.maps - 1}, {tile.maps})")
        s("u = i64(block())")
        s(f"m0, u = rest(u, across) * {tile.maps}, quot(u, across)")
        s(f"p0, batch = rest(u, down) * {tile.pixels}, quot(u, down)")
        s(f"own = quot(inner + {STEP - 1}, {STEP})")
        for side in (x, w):
            side.emit_place(s, tile.threads)

    def copies() -> None:
        for side in (x, w):
            side.emit_copies(s, tile.threads)

    emit_put(s, spec, epilogue)
    with s.block(f"def {spec.name}({', '.join([*NAMES, *epilogue.arguments()])}):"):
        emit_ring(s, tile, str(spec["kind"]), Plain(x, w), (place, copies))
        s(f"group, maps, yc = 0, columns, {BLOCK}")
        for i in range(tile.warp_pixels // 16):
            for half in range(2):
                s(f"p = p0 + {16 * i + 8 * half}")
                with s.block("if p < rows:"):
                    s("n = (first + batch) * rows + p")
                    s("o = n * columns")
                    for k in epilogue.same:
                        s(f"o{k} = n * e{k}n")
                    for j in range(tile.warp_maps // 8):
                        values = [f"c{i}_{j}_{2 * half + k}" for k in range(2)]
                        emit_call(s, spec, epilogue, f"m0 + {8 * j}", values)
    return s.text()


def _along_of(spec: KernelSpec) -> tuple[int, int]:
    return spec.int("x_along"), spec.int("w_along")


def _tile_of(spec: KernelSpec) -> TensorTile:
    return TensorTile(*(spec.int(n) for n in ("pixels", "maps", "warp_pixels", "warp_maps", "stages")))


def problem_of(call: Call) -> Problem | None:
    """What a tiling is chosen for, None for what is not computed here; pixels are rows, groups the batch."""
    g = product_of(call)
    if not is_floating(call) or not _is_served(call, g):
        return None
    x_along, w_along = _along(g)
    op = f"matmul_{'n' if x_along else 't'}{'t' if w_along else 'n'}"
    kind, y, others = code_of(call.type(0)), code_of(call.node.results[0].type), len(Epilogue.of_call(call).same)
    return Problem(op, kind, y, g.rows, g.columns, g.inner, len(g.batches), others=others)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    g, problem = product_of(call), problem_of(call)
    tiling = decide(problem, target) if problem is not None else None
    if problem is None or tiling is None or not isinstance(tiling.tile, TensorTile):
        return None
    best, along = tiling.tile, dict(zip(("x_along", "w_along"), _along(g)))
    pairs = int(g.columns % 2 == 0)
    static: dict[str, Static] = {"kind": problem.kind, "y": problem.y, "pairs": pairs, "bias": 0, **along}
    epilogue = Epilogue.of_call(call).static()
    spec = KernelSpec.make("matmul_tensor", threads=best.threads, **best.static(), **static, **epilogue)
    return Choice("matmul_tensor", spec, cost=1.0)  # before gemm.py


def _is_served(call: Call, g: Product) -> bool:
    """Halves of one kind whose lines are whole pieces; no vector along columns that the epilogue takes for rows."""
    halves = code_of(call.type(0)) == code_of(call.type(1)) != "f4"
    vectors = "channel" in Epilogue.of_call(call).kinds
    return halves and _has_pieces(g, _along(g)) and not (vectors and call.node.results[0].type.rank != 2)


def _along(g: Product) -> tuple[int, int]:
    """Whether pieces of the operands are of one sum."""
    return int(g.a_step == 1), int(g.b_row == 1)


def _has_pieces(g: Product, along: tuple[int, int]) -> bool:
    """Lines of both operands, and so all their matrices, begin at multiples of 16 bytes where the first one does."""
    lines = (g.inner if along[0] else g.rows, g.inner if along[1] else g.columns)
    return along == _along(g) and all(line % BLOCK == 0 for line in lines)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    g, (x, w), y = product_of(call), ins[:2], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert w is not None
    if not _has_pieces(g, _along_of(choice.spec)) or x.address.offset % PIECE or w.address.offset % PIECE:
        # other sizes than those compiled for, or a row that is a piece of a longer one
        other = gemm.choose(call, target)
        assert other is not None
        return gemm.bind(call, other, ins, outs, workspace, target)
    require_reach(x, w, y)
    same = [v for v in ins[call.n_inputs :] if v is not None]
    spec = single(choice.spec) if g.columns % 2 else fitting(choice.spec, [y, *same])
    extra = Epilogue.of_spec(spec).params(call, ins, BLOCK)
    label = call.node.results[0].name
    return [tuple(_task(spec, g, group, i, (x, w, y), extra, label) for i, group in enumerate(g.groups))]


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
    (first, second), steps, tile = batch[0], g.regular or (0, 0), _tile_of(spec)
    x, w, y = views
    size = itemsize(str(spec["kind"]))
    x_along, w_along = _along_of(spec)
    # of one row or column there is no next line, and its distance may be no multiple of 16
    ends = (g.a_row if g.rows > 1 else 0, g.b_column if g.columns > 1 else 0)
    lines = (ends[0] if x_along else g.a_step, ends[1] if w_along else g.b_row)
    places: list[Param] = []
    for view, at, step, line in ((x, first, steps[0], lines[0]), (w, second, steps[1], lines[1])):
        places += [view.address.plus(size * at), size * step, size * line]
    units = blocks_for(-(-g.rows // tile.pixels) * -(-g.columns // tile.maps) * len(batch), 1)
    moved = size * (g.rows + g.columns) * g.inner + itemsize(str(spec["y"])) * g.rows * g.columns
    params = (*places, y.address, g.rows, g.inner, g.columns, number, *extra)
    return Task(spec, params, units, label, 2 * len(batch) * g.rows * g.columns * g.inner, len(batch) * moved)


RULES = (Rule("matmul_tensor", ("MatMul", "BatchMatMul"), _choose, gemm.needs, _bind, half=True),)
TEMPLATES = (Template("matmul_tensor", emit),)
