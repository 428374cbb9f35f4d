"""Loop nests (``backends/nest.py``) with a thread for each element: how a kernel finds its element's places."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.rules import blocks_for
from graphc.backends.lines import Lines
from graphc.backends.nest import Nest
from graphc.ir.schedule import Address, Param


def is_flat(made: Nest) -> bool:
    """One dimension at most, through which the first operand runs straight and the others too, or stand still."""
    return len(made.sizes) <= 1 and all(inner in (0, 1) for inner in made.inner) and made.inner[:1] in ((0,), (1,))


def arguments(names: Sequence[str], dims: int) -> list[str]:
    """Parameters of a nest of ``dims`` dimensions: elements, sizes of all but the outermost, then those of operands:
    an address, and a stride a dimension."""
    sizes = [f"d{k}" for k in range(1, dims)]
    return ["total", *sizes, *(part for n in names for part in (n, *(f"{n}_{k}" for k in range(dims))))]


def decode(s: Lines, names: Sequence[str], dims: int) -> None:
    """Code that sets ``<name>_o``, offsets in elements, for element ``i``."""
    s("q = i")
    for k in reversed(range(1, dims)):
        s(f"i{k} = rest(q, d{k})")
        s(f"q = quot(q, d{k})")
    for name in names:
        inner = "".join(f" + i{k} * {name}_{k}" for k in range(1, dims))
        s(f"{name}_o = q * {name}_0{inner}")


def params(made: Nest, addresses: Sequence[Address]) -> tuple[Param, ...]:
    """The values of ``arguments``; raises ``LoweringError`` where 32 bits do not count the elements."""
    block: list[Param] = [elements(made), *made.sizes[1:]]
    for address, strides in zip(addresses, made.strides):
        block += [address, *strides]
    return tuple(block)


def elements(made: Nest) -> int:
    """Elements of the nest; raises ``LoweringError`` where 32 bits do not count them."""
    total = 1
    for n in made.sizes:
        total *= n
    blocks_for(total)
    return total
