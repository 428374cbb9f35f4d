"""Copies between views of one logical shape: any layouts, halos, slices and element types; zeroing of halos."""

from __future__ import annotations

from functools import partial

from graphc.backends.cpu.kernels import nest
from graphc.backends.cpu.kernels.nest import Nest
from graphc.backends.cpu.rules import Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.movement import Copier
from graphc.ir import LoweringError
from graphc.ir.schedule import Address, Halo, KernelSpec, Param, Task, View

PAIR = ["y", "x"]
BYTES = KernelSpec.make("copy_bytes")
TRANSPOSE = KernelSpec.make("transpose")
HALO = KernelSpec.make("halo")
LONGEST = 1024
"""Pixels of a blocked image that are taken as one row; larger ones stay rows, for there to be units enough."""


def copy_task(source: View, target: View, machine: CpuTarget) -> Task:
    """The task that copies ``source`` to ``target``, changing the layout where they differ.

    Raises ``LoweringError`` where the views do not hold the same type of elements.
    """
    a, b = source.type, target.type
    if a.dtype is not b.dtype or a.static_shape != b.static_shape:
        raise LoweringError(f"a copy cannot turn {a} into {b}", "insert a Cast or a Reshape")
    if a.layout == b.layout:
        block = a.layout.block
        return strided_copy(
            _physical(a.static_shape, block),
            (*target.strides, 1) if block > 1 else target.strides,
            (*source.strides, 1) if block > 1 else source.strides,
            (target.address, source.address),
            a.dtype.itemsize if a.dtype else 4,
            machine,
        )
    return _relayout(source, target, machine)


def copier(machine: CpuTarget) -> Copier:
    """A target's ways to copy."""
    return Copier(partial(copy_task, machine=machine), partial(strided_copy, machine=machine))


def _relayout(source: View, target: View, machine: CpuTarget) -> Task:
    """Between plain and blocked: channels and pixels are transposed in tiles."""
    n, c, h, w = source.type.static_shape
    width, addresses = machine.lanes, (target.address, source.address)
    plain, blocked = (source, target) if target.type.layout.block > 1 else (target, source)
    if h == w == 1 and plain.strides[1] == 1 and blocked.strides[1] == width:
        return strided_copy((n, c), (target.strides[0], 1), (source.strides[0], 1), addresses, 4, machine)
    strides = tuple((v.strides[0], *v.strides[2:]) for v in (target, source, plain))
    made = Nest.make((n, h, w), strides)
    if blocked is source and made.sizes and made.sizes[-1] > LONGEST and w > 1:
        made = Nest((n, h, w), strides)
    if not made.sizes or made.inner[2] != 1:
        made = Nest((*made.sizes, 1), tuple((*s, 1) for s in made.strides))
    outer = Nest(made.sizes[:-1], tuple(s[:-1] for s in made.strides[:2]))
    channels, pixels = (source.strides[1], target.strides[1]), made.sizes[-1]
    if blocked is target:
        return transposition(outer, (c, *channels), (pixels, width, made.strides[0][-1]), addresses, machine)
    return transposition(outer, (pixels, made.strides[1][-1], width), (c, *channels), addresses, machine)


