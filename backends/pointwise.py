"""Pointwise meanings as text: what a fused body or an epilogue computes, compact enough to be a kernel's parameter.

A text is a list of assignments such as ``t0=add(x0,x1);y=max(0.0,t0)``: ``x0`` is the value that the kernel computed
(or the first operand), ``x1`` and on are further operands, numbers are float32 constants, ``y`` is the result. It
comes from a graph through ``PointwiseText``, a handler of ``ir/scalar.py``, and becomes kernel source through
``emit``, in the vocabulary of a target. A text may come from a file, so ``emit`` accepts nothing but this grammar.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.ir import Call, Graph, LoweringError, Node, Value
from graphc.ir.attrs import as_float32
from graphc.ir.opdef import aligned_shape, n_epilogue_operands
from graphc.ir.ops.tensor.internal import apply_body
from graphc.ir.types import Dim


@dataclass(frozen=True)
class Ref:
    """An expression in a text under construction: an operand, a temporary or a number."""

    owner: PointwiseText
    name: str

    def __add__(self, other: Ref | float) -> Ref:
        return self.owner.call("add", self, other)

    def __radd__(self, other: float) -> Ref:
        return self.owner.call("add", other, self)

    def __sub__(self, other: Ref | float) -> Ref:
        return self.owner.call("sub", self, other)

    def __rsub__(self, other: float) -> Ref:
        return self.owner.call("sub", other, self)

    def __mul__(self, other: Ref | float) -> Ref:
        return self.owner.call("mul", self, other)

    def __rmul__(self, other: float) -> Ref:
        return self.owner.call("mul", other, self)

    def __truediv__(self, other: Ref | float) -> Ref:
        return self.owner.call("div", self, other)

    def __rtruediv__(self, other: float) -> Ref:
        return self.owner.call("div", other, self)

    def __neg__(self) -> Ref:
        return self.owner.call("neg", self)

    @property
    def is_number(self) -> bool:
        """The expression is a constant."""
        return self.name[0] not in "xt"


class PointwiseText:
    """A handler of ``ScalarOps`` that writes assignments; equal expressions are written once."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def operand(self, i: int) -> Ref:
        """Operand ``x<i>``."""
        return Ref(self, f"x{i}")

    def const(self, value: float) -> Ref:
        """A number, rounded to float32."""
        return Ref(self, repr(as_float32(float(value))))

    def call(self, function: str, *args: Ref | float) -> Ref:
        """The value of an operation."""
        names = [a.name if isinstance(a, Ref) else self.const(a).name for a in args]
        right = f"{function}({','.join(names)})"
        return Ref(self, self._names.setdefault(right, f"t{len(self._names)}"))

    def text(self, result: Ref) -> str:
        """The whole text, with ``result`` as ``y``."""
        lines = [f"{name}={right}" for right, name in self._names.items()]
        if lines and result.name == f"t{len(lines) - 1}":
            return ";".join([*lines[:-1], "y=" + lines[-1].partition("=")[2]])
        return ";".join([*lines, f"y={result.name}"])

    def maximum(self, a: Ref, b: Ref) -> Ref:
        """Max that is NaN where either operand is: ``max`` itself returns its second operand then."""
        return self._propagating("max", a, b)

    def minimum(self, a: Ref, b: Ref) -> Ref:
        """Min that is NaN where either operand is."""
        return self._propagating("min", a, b)

    def _propagating(self, function: str, a: Ref, b: Ref) -> Ref:
        if isinstance(b, float) or b.is_number:
            return self.call(function, b, a)
        if isinstance(a, float) or a.is_number:
            return self.call(function, a, b)
        return self.where(self.isnan(a), a, self.call(function, a, b))

    def fma(self, a: Ref, b: Ref, c: Ref) -> Ref:
        """a * b + c, rounded once where the target can."""
        return self.call("fma", a, b, c)

    def abs(self, a: Ref) -> Ref:
        """|a|."""
        return self.call("abs", a)

    def sqrt(self, a: Ref) -> Ref:
        """Square root."""
        return self.call("sqrt", a)

    def exp(self, a: Ref) -> Ref:
        """Exponential."""
        return self.call("exp", a)

    def log(self, a: Ref) -> Ref:
        """Natural logarithm."""
        return self.call("log", a)

    def tanh(self, a: Ref) -> Ref:
        """Hyperbolic tangent."""
        return self.call("tanh", a)

    def sigmoid(self, a: Ref) -> Ref:
        """1 / (1 + exp(-a))."""
        return self.call("sigmoid", a)

    def erf(self, a: Ref) -> Ref:
        """Error function."""
        return self.call("erf", a)

    def sin(self, a: Ref) -> Ref:
        """Sine."""
        return self.call("sin", a)

    def cos(self, a: Ref) -> Ref:
        """Cosine."""
        return self.call("cos", a)

    def pow(self, a: Ref, b: Ref) -> Ref:
        """a ** b; the usual constant exponents become products and roots."""
        simple = {"2.0": lambda: a * a, "1.0": lambda: a, "0.5": lambda: self.sqrt(a), "3.0": lambda: a * a * a}
        return simple[b.name]() if isinstance(b, Ref) and b.name in simple else self.call("pow", a, b)

    def floor(self, a: Ref) -> Ref:
        """Largest integer not above a."""
        return self.call("floor", a)

    def ceil(self, a: Ref) -> Ref:
        """Smallest integer not below a."""
        return self.call("ceil", a)

    def round_even(self, a: Ref) -> Ref:
        """Nearest integer, halves to even."""
        return self.call("round", a)

    def lt(self, a: Ref, b: Ref) -> Ref:
        """a < b."""
        return self.call("lt", a, b)

    def le(self, a: Ref, b: Ref) -> Ref:
        """a <= b."""
        return self.call("le", a, b)

    def eq(self, a: Ref, b: Ref) -> Ref:
        """a == b."""
        return self.call("eq", a, b)

    def isnan(self, a: Ref) -> Ref:
        """a is not a number."""
        return self.call("isnan", a)

    def both(self, a: Ref, b: Ref) -> Ref:
        """Both masks."""
        return self.call("both", a, b)

    def either(self, a: Ref, b: Ref) -> Ref:
        """One of two masks."""
        return self.call("either", a, b)

    def negate(self, a: Ref) -> Ref:
        """The opposite mask."""
        return self.call("negate", a)

    def where(self, m: Ref, a: Ref, b: Ref) -> Ref:
        """a where the mask holds, else b."""
        return self.call("where", m, a, b)


