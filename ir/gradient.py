"""The operators that compute the gradient of one operator, as Caffe2's gradient makers give them.

A record's ``gradient`` says them in one of three forms:

- text, for most: ``"Scale: GO0 -> GO0 +{scale=2.0}; Mul: GO0 I0 -> GI0"``. Operators are separated by semicolons.
  ``I0``, ``O0``: input and output 0; ``GO0``: the gradient of output 0; ``GI0``: that of input 0, which this defines;
  ``GV0@I1``: the values of a sparse gradient of input 0, whose indices are input 1. ``I2?``: if it is there. ``I*``,
  ``I2*``: all inputs, those from 2 on; ``GO*``: all that are given. ``_{GI0}_dims``: a name made from another.
  The operator's arguments are copied; ``+{a=1}`` adds to them, ``{a=1}`` is in their place. ``GI0 = GO0`` needs no
  operator: the gradient is passed on;
- a function of a ``GradientMaker``, where arguments or the number of blobs decide;
- ``none``: nothing flows back, and that is no error. Without any of them asking for a gradient is one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from graphc.ir.attrs import Attr
from graphc.ir.builder import attr_of
from graphc.ir.errors import VerifyError
from graphc.ir.graph import Node
from graphc.ir.opdef import lookup

Gradient = str | tuple[str, str] | None
"""A gradient by name: a blob; indices and values of a sparse one; None where there is none."""

NO_GRADIENT = "none"


@dataclass(frozen=True)
class NamedCall:
    """An operator call by the names of its blobs, as a NetDef has it. args: values as in ``Node.attrs``.

    device: text as in ``Node.device``, or what a frontend has for it, whose text that is. role: ``gradient`` of what a
    gradient rule makes, ``accumulation`` of what adds gradients up, empty of other operators.
    """

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    args: Mapping[str, Attr] = field(default_factory=dict)
    engine: str = ""
    device: Any = ""
    role: str = ""

    @staticmethod
    def of(node: Node) -> NamedCall:
        """The call of a node; an absent operand has an empty name."""
        inputs = tuple("" if v is None else v.name for v in node.operands)
        return NamedCall(
            node.op, inputs, tuple(r.name for r in node.results), dict(node.attrs), node.engine, node.device
        )

    @property
    def attrs(self) -> dict[str, Attr]:
        """The arguments that the operator's record lists; a gradient operator has all of its forward operator's."""
        record = lookup(self.type)
        return {name: value for name, value in self.args.items() if record.has_arg(name)}


def gradient_of(call: NamedCall | Node, d_outputs: Sequence[Gradient]) -> tuple[list[NamedCall], list[Gradient]]:
    """The operators that compute the gradients of a call's inputs, and the names of these.

    d_outputs: gradients of the outputs; None: nothing flows back into that one. Device and engine are the call's.
    Raises ``VerifyError`` where Caffe2 has no gradient for the operator or for this call of it.
    """
    named = NamedCall.of(call) if isinstance(call, Node) else call
    maker = GradientMaker(named, list(d_outputs))
    rule = lookup(named.type).gradient
    if rule is None:
        maker.fail("the operator has no gradient", "put a StopGradient behind it, or leave it out of the loss")
    elif callable(rule):
        rule(maker)
    elif rule != NO_GRADIENT:
        _apply_text(rule, maker)
    return maker.operators, maker.d_inputs


class GradientMaker:
    """What a gradient rule sees of a call, and where it puts what it makes."""

    def __init__(self, call: NamedCall, d_outputs: list[Gradient]) -> None:
        self.call = call
        self.d_outputs = d_outputs
        self.operators: list[NamedCall] = []
        self.d_inputs: list[Gradient] = [None] * len(call.inputs)

    @property
    def n_inputs(self) -> int:
        """Number of inputs of the call."""
        return len(self.call.inputs)

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the call."""
        return len(self.call.outputs)

    def input(self, i: int) -> str:
        """Name of input ``i``; fails if it is absent."""
        return self._at(self.call.inputs, i, "input")

    def output(self, i: int) -> str:
        """Name of output ``i``; fails if it is absent."""
        return self._at(self.call.outputs, i, "output")

    def d_output(self, i: int) -> str:
        """Name of the gradient of output ``i``; fails where it is not given or sparse."""
        name = self.output(i)
        given = self.d_outputs[i] if i < len(self.d_outputs) else None
        if not isinstance(given, str):
            self.fail(f"the gradient of its output '{name}' is {'sparse' if given else 'not given'}")
        return given

    def d_input(self, i: int) -> str:
        """Name of the gradient of input ``i``, which it has from now on: ``x_grad``."""
        name = f"{self.input(i)}_grad"
        self.d_inputs[i] = name
        return name

    def d_values(self, i: int, indices: str) -> str:
        """Name of the values of input ``i``'s gradient, which is sparse with these indices from now on."""
        name = f"{self.input(i)}_grad_values"
        self.d_inputs[i] = (indices, name)
        return name

    def arg(self, name: str, default: Any = None) -> Any:
        """Value of an argument as it was given, else ``default``."""
        return self.call.args.get(name, default)

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        args: Mapping[str, Any] | None = None,
        copy: bool = True,
    ) -> None:
        """Append an operator. args: its own arguments, beside those of the call (copy) or alone."""
        own = {name: attr_of(value) for name, value in (args or {}).items()}
        given = {**own, **{k: v for k, v in self.call.args.items() if k not in own}} if copy else own
        call = self.call
        self.operators.append(NamedCall(op, tuple(inputs), tuple(outputs), given, call.engine, call.device, "gradient"))

    def fail(self, message: str, help: str = "") -> NoReturn:
        """Raise ``VerifyError`` naming the operator and its blobs."""
        call = self.call
        raise VerifyError(
            f"gradient of {call.type} ({', '.join(call.inputs)}) -> {', '.join(call.outputs)}: {message}", help
        )

    def _at(self, names: Sequence[str], i: int, what: str) -> str:
        if i >= len(names) or not names[i]:
            self.fail(f"its schema asks for {what} {i}, but it has {len(names)}")
        return names[i]


