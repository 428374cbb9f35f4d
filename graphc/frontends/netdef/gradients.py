"""Gradients of a NetDef, as Caffe2's ``Net.AddGradientOperators`` appends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.frontends.netdef.net import Device, Net, Operator
from graphc.ir import NamedCall, differentiate
from graphc.ir.backward_pass import BackwardPass, Rename, Rule
from graphc.ir.gradient import Gradient, gradient_of

SUM_MARK = "is_auto_gen_sum_ops:1"
"""What Caffe2 adds to the device of an operator that adds gradients up."""


ONLY_SUM_MARK = "only_keep_is_auto_gen_sum_ops_tag:1"
"""Where the device of a gradient's operator has this, what adds the gradient up has ``SUM_MARK`` and nothing else."""


def add_gradient_operators(
    net: Net, losses: Sequence[str] | Mapping[str, Gradient], skip: int = 0, rule: Rule = gradient_of
) -> dict[str, str | tuple[str, str]]:
    """Append the operators that compute the gradients of ``losses`` to a net.

    losses: blobs of the net; a mapping gives the blob that holds the gradient of each (indices and values of a sparse
    one), None for ones. skip: the first operators, to pass over, such as those that read data. rule: what gives the
    gradient operators of a call. Gives the gradient of every blob that has one: its blob, or the indices and the values
    of a sparse one. Types, names, arguments, devices and order are Caffe2's, but where it would compute a wrong
    gradient (``ir/backward_pass.py`` lists the cases). Raises ``VerifyError``, naming operator and blob, where there is
    no gradient; the net is unchanged then.
    """
    made, found = gradient_operators(net.ops[skip:], losses, rule)
    net.ops += made
    return found.gradients


def gradient_operators(
    operators: Sequence[Operator],
    losses: Sequence[str] | Mapping[str, Gradient],
    rule: Rule = gradient_of,
    rename: Rename | None = None,
    adds_given: bool = True,
) -> tuple[list[Operator], BackwardPass]:
    """The operators that compute the gradients of ``losses``, and what else ``differentiate`` says."""
    found = differentiate(list(map(_call, operators)), losses, rule, rename, adds_given)
    return list(map(_operator, found.operators)), found


def _call(op: Operator) -> NamedCall:
    return NamedCall(op.type, tuple(op.inputs), tuple(op.outputs), op.args, op.engine, op.device or "")


def named_operator(call: NamedCall) -> Operator:
    """A call as an operator of a net."""
    return Operator(
        call.type,
        list(call.inputs),
        list(call.outputs),
        dict(call.args),
        engine=call.engine,
        device=call.device or None,
        is_gradient=call.role == "gradient",
    )


def _operator(call: NamedCall) -> Operator:
    op = named_operator(call)
    if call.role == "accumulation":
        device = op.device if op.device and ONLY_SUM_MARK not in op.device.extra_info else Device()
        op.device = replace(device, extra_info=(*device.extra_info, SUM_MARK))
    return op
