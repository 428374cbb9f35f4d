"""MatMul and BatchMatMul of computed matrices on tensor cores, with sums in float32: the loop of ``tensor_product.py``.

Operands are halves, or float32 that is multiplied as TF32 (``ir/fpmath.py``), which is rounded where it is loaded from
shared memory. Rows of the result are its pixels, columns its maps. Copies take 16 bytes of an operand at once, as it
lies in memory: eight halves or four floats of a sum, or the same one of as many sums. In the first case a stage has the
operand as ``mma_product.py`` has it. In the second it has a line for each number of the sum. Lines of halves are turned
by ``ldmatrix``; of floats each register is a load of its own. Pieces of a line are exchanged by its number, so that the
eight lines of a matrix of halves lie in different banks, and so do the eight neighbouring numbers of four lines that
the threads of a warp load of floats. A copy's eight neighbouring threads write 128 bytes of a line, which is all banks.

Where lines turn out to be no whole pieces, at other sizes than those compiled for, ``gemm.py`` multiplies: in float32,
which for TF32 is more exact than what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cuda.kernels import gemm, mma_product
from graphc.backends.cuda.kernels.conv_tensor import emit_call, emit_put, fitting, single
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.tensor_product import emit_ring
from graphc.backends.cuda.kernels.tensor_tile import ITEMSIZES, PIECE, PIECES, ROW, TensorTile
from graphc.backends.cuda.kernels.tilings import decide
from graphc.backends.cuda.kernels.typed import TF32, code_of, itemsize, multiplied
from graphc.backends.cuda.rules import Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.backends.products import Product, product_of
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Static, Step, Task, View

NAMES = ("x", "x_batch", "x_line", "w", "w_batch", "w_line", "y", "rows", "inner", "columns", "first")
"""x_batch, w_batch: bytes from one product of the launch to the next; x_line, w_line: from a line of an operand, as it
lies in memory, to the next one. first: the launch's first product."""


