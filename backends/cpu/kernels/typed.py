"""Pointwise operators on integers, booleans and float64, comparisons and conversions: one element at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from graphc.backends.broadcast import full_shape, inputs, nbytes, operand_strides
from graphc.backends.cpu.kernels import nest
from graphc.backends.cpu.kernels.nest import Nest
from graphc.backends.cpu.pointwise import emit as emit_text
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.pointwise import text_of_call
from graphc.ir.opdef import Call, Trait
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

EXACT = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "neg": "(-{})",
    "fma": "({} * {} + {})",
    "max": "larger({}, {})",
    "min": "smaller({}, {})",
    "abs": "abs({})",
    "lt": "({} < {})",
    "le": "({} <= {})",
    "eq": "({} == {})",
    "both": "({} and {})",
    "either": "({} or {})",
    "negate": "(not {})",
    "where": "chosen({}, {}, {})",
    "bits_and": "({} & {})",
    "bits_or": "({} | {})",
    "bits_xor": "({} ^ {})",
}
"""Operations of a text -> Python on numbers of any type."""
FLOATING = {"div": "({} / {})", "sqrt": "math.sqrt({})", "isnan": "unordered({})"}
"""What only float32 and float64 have."""
SINGLE = {n: f"s{n}({{}})" for n in ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round")}
SINGLE["pow"] = "spow({}, {})"
"""What only float32 has."""
DOUBLE = {n: f"math.{n}({{}})" for n in ("exp", "log", "tanh", "erf", "sin", "cos")}
DOUBLE |= {"sigmoid": "(1.0 / (1.0 + math.exp(-{})))", "pow": "math.pow({}, {})"}
"""The same for float64."""
HELPERS = {
    "larger": "def larger(a, b):\n    return a if a > b else b\n",
    "smaller": "def smaller(a, b):\n    return a if a < b else b\n",
    "chosen": "def chosen(m, a, b):\n    return a if m else b\n",
    "unordered": "def unordered(a):\n    return a != a\n",
}
TEXTS = {
    "EQ": "y=eq(x0,x1)",
    "NE": "t0=eq(x0,x1);y=negate(t0)",
    "LT": "y=lt(x0,x1)",
    "LE": "y=le(x0,x1)",
    "GT": "y=lt(x1,x0)",
    "GE": "y=le(x1,x0)",
    "And": "y=both(x0,x1)",
    "Or": "y=either(x0,x1)",
    "Xor": "t0=eq(x0,x1);y=negate(t0)",
    "BitwiseAnd": "y=bits_and(x0,x1)",
    "BitwiseOr": "y=bits_or(x0,x1)",
    "BitwiseXor": "y=bits_xor(x0,x1)",
    "Not": "y=negate(x0)",
    "IsNaN": "y=isnan(x0)",
    "Cast": "y=x0",
    "Where": "y=where(x0,x1,x2)",
}
"""Operators whose records have no scalar meaning, or one that gives a truth value."""
CODES = {
    DType.FLOAT: "f4",
    DType.DOUBLE: "f8",
    DType.INT32: "i4",
    DType.INT64: "i8",
    DType.BOOL: "b1",
    DType.UINT8: "u1",
    DType.INT8: "i1",
    DType.INT16: "i2",
    DType.UINT16: "u2",
}


def functions(types: Sequence[str]) -> dict[str, str]:
    """The operations that a kernel on elements of these types offers."""
    table = dict(EXACT)
    if all(t[0] == "f" for t in types):
        table |= FLOATING
    if all(t == "f4" for t in types):
        table |= SINGLE
    if all(t == "f8" for t in types):
        table |= DOUBLE
    return table


def _whole_numbers(text: str) -> str:
    """The numbers of a text without their ``.0``: a float among integers would make float64 of int64."""
    return re.sub(r"(?<=[=(,])(-?\d+)\.0(?=[,);]|$)", r"\1", text)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``typed{body, types}``, the result's type first; parameters: the nest, then strides along the run."""
    types, text = str(spec["types"]).split(","), str(spec["body"])
    text = text if any(t[0] == "f" for t in types[1:]) else _whole_numbers(text)
    names = ["y", *(f"x{i}" for i in range(len(types) - 1))]
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        last = nest.head(s, names)
        for i, name in enumerate(names):
            s(f"{name}_i = ld(p, {last + i})")
        with s.block("for u in range(lo, hi):"):
            nest.decode(s, names)
            with s.block("for r in range(top, bottom):"):
                with s.block("for i in range(start, stop):"):
                    for i, code in enumerate(types[1:]):
                        s(f"v{i} = {_load(code, f'x{i}')}")
                    lines, result = emit_text(
                        text, [f"v{i}" for i in range(len(types) - 1)], "e_", functions(types[1:]), _number(types[1:])
                    )
                    for line in lines:
                        s(line)
                    _store(s, types[0], result)
                for name in names:
                    s(f"{name}_o += {name}_r")
    return "".join(h for name, h in HELPERS.items() if name in s.text()) + s.text()


