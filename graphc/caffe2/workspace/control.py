"""If and While that cannot be part of a plan (``stages.py`` says which)."""

from __future__ import annotations

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.frontends.netdef.net import Net


def _net(call: HostCall, name: str) -> Net | None:
    net = call.op.args.get(name)
    return net if isinstance(net, Net) and net.ops else None


def _is_true(call: HostCall) -> bool:
    value = np.asarray(call.read(0))
    if value.dtype != np.bool_ or value.size != 1:
        call.fail(f"its condition '{call.op.inputs[0]}' is {value.dtype} of {value.size} elements", "give one bool")
    return bool(value.reshape(-1)[0])


@host_operator("If")
def run_if(call: HostCall) -> None:
    """Run ``then_net`` or ``else_net``."""
    net = _net(call, "then_net" if _is_true(call) else "else_net")
    if net is not None:
        call.run_net(net)


@host_operator("While")
def run_while(call: HostCall) -> None:
    """Run ``cond_net`` and ``loop_net`` while the condition is true."""
    condition, loop = _net(call, "cond_net"), _net(call, "loop_net")
    while True:
        if condition is not None:
            call.run_net(condition)
        if not _is_true(call):
            return
        if loop is not None:
            call.run_net(loop)