def text_of_call(call: Call) -> str:
    """The text of one pointwise call; its inputs are ``x0``, ``x1`` and on."""
    ops = PointwiseText()
    assert call.opdef.scalar is not None
    return ops.text(call.opdef.scalar(ops, call, *(ops.operand(i) for i in range(call.n_inputs))))


def text_of_body(body: Graph) -> str:
    """The text of a body's first output; its inputs are ``x0``, ``x1`` and on, its constants of one element numbers.

    Raises ``VerifyError`` for an operator that is not pointwise.
    """
    ops = PointwiseText()
    return ops.text(apply_body(ops, body, [ops.operand(i) for i in range(len(body.inputs))]))


@dataclass(frozen=True)
class Pointwise:
    """An epilogue for a kernel: its text, and the kind of each operand ``x1``, ``x2`` ... (``x0`` is the bare result).

    kind ``same``: the result's shape; ``channel``: a vector along axis 1 of the result; ``scalar``: one element.
    """

    text: str
    kinds: tuple[str, ...]

    @staticmethod
    def of_epilogue(node: Node) -> Pointwise:
        """The epilogue of a node, the identity where it has none.

        Raises ``LoweringError`` where an operand is of no kind.
        """
        n = n_epilogue_operands(node)
        body = node.attrs.get("epilogue")
        if not isinstance(body, Graph):
            return Pointwise("y=x0", ())
        operands = node.operands[len(node.operands) - n :]
        shape = node.results[0].type.static_shape
        kinds = tuple(_kind(v, aligned_input(body, i + 1), shape) for i, v in enumerate(operands))
        for i, kind in enumerate(kinds):
            if not kind:
                raise LoweringError(
                    f"{node.location}: operand {i + 1} of the epilogue of {node.op} has no usable shape"
                )
        return Pointwise(text_of_body(body), kinds)


def aligned_input(body: Graph, i: int) -> tuple[int, ...] | None:
    """The shape under which input ``i`` of a body broadcasts with its result; None where its uses disagree."""
    value = body.inputs[i]
    shapes = {aligned_shape(Call(node), port) for node, port in value.uses} or {value.type.shape}
    return _static(shapes.pop()) if len(shapes) == 1 else None


def _static(shape: tuple[Dim, ...] | None) -> tuple[int, ...] | None:
    known = tuple(d for d in shape if isinstance(d, int)) if shape is not None else None
    return known if known is not None and shape is not None and len(known) == len(shape) else None


def _kind(value: Value | None, aligned: tuple[int, ...] | None, shape: tuple[int, ...]) -> str:
    if value is None or aligned is None or len(aligned) > len(shape):
        return ""
    if aligned == shape and not value.is_constant:
        return "same"
    if math.prod(aligned) == 1:
        return "scalar"
    full = (1,) * (len(shape) - len(aligned)) + aligned
    if len(shape) > 1 and full[1] == shape[1] == math.prod(full):
        return "channel"
    return "same" if aligned == shape else ""


_ASSIGNMENT = re.compile(r"(t\d+|y)=(?:(\w+)\(([^()]*)\)|(\w+))")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|inf)|nan")


def emit(
    text: str, names: Sequence[str], prefix: str, functions: Mapping[str, str], number: str
) -> tuple[list[str], str]:
    """Lines of kernel source that compute a text, and the name or expression of the result.

    names: variables that hold ``x0``, ``x1`` and on. prefix: of the temporaries, to keep copies of a text apart.
    functions: operation of the text -> its spelling in the target's vocabulary; number: that of a constant. Raises
    ``LoweringError`` for text of no such form.
    """
    known = {f"x{i}": name for i, name in enumerate(names)}
    lines: list[str] = []
    for statement in text.split(";"):
        m = _ASSIGNMENT.fullmatch(statement)
        if not m or (m.group(2) is not None and m.group(2) not in functions):
            raise LoweringError(f"not a pointwise statement: {statement!r}")
        left, function, args, alone = m.groups()
        if alone is not None:
            known[left] = _argument(alone, known, number)
            continue
        values = [_argument(a, known, number) for a in args.split(",")]
        if len(values) != functions[function].count("{}"):
            raise LoweringError(f"wrong number of operands: {statement!r}")
        known[left] = prefix + left
        lines.append(f"{prefix}{left} = {functions[function].format(*values)}")
    if "y" not in known:
        raise LoweringError(f"a pointwise text without result: {text!r}")
    return lines, known["y"]


def _argument(text: str, known: Mapping[str, str], number: str) -> str:
    if text in known:
        return known[text]
    if not _NUMBER.fullmatch(text):
        raise LoweringError(f"not a pointwise operand: {text!r}")
    spelled = {"inf": "1e999", "-inf": "-1e999", "nan": "1e999 - 1e999"}
    return number.format(spelled.get(text, text))