def _apply_text(text: str, maker: GradientMaker) -> None:
    for part in text.split(";"):
        head, passes_on, source = part.partition(" = ")
        if passes_on:
            for i in _numbers(head.strip()[2:], maker.n_inputs):
                maker.d_inputs[i] = maker.d_output(int(source.strip()[2:]))
            continue
        op, inputs, outputs, sign, args = _parts(part)
        names = [n for token in inputs for n in _names(token, maker)]
        maker.emit(op, names, [n for token in outputs for n in _names(token, maker)], args, copy=sign != "=")


def _parts(text: str) -> tuple[str, list[str], list[str], str, dict[str, Any]]:
    """Operator, inputs, outputs, ``+`` or ``=`` (own arguments alone), own arguments of ``Op: a b -> c +{k=v}``."""
    m = re.fullmatch(r"\s*(\w+):\s*(.*?)\s*->\s*(.*?)\s*(?:(\+?)\{([^{}]*)\})?\s*", text)
    if m is None:
        raise ValueError(f"not a gradient: {text!r}")
    op, inputs, outputs, plus, body = m.groups()
    items = [item.partition("=") for item in (body or "").split(",") if item]
    args = {name.strip(): ast.literal_eval(value) for name, _, value in items}
    return op, inputs.split(), outputs.split(), "=" if body is not None and not plus else "+", args


def link_operators(text: str) -> list[str]:
    """The operators that a gradient in text form consists of."""
    return [_parts(part)[0] for part in text.split(";") if " = " not in part]


def _names(token: str, maker: GradientMaker) -> Iterator[str]:
    """The names that a token of the text stands for."""
    m = re.fullmatch(r"(GI|GO|I|O)(\d*)([*?]?)", token)
    if m is None:
        yield _composed(token, maker)
        return
    kind, number, mark = m.groups()
    if mark == "*":
        for i in _numbers(number + mark, maker.n_outputs if "O" in kind else maker.n_inputs):
            if kind != "GO" or maker.d_outputs[i] is not None:
                yield _name(kind, i, maker)
    elif mark != "?" or int(number) < (maker.n_outputs if "O" in kind else maker.n_inputs):
        yield _name(kind, int(number), maker)


def _numbers(text: str, count: int) -> range:
    """``2``: 2; ``*``: all; ``2*``: those from 2 on."""
    first = int(text.rstrip("*") or 0)
    return range(first, count if text.endswith("*") else first + 1)


def _name(kind: str, i: int, maker: GradientMaker) -> str:
    return {"I": maker.input, "O": maker.output, "GO": maker.d_output, "GI": maker.d_input}[kind](i)


def _composed(token: str, maker: GradientMaker) -> str:
    """``GV0@I1``, and names with others in braces: ``_{GI0}_dims``."""
    m = re.fullmatch(r"GV(\d+)@I(\d+)", token)
    if m:
        return maker.d_values(int(m.group(1)), maker.input(int(m.group(2))))
    return re.sub(r"\{(I|O|GO|GI)(\d+)\}", lambda part: _name(part.group(1), int(part.group(2)), maker), token)
