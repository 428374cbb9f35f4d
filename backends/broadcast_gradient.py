"""What the gradients of sums, products and quotients compute where an operand was broadcast."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.opdef import Call
from graphc.ir.ops.elementwise.arithmetic_gradient import aligned_operands, operand_roles

OPERATORS = ("AddGradient", "SubGradient", "MulGradient", "DivGradient")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """An output: ``text`` of the inputs ``operands``, summed over ``axes`` and divided by ``divisor``.

    Where the text is the gradient alone, ``sums_gradient``, it is summed from where it is.
    """

    text: str
    operands: tuple[int, ...]
    axes: tuple[int, ...]
    divisor: float = 1.0

    @property
    def sums_gradient(self) -> bool:
        """Nothing has to be computed before the sum."""
        return len(self.operands) == 1


def parts_of(call: Call) -> tuple[list[Part], dict[int, Shape]]:
    """The outputs dA and dB; the shapes of the inputs among the result's dimensions."""
    a, b, g = operand_roles(call)
    shape = call.type(g).static_shape
    small = [tuple(d for d in s if isinstance(d, int)) for s in aligned_operands(call)]
    full = {i: (1,) * (len(shape) - len(s)) + s for i, s in zip((a, b), small)}
    axes = [tuple(k for k, d in enumerate(full[i]) if d == 1 != shape[k]) for i in (a, b)]
    full |= {i: shape for i in range(call.n_inputs) if i not in (a, b)}
    if call.node.op == "DivGradient":
        c = a if call.n_inputs == 3 else 3
        full[c] = shape
        down = Part("t0=mul(x0,x1);t1=div(t0,x2);y=neg(t1)", (g, c, b), axes[1])
        return [Part("y=div(x0,x1)", (g, b), axes[0]), down], full
    if call.node.op == "MulGradient":
        return [Part("y=mul(x0,x1)", (g, b), axes[0]), Part("y=mul(x0,x1)", (g, a), axes[1])], full
    minus = call.node.op == "SubGradient"
    sums = Part("y=neg(x0)" if minus and not axes[1] else "y=x0", (g,), axes[1], -1.0 if minus else 1.0)
    return [Part("y=x0", (g,), axes[0]), sums], full
