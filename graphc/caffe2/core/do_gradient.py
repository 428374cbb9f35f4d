"""The gradient of Do: a Do that runs the gradients of the net's operators in the workspace that the forward Do left.

Names inside and outside are Caffe2's (``control_ops_grad.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.caffe2.core.gradient_rules import plain_operators
from graphc.caffe2.core.nested_gradients import (
    Gradients,
    given_gradients,
    gradient_net,
    net_argument,
    net_gradients,
    operator,
    refuse,
)
from graphc.caffe2.workspace.errors import enforced
from graphc.frontends.netdef.schema import Message
from graphc.frontends.netdef.scopes import bindings

INNER = "/_DO_OPERATOR_INNER_GRAD_"
"""Behind a blob's name inside: the gradient that comes from outside."""
COPIED = "/_DO_OPERATOR_INNER_GRAD_COPY_"
"""Behind a blob's name inside: the gradient that goes outside."""


def gen_do_gradient(op: Message, g_output: Sequence[Any]) -> tuple[list[Message], list[str | None]]:
    """The gradient operators of a Do, and the gradients of its inputs; raises ``EnforceError``.

    The gradient of an input ``x`` is ``x_grad``, but ``x_before_grad`` where that of an output has this name.
    """
    outer = _outer_names(op)
    inner = {name: inside for inside, name in outer.items()}
    net = net_argument(op, "net")
    if net is None:
        refuse(op, "argument 'net' is missing", "give the operator a net")
    made, unique = dedupe_g_output(op, g_output)
    incoming = {inner[name] + INNER: g for name, g in given_gradients(op, unique).items()}
    operators, found = net_gradients(
        op, net, {name.removesuffix(INNER): name for name in incoming}, [inner[x] for x in op.input[:-1]]
    )
    passed = {x: found[inner[x]] for x in op.input[:-1] if inner[x] in found}
    if not passed:
        return [], [None] * len(op.input)
    gradients = {x: _outer_gradient(x, incoming.values()) for x in passed}
    operators += [operator(op, "Copy", [g], [inner[x] + COPIED]) for x, g in passed.items()]
    bound = {**outer, **incoming, **{inner[x] + COPIED: g for x, g in gradients.items()}}
    made.append(_gradient_do(op, net, operators, list(gradients.values()), bound))
    return made, [gradients.get(name) for name in op.input]


def _gradient_do(
    op: Message, net: Message, operators: list[Message], outputs: list[str], bound: Mapping[str, str]
) -> Message:
    """The operator. bound: inner name -> outer name, of what it may read and of what it writes."""
    written = set[str]()
    used, saved = Gradients(), dict[str, None]()
    for inside in operators:
        for name in inside.input:
            if name in written:
                continue
            if name in bound:
                used[name] = bound[name]
            else:
                saved[name] = None
        written.update(inside.output)
    inputs = list(dict.fromkeys(used.values()))
    used |= {name: g for name, g in bound.items() if g in outputs}
    around, scope = [*inputs, *outputs], op.output[-1]
    return operator(
        op,
        "Do",
        [*inputs, scope],
        [*outputs, scope],
        net=gradient_net(net, operators),
        inner_blobs=list(used),
        outer_blobs_idx=[around.index(g) for g in used.values()],
        saved_fwd_blobs=list(saved),
    )


def _outer_names(op: Message) -> dict[str, str]:
    """Inner name -> outer name, each outer one once; raises ``EnforceError``."""
    if not op.output or op.input[-1:] != op.output[-1:]:
        refuse(op, "its last input and output are not one scope", "make one with CreateScope")
    with enforced():
        names = bindings(plain_operators([op])[0])
    around = {*op.input[:-1], *op.output[:-1]}
    if sorted(names.values()) != sorted(around):
        refuse(op, "inner_blobs does not name each of its inputs and outputs once", "bind each blob to one name inside")
    return names


def _outer_gradient(name: str, taken: Any) -> str:
    return f"{name}_grad" if f"{name}_grad" not in taken else f"{name}_before_grad"


def dedupe_g_output(op: Message, g_output: Sequence[Any]) -> tuple[list[Message], list[Any]]:
    """Operators that copy gradients which several outputs share, and the gradients of the outputs, each its own."""
    made: list[Message] = []
    names: dict[str, str] = {}
    for output, gradient in zip(op.output, g_output):
        if gradient is None or output in names:
            continue
        names[output] = str(gradient)
        if str(gradient) in [g for other, g in names.items() if other != output]:
            names[output] = f"{output}_{gradient}_DEDUP"
            made.append(operator(op, "Copy", [str(gradient)], [names[output]]))
    return made, [g if g is None or isinstance(g, tuple) else names[o] for o, g in zip(op.output, g_output)]