def _load(code: str, name: str) -> str:
    at = f"{name}_o + i * {name}_i"
    return f"(ld_u1({name}, {at}) != 0)" if code == "b1" else f"ld_{code}({name}, {at})"


def _number(types: Sequence[str]) -> str:
    """How a number is spelled: in float32 where everything is, so that nothing is computed in float64."""
    return "f4({})" if all(t == "f4" for t in types) else "{}"


def _store(s: Lines, code: str, result: str) -> None:
    """Conversion as in C; through int64 to the small types, so that what does not fit wraps."""
    at = "y_o + i * y_i"
    if code == "b1":
        s(f"st_u1(y, {at}, 1 if {result} else 0)")
    elif code in ("f4", "f8") or code == "i8":
        s(f"st_{code}(y, {at}, {result})")
    else:
        s(f"st_{code}(y, {at}, int({result}))")


def _text(call: Call) -> str | None:
    if call.node.op in TEXTS:
        return TEXTS[call.node.op]
    return text_of_call(call) if Trait.POINTWISE in call.opdef.traits_of(call) else None


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    result = call.node.results[0].type
    types = [result, *(call.type(i) for i in inputs(call))]
    codes = [CODES.get(t.dtype, "") if t.dtype else "" for t in types]
    if not all(codes) or any(t.layout.block > 1 for t in types):
        return None
    if any(_shape(call, i) is None for i in inputs(call)):
        return None
    text = _text(call)
    if text is None or not set(re.findall(r"(\w+)\(", text)) <= set(functions(codes[1:])):
        return None
    if codes[0][0] in "iu" and re.search(r"\d\.\d*[1-9]|e-", text):
        return None  # a fraction among integers: the reference computes in float64
    spec = KernelSpec.make("typed", body=text, types=",".join(codes))
    return Choice("typed", spec, cost=1000 + nbytes(call) + result.size * text.count("("))


def _shape(call: Call, i: int) -> tuple[int, ...] | None:
    """The shape of an operand among the result's dimensions; the condition of Where may have rows alone."""
    shape = call.type(i).static_shape
    if call.node.op == "Where":
        return shape + (1,) * (len(call.node.results[0].type.static_shape) - len(shape))
    return full_shape(call, i)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    present = inputs(call)
    views = [v for i in present if (v := ins[i]) is not None]
    strides = [operand_strides(v, _shape(call, i) or ()) for i, v in zip(present, views)]
    made = Nest.make(outs[0].type.static_shape, [outs[0].strides, *strides])
    if not made.sizes:
        made = Nest((1,), ((1,),) * (len(views) + 1))
    units = nest.cut(made.sizes[:-1], [s[:-1] for s in made.strides], made.sizes[-1])
    params = (*units.params([outs[0].address, *(v.address for v in views)]), *made.inner)
    size = outs[0].type.size
    name = call.node.results[0].name
    return [(Task(choice.spec, params, units.count, name, size, nbytes(call)),)] if units.count else []


_needs: Callable[[Call, Choice, CpuTarget], Needs] = lambda call, choice, target: Needs()
RULES = (Rule("typed", ("*pointwise*", *TEXTS), _choose, _needs, _bind),)
TEMPLATES = (Template("typed", emit),)
