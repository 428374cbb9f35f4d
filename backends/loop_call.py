"""How a kernel made of a record's loop is called: the types of its arrays, and its numbers as parameters."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any

from graphc.backends.rules import float_bits
from graphc.backends.vocabulary import ELEMENTS
from graphc.ir.loops import loop_dtype, loop_inputs, loop_types
from graphc.ir.opdef import Call, Seed
from graphc.ir.schedule import Address, KernelSpec, Param, View
from graphc.ir.types import TensorType

ABSENT = "-"
"""The code of an absent array."""
NOTHING = "array_f4(0, (0,))"
"""An absent array as source."""
LISTS = ("I", "F")
RUN_TIME = ("i", "f", *LISTS)
WIDTHS = {"s": 2} | dict.fromkeys(RUN_TIME, 1)
FEW = re.compile(r"([1-9]\d?)([if])")
"""A tuple."""


def width(code: str) -> int:
    """The number of parameters that an argument has, besides the elements of a list."""
    few = FEW.fullmatch(code)
    return int(few[1]) if few else WIDTHS.get(code, 0)


def code_of(type: TensorType) -> str | None:
    """``f4:2`` for two dimensions of float32; None for types that a loop cannot have."""
    if type.dtype is None or type.layout.block > 1:
        return None
    code = loop_dtype(type.dtype).str[1:]
    return f"{code}:{len(type.static_shape)}" if code in ELEMENTS else None


def spec_parts(call: Call) -> dict[str, str] | None:
    """The static parameters ``op``, ``ins``, ``outs``, ``work``, ``args`` of a kernel made of the call's loop.

    None where no kernel can have its types or arguments.
    """
    arguments = argument_codes(call)
    ins = [ABSENT if t is None else code_of(t) for t in loop_inputs(call)]
    outs = [code_of(t) for t in _result_types(call) if t is not None]
    work = [code_of(t) for t in _work_types(call)]
    if call.opdef.loop is None or arguments is None or None in ins or None in outs or None in work:
        return None
    parts: dict[str, Sequence[str | None]] = {"ins": ins, "outs": outs, "work": work, "args": arguments}
    return {"op": call.node.op} | {k: ";".join(map(str, v)) for k, v in parts.items()}


def codes_of(spec: KernelSpec) -> tuple[list[str], list[str], list[str], list[str]]:
    """The codes of inputs, outputs, scratch arrays and arguments of a specification that has ``spec_parts``."""
    ins, outs, work, args = (
        str(spec[side]).split(";") if spec[side] else [] for side in ("ins", "outs", "work", "args")
    )
    return ins, outs, work, args


Placed = tuple[Address, TensorType]


def placed_arrays(
    call: Call, ins: Sequence[View | None], outs: Sequence[View], workspace: Address
) -> tuple[list[Placed], list[Placed], list[Placed]]:
    """Where the arrays of a loop lie, in the order of its codes, absent ones left out: inputs, outputs, scratch."""
    found: list[list[Placed]] = [[], [], []]
    sides = (ins[: call.n_inputs], loop_inputs(call)), (outs, _result_types(call))
    for side, (views, types) in zip(found, sides):
        side += [(v.address, t) for v, t in zip(views, types) if v is not None and t is not None]
    found[2] += [(v.address, v.type) for v in ins[call.n_inputs :] if v is not None]
    for type in call.opdef.scratch(call) if call.opdef.scratch else ():
        found[2].append((workspace, type))
        workspace = workspace.plus(room(type))
    return found[0], found[1], found[2]


def argument_params(call: Call, codes: Sequence[str]) -> list[Param]:
    """The parameters that the arguments of these codes have, besides the elements of lists."""
    return [n for code, value in zip(codes, call.opdef.loop_arguments(call)) for n in passed(code, value)]


def _result_types(call: Call) -> list[TensorType | None]:
    return loop_types(call.opdef.outputs, [r.type for r in call.node.results])


def _work_types(call: Call) -> list[TensorType]:
    """The arrays after the outputs: scratch, or what a size pass made."""
    carried = [v.type for v in call.node.operands[call.n_inputs :] if v is not None]
    return carried or list(call.opdef.scratch(call) if call.opdef.scratch else ())


LONG = 64
"""Tuples of more numbers are arrays among the parameters: Numba compiles long ones slowly, and none of 1000."""


def argument_codes(call: Call) -> list[str] | None:
    """Of each argument ``i`` or ``f`` for a number passed at run time, ``s`` for a seed, ``3i`` or ``3f`` for a tuple
    of three, ``I`` or ``F`` for a list or long tuple, which is an array, or a literal: nothing, an empty tuple, one of
    both kinds.

    None if one is text or a graph.
    """
    codes = []
    for value in call.opdef.loop_arguments(call):
        if not _isnumber_of(value):
            return None
        kinds = {"f" if isinstance(v, float) else "i" for v in value} if isinstance(value, (tuple, list)) else set()
        if isinstance(value, (tuple, list)) and _is_long(value):
            codes.append("F" if "f" in kinds else "I")
        elif len(kinds) == 1:
            codes.append(f"{len(value)}{kinds.pop()}")
        else:
            codes.append({int: "i", bool: "i", float: "f", Seed: "s"}.get(type(value)) or _text(value))
    return codes


def _is_long(value: Sequence[float]) -> bool:
    return isinstance(value, list) or len(value) > LONG


def _isnumber_of(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(isinstance(v, (int, float)) and not math.isnan(v) for v in value)
    return value is None or isinstance(value, (int, float))


def _text(value: object) -> str:
    return f"({''.join(_written(v) + ',' for v in value)})" if isinstance(value, tuple) else repr(value)


def _written(v: float) -> str:
    """A number as Python writes it, infinities as numbers beyond all others."""
    return repr(v) if math.isfinite(v) else "1e999" if v > 0 else "-1e999"


def operand(names: str | tuple[str, ...]) -> str:
    """An array or a tuple of arrays as source."""
    return names if isinstance(names, str) else f"({''.join(n + ', ' for n in names)})"


def literal(text: str) -> str:
    """A literal as source. A specification may come from a plan file: ``ValueError`` for anything else."""
    ast.literal_eval(text)
    return ast.unparse(ast.parse(text, mode="eval"))


def passed(code: str, value: Any) -> list[Param]:
    """An argument as parameters: the bits of floats, a list's length, nothing for what the specification has; behind a
    seed the number of the run."""
    if code == "s":
        return [int(value), Address("run")]
    if code in LISTS:
        return [len(value)]
    return [number_of(v, code[-1]) for v in (value if FEW.fullmatch(code) else [value])] if width(code) else []


def number_of(value: float, kind: str) -> int:
    """A number as a parameter."""
    return float_bits(float(value)) if kind == "f" else int(value)


def scratch_bytes(call: Call) -> int:
    """Bytes of the scratch arrays of a call."""
    return 0 if call.opdef.scratch is None else sum(room(t) for t in call.opdef.scratch(call))


def room(type: TensorType) -> int:
    """Bytes that a scratch array takes up."""
    return max(-(-type.nbytes // 64), 1) * 64  # an array without elements has an address as well