@dataclass(frozen=True)
class Side:
    """An operand in a tile. name: ``x`` or ``w``. kind: of its elements. width: its rows or columns. along: a piece is
    of one sum.

    start: bytes of a stage before it. first, end: names of the block's first row or column, and of their number.
    """

    name: str
    kind: str
    width: int
    along: bool
    start: int
    first: str
    end: str

    @property
    def own(self) -> str:
        """The letter of its registers."""
        return {"x": "a", "w": "b"}[self.name]

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return ITEMSIZES[self.kind]

    @property
    def each(self) -> int:
        """Elements of a piece."""
        return PIECE // self.size

    @property
    def line(self) -> int:
        """Bytes of a line in a stage, where a piece is of several sums."""
        return self.width * self.size

    def exchanged(self, piece: str, line: str) -> str:
        """Where the piece of a line of several sums lies in it, in bytes."""
        if self.kind == TF32:
            by = f"({line} & 3) << 1"
        else:
            by = f"{line} & 7" if self.width >= 64 else f"{line} >> 1 & 3"
        return f"((({piece}) ^ ({by})) << 4)"

    def emit_place(self, s: Lines, threads: int) -> None:
        """Which pieces thread ``t`` copies, from where, and to where in a stage."""
        o = self.name
        if self.along:
            s(f"line = {self.first} + (t >> 2)")
            s(f"{o}0 = {o} + batch * {o}_batch + line * {o}_line + (t & 3) * {PIECE}")
            s(f"{o}_left, {o}_k, {o}_end = i32({self.end} - line), i32(t & 3), i32(quot(inner, {self.each}))")
            s(f"{o}_to = i32({self.start} + (t >> 2) * {ROW} + (((t & 3) ^ (t >> 3 & 3)) << 4))")
            return
        pieces = self.width // self.each
        s(f"line, piece = quot(t, {pieces}), rest(t, {pieces})")
        s(f"place = {self.first} + piece * {self.each}")
        s(f"{o}0 = {o} + batch * {o}_batch + line * {o}_line + place * {self.size}")
        s(f"{o}_k, {o}_end = i32(line), i32(inner if place < {self.end} else 0)")
        s(f"{o}_to = i32({self.start} + line * {self.line} + {self.exchanged('piece', 'line')})")

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
        lines, step = threads * self.each // self.width, step_of(self.kind)
        for j in range(step // lines):
            place = f"to + {o}_to + {j * lines * self.line}"
            s(f"copy16({place}, {o}0 + {j * lines} * {o}_line, {PIECE} if {o}_k + {j * lines} < {o}_end else 0)")
        s(f"{o}_k, {o}0 = i32({o}_k + {step}), {o}0 + {step} * {o}_line")

    def emit_starts(self, s: Lines, first: str, count: int) -> None:
        """Where in a stage the numbers begin that a thread loads; first: the warp's first row or column.

        Pieces of floats are exchanged by up to 6: numbers 32 further have the same places in the next eight pieces.
        """
        if self.along:
            return
        if self.kind == TF32:
            for q in range(min(2 * count, 4)):
                piece = f"quot({first}, {self.each}) + (lane >> 4) + {2 * q}"
                place = f"(lane & 3) * {self.line} + {self.exchanged(piece, 'lane')} + (lane >> 2 & 3) * {self.size}"
                s(f"{self.own}{q}_from = i32({self.start} + {place})")
            return
        # of four matrices two lie side by side; of pixels the second one is the next eight, of maps the next of the sum
        side, down = ("lane >> 3 & 1", "lane >> 4") if self.own == "a" else ("lane >> 4", "lane >> 3 & 1")
        s(f"line = (lane & 7) + ({down}) * 8")
        for i in range(count):
            piece = f"quot({first}, {self.each}) + ({side}) + {2 * i}"
            s(f"{self.own}{i}_from = i32({self.start} + line * {self.line} + {self.exchanged(piece, 'line')})")

    def emit_loads(self, s: Lines, half: int, count: int) -> None:
        """Load the matrices of half a step; those of maps are rounded here, others by ``mma_product.multiply``."""
        own = self.own
        for i in range(count):
            if self.along:
                s(f"{own}{i} = matrices(from_ + {own}{half}_at + {i * 16 * ROW})")
            elif self.kind != TF32:
                s(f"{own}{i} = turned_matrices(from_ + {own}{i}_from + {half * 16 * self.line})")
            else:
                s(f"{own}{i} = {', '.join(self._registers(half, i))}")
            if self.kind == TF32 and own == "b":
                s(f"b{i} = {', '.join(f'tf32(b{i}[{k}])' for k in range(4))}")

    def _registers(self, half: int, i: int) -> list[str]:
        """Loads of four registers of floats, in the order in which ``matrices`` has them."""
        places = [(k >> 1, k & 1) if self.own == "a" else (k & 1, k >> 1) for k in range(4)]
        found = []
        for down, side in places:
            further, q = divmod(2 * i + side, 4)
            skipped = (half * 8 + down * 4) * self.line + further * 8 * PIECE
            found.append(f"register(from_ + {self.own}{q}_from + {skipped})")
        return found


def step_of(kind: str) -> int:
    """Products of a sum in a step."""
    return ROW // ITEMSIZES[kind]


@dataclass(frozen=True)
class Plain:
    """``mma_product.py`` for operands as they lie in memory."""

    x: Side
    w: Side

    def arrange(self, s: Lines, tile: TensorTile) -> None:
        """Where matrices begin; ``line_at`` and ``map_at`` are of copies that are not made here."""
        s("line, part = t >> 2, t & 3")
        mma_product.arrange(s, tile)
        self.x.emit_starts(s, f"down * {tile.warp_pixels}", tile.warp_pixels // 16)
        self.w.emit_starts(s, f"across * {tile.warp_maps}", tile.warp_maps // 16)

    def zeros(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Code that makes all sums 0."""
        mma_product.zeros(s, tile, kind)

    def landed(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """The barrier suffices."""

    def begin(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Copies begin first."""

    def end(self, s: Lines, tile: TensorTile, kind: str) -> None:
        """Load matrices, and multiply them."""
        for half in range(2):
            self.x.emit_loads(s, half, tile.warp_pixels // 16)
            self.w.emit_loads(s, half, tile.warp_maps // 16)
            mma_product.multiply(s, tile, kind)

    def finish(self, s: Lines, tile: TensorTile) -> None:
        """The first pixel and map of a thread."""
        mma_product.finish(s, tile)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``matmul_tensor``; parameters: ``NAMES``, those of the epilogue.

    x_along, w_along: a piece of the operand is of one sum. pairs: two columns lie at a multiple of their size.
    """
    s, epilogue, tile, kind = Lines(), Epilogue.of_spec(spec), _tile_of(spec), str(spec["kind"])
    x = Side("x", kind, tile.pixels, bool(spec.int("x_along")), 0, "p0", "rows")
    w = Side("w", kind, tile.maps, bool(spec.int("w_along")), tile.pixels * ROW, "m0", "columns")

    def place() -> None:
        s(f"down, across = quot(rows + {tile.pixels - 1}, {tile.pixels}), quot(columns + {tile.maps - 1}, {tile.maps})")
        s("u = i64(block())")
        s(f"m0, u = rest(u, across) * {tile.maps}, quot(u, across)")
        s(f"p0, batch = rest(u, down) * {tile.pixels}, quot(u, down)")
        s(f"own = quot(inner + {step_of(kind) - 1}, {step_of(kind)})")
        for side in (x, w):
            side.emit_place(s, tile.threads)

    def copies() -> None:
        for side in (x, w):
            side.emit_copies(s, tile.threads)

    emit_put(s, spec, epilogue)
    with s.block(f"def {spec.name}({', '.join([*NAMES, *epilogue.arguments()])}):"):
        emit_ring(s, tile, kind, Plain(x, w), (place, copies))
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
    y, others = code_of(call.node.results[0].type), len(Epilogue.of_call(call).same)
    return Problem(op, multiplied(call), y, g.rows, g.columns, g.inner, len(g.batches), others=others)


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
    """Halves of one kind, or float32 that is multiplied as TF32, whose lines are whole pieces; no vector along columns
    that the epilogue takes for rows."""
    kind, codes = multiplied(call), {code_of(call.type(i)) for i in range(2)}
    served = kind == TF32 or codes == {kind} != {"f4"}
    vectors = "channel" in Epilogue.of_call(call).kinds
    return served and _has_pieces(g, _along(g), kind) and not (vectors and call.node.results[0].type.rank != 2)


def _along(g: Product) -> tuple[int, int]:
    """Whether pieces of the operands are of one sum."""
    return int(g.a_step == 1), int(g.b_row == 1)


def _has_pieces(g: Product, along: tuple[int, int], kind: str) -> bool:
    """Lines of both operands, and so all their matrices, begin at multiples of 16 bytes where the first one does."""
    lines = (g.inner if along[0] else g.rows, g.inner if along[1] else g.columns)
    return along == _along(g) and all(line * ITEMSIZES[kind] % PIECE == 0 for line in lines)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    g, (x, w), y = product_of(call), ins[:2], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert w is not None
    kind = str(choice.spec["kind"])
    if not _has_pieces(g, _along_of(choice.spec), kind) or x.address.offset % PIECE or w.address.offset % PIECE:
        # other sizes than those compiled for, or a row that is a piece of a longer one
        other = gemm.choose(call, target)
        assert other is not None
        assert not gemm.needs(call, other, target).workspace, "sums are cut of what is float32 throughout"
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
