"""Copies between views of one logical shape: any strides and element types.

A thread copies an element, or 16 bytes of what lies side by side on both sides; tiles turn dimensions
(``transpose.py``).
"""

from __future__ import annotations

from graphc.backends.cuda.kernels import nest, pointwise
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.relayout import relayout
from graphc.backends.cuda.kernels.transpose import transposed
from graphc.backends.cuda.kernels.typed import blocks_of, is_readable
from graphc.backends.cuda.rules import THREADS, Template, blocks_for
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.movement import Copier
from graphc.backends.nest import Nest
from graphc.ir import LoweringError
from graphc.ir.schedule import Address, KernelSpec, Task, View
from graphc.ir.types import PLAIN

PAIR = ["y", "x"]
WIDEST = 8
CODES = {1: "u1", 2: "u2", 4: "i4", 8: "i8"}
"""Bytes of an element -> how it is loaded and stored."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``copy``; parameters: the nest, target first."""
    s, dims, code = Lines(), spec.int("dims"), CODES[spec.int("itemsize")]
    with each_thread(s, spec, nest.arguments(PAIR, dims)):
        nest.decode(s, PAIR, dims)
        s(f"st_{code}(y, y_o, ld_{code}(x, x_o))")
    return s.text()


def strided_copy(
    sizes: tuple[int, ...],
    target: tuple[int, ...],
    source: tuple[int, ...],
    places: tuple[Address, Address],
    itemsize: int,
) -> Task:
    """The task that copies elements between two places by strides in elements; places: of target and source."""
    made = Nest.make(sizes, [target, source]).with_a_dimension()
    total = nest.elements(made)
    if nest.is_flat(made) and made.inner == (1, 1) and itemsize % 4 == 0:
        words = total * itemsize // 4
        spec, units = pointwise.flat_spec("y=x0", "v"), blocks_for(-(-words // pointwise.EACH))
        return Task(spec, (words, *places), units, "", 0, 2 * total * itemsize)
    turned = transposed(made, places) if itemsize == 4 else None
    if turned is not None:
        return turned
    spec = KernelSpec.make("copy", itemsize=itemsize, dims=len(made.sizes), threads=THREADS)
    return Task(spec, nest.params(made, places), blocks_for(total), "", 0, 2 * total * itemsize)


def copy_task(source: View, target: View) -> Task:
    """The task that copies ``source`` to ``target``; raises ``LoweringError`` unless their types are the same."""
    a, b = source.type, target.type
    known = all(map(is_readable, (a, b)))
    if a.dtype is not b.dtype or a.static_shape != b.static_shape or not known:
        raise LoweringError(f"a copy cannot turn {a} into {b}", "insert a Cast or a Reshape")
    if a.layout != b.layout:
        return relayout(source, target)
    size, places = a.dtype.itemsize if a.dtype else 4, (target.address, source.address)
    if a.layout == PLAIN:
        return strided_copy(a.static_shape, target.strides, source.strides, places, size)
    n, c, h, w = a.static_shape
    to, from_ = ((*(v * size // WIDEST for v in view.strides), 1) for view in (target, source))
    return strided_copy((n, blocks_of(c, BLOCK), h, w, BLOCK * size // WIDEST), to, from_, places, WIDEST)


def copier(target: CudaTarget) -> Copier:
    """A target's ways to copy."""
    return Copier(copy_task, strided_copy)


TEMPLATES = (Template("copy", emit),)
