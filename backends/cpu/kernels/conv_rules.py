"""The rules for convolutions: the cheapest way is found before its weights are packed."""

from __future__ import annotations

from graphc.backends.cpu.kernels import conv, winograd_rules
from graphc.backends.cpu.kernels.conv import Convolution
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.schedule import Choice


def choose(call: Call, target: CpuTarget) -> Choice | None:
    """The predicted best way; None where weights are not constant or layouts do not fit."""
    c = Convolution.of(call)
    if c is None or not conv.layouts_fit(c, target) or (len(c.shape) != 4 and any(c.window.pads)):
        return None
    ways = [conv.candidate(call, c, target), *winograd_rules.candidates(call, c, target)]
    return min(ways, key=lambda way: way.cost).make()


RULES = (Rule("conv_direct", conv.OPS, choose, conv.needs, conv.bind), *winograd_rules.RULES)