def _physical(shape: tuple[int, ...], block: int) -> tuple[int, ...]:
    if block == 1:
        return shape
    n, c, h, w = shape
    return (n, -(-c // block), h, w, block)


def strided_copy(
    sizes: tuple[int, ...],
    target: tuple[int, ...],
    source: tuple[int, ...],
    addresses: tuple[Address, Address],
    itemsize: int,
    machine: CpuTarget,
    label: str = "",
) -> Task:
    """The task that copies elements between two places by strides in elements: (target, source) ``addresses``."""
    made = Nest.make(sizes, [target, source]).with_a_dimension()
    if made.inner == (1, 1):
        run = made.sizes[-1] * itemsize
        strides = [[itemsize * v for v in s[:-1]] for s in made.strides]
        units = nest.cut(made.sizes[:-1], strides, run, 4 * nest.CHUNK)
        return Task(BYTES, units.params(addresses), units.count, label, 0, 2 * _size(sizes) * itemsize)
    columns = next((i for i, s in enumerate(made.strides[1][:-1]) if s == 1), None)
    if itemsize == 4 and made.inner[0] == 1 and columns is not None:
        if 2 * min(made.sizes[-1], made.sizes[columns]) >= machine.lanes:
            return _transposed(made, columns, addresses, machine, label)
        made = _longer_inside(made, columns)
    units = nest.cut(made.sizes[:-1], [s[:-1] for s in made.strides], made.sizes[-1])
    params = (*units.params(addresses), *made.inner)
    return Task(KernelSpec.make("move", itemsize=itemsize), params, units.count, label, 0, 2 * _size(sizes) * itemsize)


def _size(sizes: tuple[int, ...]) -> int:
    total = 1
    for n in sizes:
        total *= n
    return total


def _longer_inside(made: Nest, columns: int) -> Nest:
    """The nest with the longer of two dimensions innermost: tiles of few rows or columns are slower than elements."""
    order = list(range(len(made.sizes)))
    if made.sizes[columns] > made.sizes[-1]:
        order.append(order.pop(columns))
    return Nest(tuple(made.sizes[i] for i in order), tuple(tuple(s[i] for i in order) for s in made.strides))


def _transposed(made: Nest, columns: int, addresses: tuple[Address, Address], machine: CpuTarget, label: str) -> Task:
    """Tiles over the dimension that is contiguous in the target and the one that is in the source."""
    last = len(made.sizes) - 1
    kept = [i for i in range(last) if i != columns]
    outer = Nest(tuple(made.sizes[i] for i in kept), tuple(tuple(s[i] for i in kept) for s in made.strides))
    rows = (made.sizes[last], made.strides[1][last], machine.lanes)
    return transposition(
        outer, rows, (made.sizes[columns], machine.lanes, made.strides[0][columns]), addresses, machine, label
    )


def transposition(
    outer: Nest,
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
    addresses: tuple[Address, Address],
    machine: CpuTarget,
    label: str = "",
) -> Task:
    """The task of the kernel ``transpose``: the target is contiguous along ``rows``, the source along ``columns``.

    rows: (number, stride in the source, advance in the target for each group of ``lanes`` rows). columns: (number,
    advance in the source for each group of ``lanes`` columns, stride in the target).
    """
    lanes = machine.lanes
    chunk = max(1, nest.CHUNK // max(rows[0], 1) // lanes) * lanes
    units = nest.cut(outer.sizes, outer.strides, columns[0], chunk)
    params: tuple[Param, ...] = (*units.params(addresses), *rows, *columns[1:])
    nbytes = 8 * rows[0] * columns[0] * _size(outer.sizes)
    return Task(TRANSPOSE, params, units.count if rows[0] else 0, label, 0, nbytes)


def emit_transpose(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``transpose``; parameters: the nest, whose run is the columns, then those of ``transposition``."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        last = nest.head(s, PAIR)
        for i, name in enumerate(("n", "xs", "yb", "xb", "ys")):
            s(f"{name} = ld(p, {last + i})")
        with s.block("for u in range(lo, hi):"):
            nest.decode(s, PAIR)
            with s.block("for r in range(top, bottom):"):
                with s.block(f"for c in range(start, stop, {lanes}):"):
                    s(f"xc = x_o + c // {lanes} * xb")
                    s("yc = y_o + c * ys")
                    s(f"whole = n // {lanes} * {lanes} if c + {lanes} <= stop else 0")
                    with s.block(f"for t in range(0, whole, {lanes}):"):
                        s(f"transpose(x, xc + t * xs, xs, y, yc + t // {lanes} * yb, ys)")
                    with s.block(f"for t in range(whole, n, {lanes}):"):
                        s(f"yt = yc + t // {lanes} * yb")
                        _part(s, lanes)
                _advance(s)
    return s.text()


def _part(s: Lines, lanes: int) -> None:
    """A tile of fewer rows or columns, by elements: masked loads and stores of all its vectors take far longer."""
    with s.block(f"for k in range(min({lanes}, stop - c)):"), s.block(f"for i in range(min({lanes}, n - t)):"):
        s("sts(y, yt + k * ys + i, lds(x, xc + (t + i) * xs + k))")


def _advance(s: Lines) -> None:
    for name in PAIR:
        s(f"{name}_o += {name}_r")


def emit_bytes(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``copy_bytes``; parameters: the nest, in bytes."""
    s, width = Lines(), 4 * target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        nest.head(s, PAIR)
        with s.block("for u in range(lo, hi):"):
            nest.decode(s, PAIR)
            s(f"whole = start + (stop - start) // {width} * {width}")
            with s.block("for r in range(top, bottom):"):
                with s.block(f"for i in range(start, whole, {width}):"):
                    s("vstore(y + y_o + i, 0, vload(x + x_o + i, 0))")
                s("words = whole + (stop - whole) // 4 * 4")
                with s.block("for i in range(whole, words, 4):"):
                    s("st_i4(y + y_o + i, 0, ld_i4(x + x_o + i, 0))")
                with s.block("for i in range(words, stop):"):
                    s("st_u1(y, y_o + i, ld_u1(x, x_o + i))")
                _advance(s)
    return s.text()


def emit_move(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``move``: one element at a time; parameters: the nest, then the strides along the run."""
    s = Lines()
    code = {1: "u1", 2: "u2", 4: "i4", 8: "i8"}[spec.int("itemsize")]
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        last = nest.head(s, PAIR)
        s(f"ys = ld(p, {last})")
        s(f"xs = ld(p, {last + 1})")
        with s.block("for u in range(lo, hi):"):
            nest.decode(s, PAIR)
            with s.block("for r in range(top, bottom):"):
                with s.block("for i in range(start, stop):"):
                    s(f"st_{code}(y, y_o + i * ys, ld_{code}(x, x_o + i * xs))")
                _advance(s)
    return s.text()


def halo_task(view: View, halo: Halo) -> Task:
    """The task that zeroes the border of a 4-D value (all planes), ``halo`` pixels wide: of float32, or blocked and of
    halves, which are zeroed two by two."""
    n, c, h, w = view.type.static_shape
    size = view.type.dtype.itemsize if view.type.dtype else 4
    block = view.type.layout.block * size // 4
    top, left, bottom, right = halo
    planes = -(-c // view.type.layout.block)
    params: tuple[Param, ...] = (view.address, *(s * size // 4 for s in view.strides[:3]), planes, h, w * block)
    params += (top, left * block, bottom, right * block, 0)
    pixels = (top + h + bottom) * (left + w + right) - h * w
    return Task(HALO, params, n * planes, "halo", 0, 4 * n * planes * block * pixels)


def emit_halo(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``halo``: a unit is a plane. Zero is a parameter, or LLVM would call the C library's memset."""
    s = Lines()
    with s.block("def fill(y, first, last, zeros, zero):"):
        s(f"whole = first + (last - first) // {target.lanes} * {target.lanes}")
        with s.block(f"for i in range(first, whole, {target.lanes}):"):
            s("vstore(y, i, zeros)")
        with s.block("for i in range(whole, last):"):
            s("sts(y, i, zero)")
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        names = ("y", "sn", "sp", "sr", "planes", "h", "w", "top", "left", "bottom", "right")
        for i, name in enumerate(names):
            s(f"{name} = ld(p, {i})")
        s("zeros = vbcast(p, 22)")
        s("zero = lds(p, 22)")
        with s.block("for u in range(lo, hi):"):
            s("o = u // planes * sn + u % planes * sp")
            with s.block("for r in range(-top, h + bottom):"):
                with s.block("if r < 0 or r >= h:"):
                    s("fill(y, o + r * sr - left, o + r * sr + w + right, zeros, zero)")
                with s.block("else:"):
                    s("fill(y, o + r * sr - left, o + r * sr, zeros, zero)")
                    s("fill(y, o + r * sr + w, o + r * sr + w + right, zeros, zero)")
    return s.text()


TEMPLATES = (
    Template("transpose", emit_transpose),
    Template("copy_bytes", emit_bytes),
    Template("move", emit_move),
    Template("halo", emit_halo),
)
