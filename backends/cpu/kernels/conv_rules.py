"""The rules for convolutions: the cheapest way is found before its weights are packed."""

from __future__ import annotations

from graphc.backends.cpu.kernels import conv, conv_depthwise, winograd_rules
from graphc.backends.cpu.kernels.conv import Convolution
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.schedule import Choice


def choose(call: Call, target: CpuTarget) -> Choice | None:
    """The predicted best way; None where weights are not constant or layouts do not fit."""
    c = Convolution.of(call)
    if c is None:
        return None
    ways = [
        *conv.candidates(call, c, target),
        *winograd_rules.candidates(call, c, target),
        *conv_depthwise.candidates(call, c, target),
    ]
    return min(ways, key=lambda way: way.cost).make() if ways else None


RULES = (
    Rule("conv_direct", conv.OPS, choose, conv.needs, conv.bind, half=True),
    conv_depthwise.RULE,
    *winograd_rules.RULES,
)
