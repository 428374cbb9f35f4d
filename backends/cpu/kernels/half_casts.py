"""FloatToHalf and HalfToFloat of Caffe2: a vector at a time, by the words of half precision."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cpu.kernels.pointwise import bind_text, make_spec
from graphc.backends.cpu.rules import Rule
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.needs import nothing
from graphc.ir.opdef import Call
from graphc.ir.ops._half import LARGEST_HALF
from graphc.ir.schedule import Address, Choice, Step, View
from graphc.ir.types import PLAIN

CLIPPED = f"t0=max({-LARGEST_HALF},x0);y=min({LARGEST_HALF},t0)"
"""What is not a number stays so."""


def _text(call: Call) -> str:
    return CLIPPED if call.node.op == "FloatToHalf" and call.arg("clip") else "y=x0"


def _halves(call: Call) -> tuple[str, str]:
    """Suffixes of result and operand."""
    return ("_h", "") if call.node.op == "FloatToHalf" else ("", "_h")


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    if not call.type(0).is_static or call.type(0).layout != PLAIN:
        return None
    return Choice("half_cast", make_spec(_text(call), "v", False, _halves(call)), cost=call.type(0).size / 10)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x = ins[0]
    assert x is not None
    return bind_text(_text(call), [x], [x.type.static_shape], outs[0], call.node.results[0].name, target)


RULES = (Rule("half_cast", ("FloatToHalf", "HalfToFloat"), _choose, nothing, _bind),)
