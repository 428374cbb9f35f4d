"""Operators whose record gives a loop: the loop itself, compiled.

A kernel holds the source of the record's function and a wrapper that makes arrays of addresses. What the loop may say
is what ``vocabulary.py`` allows: plain statements on arrays and numbers, names of ``math``, NumPy's scalar types.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphc.backends.cpu.rules import Rule, Template, float_bits
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir import LoweringError
from graphc.ir.loops import is_fill, loop_dtype, loop_inputs, loop_operands, loop_types
from graphc.ir.opdef import Call, OpDef, Seed, lookup
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import TensorType

ELEMENTS = ("b1", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2")
"""NumPy's letters of the element types that ``arrays.py`` makes arrays of."""

ABSENT = "-"


class _Plain(ast.NodeTransformer):
    """Removes what has no effect on the meaning, annotations and docstrings, and writes out the module's numbers."""

    def __init__(self, scope: Mapping[str, object]) -> None:
        self.scope = scope

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A number of the module as a literal."""
        value = self.scope.get(node.id) if isinstance(node.ctx, ast.Load) else None
        if isinstance(value, (int, float)) and math.isfinite(value):
            return ast.copy_location(ast.Constant(value), node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """A function without annotations and docstring."""
        self.generic_visit(node)
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """An argument without annotation."""
        return ast.copy_location(ast.arg(node.arg), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """``x: int = 0`` as ``x = 0``."""
        plain = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(plain, node)


def loop_source(record: OpDef) -> str:
    """The source of a record's loop as a function called ``loop``, after the functions that it calls.

    Raises ``LoweringError`` where there is none.
    """
    assert record.loop is not None
    found: dict[str, str] = {}
    _collect(record, record.loop, "loop", found, {})
    return "\n\n".join(found.values()) + "\n"


Function = Callable[..., object]


def called_source(record: OpDef, functions: Mapping[str, Function]) -> str:
    """The source of functions that a record's loop calls, for kernels of other forms; raises ``LoweringError``."""
    found: dict[str, str] = {}
    seen: dict[str, Function] = {}
    for name, function in functions.items():
        if name not in seen:
            _collect(record, function, name, found, seen)
    return "\n\n".join(found.values()) + "\n"


def _collect(record: OpDef, function: Function, name: str, found: dict[str, str], seen: dict[str, Function]) -> None:
    """Put the source of a function into ``found``, after that of the plain functions that it calls."""
    if seen.setdefault(name, function) is not function:
        raise LoweringError(f"the loop of {record.name} calls two functions called {name}", "rename one of them")
    scope = function.__globals__
    constants = tuple((n, repr(scope[n])) for n in function.__code__.co_names if isinstance(scope.get(n), (int, float)))
    try:
        text, names = _plain_source(function, name, function is record.loop, constants)
    except (OSError, TypeError, SyntaxError) as error:
        raise LoweringError(
            f"the source of the loop of {record.name} cannot be read: {error}",
            "define it with def in a file of its own",
        ) from None
    for called in names:
        other = getattr(scope.get(called), "py_func", scope.get(called))  # under Numba's njit: what is under it
        if inspect.isfunction(other) and other is not function and called not in seen:
            _collect(record, other, called, found, seen)
    found[name] = text


@cache
def _plain_source(
    function: Function, name: str, is_loop: bool, constants: tuple[tuple[str, str], ...]
) -> tuple[str, tuple[str, ...]]:
    """The plain source of a function under a name, and the names in it, sorted.

    is_loop: it returns a number in any case. constants: the module's numbers that it names. Reading and writing out a
    source takes milliseconds, and many kernels are made of one. Raises ``OSError``, ``TypeError``, ``SyntaxError``.
    """
    definition = _Plain(function.__globals__).visit(_definition(function))
    definition.name = name
    if is_loop:
        _always_return(definition)
    names = sorted({n.id for n in ast.walk(definition) if isinstance(n, ast.Name)})
    return ast.unparse(ast.fix_missing_locations(definition)), tuple(names)


def _always_return(loop: ast.FunctionDef) -> None:
    """0 where a loop returns nothing, so that all its returns have one type."""
    for node in ast.walk(loop):
        if isinstance(node, ast.Return) and node.value is None:
            node.value = ast.Constant(0)
    loop.body.append(ast.Return(ast.Constant(0)))


def _definition(function: Function) -> ast.FunctionDef:
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError("it is no function definition")
    definition.decorator_list = []
    return definition


def _code(type: TensorType) -> str | None:
    """``f4:2`` for two dimensions of float32; None for types that a loop cannot have."""
    if type.dtype is None or type.layout.block > 1:
        return None
    code = loop_dtype(type.dtype).str[1:]
    return f"{code}:{len(type.static_shape)}" if code in ELEMENTS else None


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
        if not _is_number(value):
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


def _is_number(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(isinstance(v, (int, float)) and not math.isnan(v) for v in value)
    return value is None or isinstance(value, (int, float))


def _text(value: object) -> str:
    return f"({''.join(_written(v) + ',' for v in value)})" if isinstance(value, tuple) else repr(value)


def _written(v: float) -> str:
    """A number as Python writes it, infinities as numbers beyond all others."""
    return repr(v) if math.isfinite(v) else "1e999" if v > 0 else "-1e999"


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    arguments = argument_codes(call)
    ins = [ABSENT if t is None else _code(t) for t in loop_inputs(call)]
    outs = [_code(t) for t in _result_types(call) if t is not None]
    work = [_code(t) for t in _work_types(call)]
    if call.opdef.loop is None or arguments is None or None in ins or None in outs or None in work:
        return None
    parts: dict[str, Sequence[str | None]] = {"ins": ins, "outs": outs, "work": work, "args": arguments}
    spec = KernelSpec.make("loop", op=call.node.op, **{k: ";".join(map(str, v)) for k, v in parts.items()})
    return Choice("loop", spec, {}, _cost(call))


def _cost(call: Call) -> float:
    """Half a nanosecond an operation, or ten an element where the record does not count operations.

    Rules made for an operator are faster and come first.
    """
    if call.opdef.flops:
        return 1000.0 + 0.5 * call.opdef.flops(call)
    return 1000.0 + 10.0 * sum(r.type.size for r in call.node.results)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``loop{op, ins, outs, work, args}``.

    Parameters: of each array the address and the dimensions, then the numbers that are arguments and the lengths of
    long lists, then the address of the status word, which receives the number of an error, then the long lists.
    """
    s = Lines()
    opdef = lookup(str(spec["op"]))
    ins, outs, work, args = (
        str(spec[side]).split(";") if spec[side] else [] for side in ("ins", "outs", "work", "args")
    )
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        names, k = [], 0
        for i, code in enumerate([*ins, *outs, *work]):
            zeroed = i >= len(ins) and not (i >= len(ins) + len(outs) and is_fill(opdef))
            names.append(f"a{i}")
            k = _array(s, f"a{i}", code, k, zeroed)
        first = len(ins) + len(outs)
        operands = loop_operands(opdef, names[: len(ins)], names[len(ins) : first], names[first:], NOTHING)
        numbers = []
        end = f"{k + sum(map(width, args)) + bool(opdef.errors)}"
        for code in args:
            numbers.append(argument(code, k, end))
            end += f" + ld(p, {k})" * (code in LISTS)
            k += width(code)
        s(f"code = loop({', '.join([*map(operand, operands), *numbers])})")
        if opdef.errors:
            with s.block("if code != 0:"):
                s(f"st_i8(ld(p, {k}), 0, code)")
    return loop_source(opdef) + "\n\n" + s.text()


NOTHING = "array_f4(0, (0,))"
LISTS = ("I", "F")
RUN_TIME = ("i", "f", *LISTS)
WIDTHS = {"s": 2} | dict.fromkeys(RUN_TIME, 1)
FEW = re.compile(r"([1-9]\d?)([if])")
"""A tuple."""


def width(code: str) -> int:
    """The number of parameters that an argument has, besides the elements of a list."""
    few = FEW.fullmatch(code)
    return int(few[1]) if few else WIDTHS.get(code, 0)


def argument(code: str, k: int, end: str) -> str:
    """An argument as source, from parameter ``k``; ``end``: where the next long list begins."""
    if code in LISTS:
        return f"array_{'i8' if code == 'I' else 'f8'}(p + 8 * ({end}), (ld(p, {k}),))"
    if few := FEW.fullmatch(code):
        return f"({''.join(argument(few[2], k + i, end) + ', ' for i in range(int(few[1])))})"
    if code == "s":  # the seed itself in the first run; 2**32 divided by the golden ratio keeps further ones apart
        return f"(ld(p, {k}) ^ ((ld(p, {k + 1}) * 2654435769) & 4294967295))"
    return {"i": f"ld(p, {k})", "f": f"ld_f8(p, {k})"}.get(code) or _literal(code)


def operand(names: str | tuple[str, ...]) -> str:
    """An array or a tuple of arrays as source."""
    return names if isinstance(names, str) else f"({''.join(n + ', ' for n in names)})"


def _literal(text: str) -> str:
    """A literal as source. A specification may come from a plan file: ``ValueError`` for anything else."""
    ast.literal_eval(text)
    return ast.unparse(ast.parse(text, mode="eval"))


def _array(s: Lines, name: str, code: str, k: int, zeroed: bool) -> int:
    """Define the array ``name`` from parameter ``k`` on; returns the next parameter's number."""
    if code == ABSENT:
        s(f"{name} = {NOTHING}")
        return k
    letters, _, rank = code.partition(":")
    sizes = [f"ld(p, {k + 1 + d})" for d in range(int(rank))]
    s(f"{name} = array_{letters}(ld(p, {k}), ({''.join(size + ', ' for size in sizes)}))")
    k += 1 + int(rank)
    if zeroed:
        _zero(s, k - 1 - int(rank), sizes, np.dtype(letters).itemsize)
    return k


def _zero(s: Lines, k: int, sizes: Sequence[str], itemsize: int) -> None:
    code = {1: "u1", 2: "u2", 4: "i4", 8: "i8"}[itemsize]
    with s.block(f"for i in range({' * '.join(sizes) or '1'}):"):
        s(f"st_{code}(ld(p, {k}), i, 0)")


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    work = 0 if call.opdef.scratch is None else sum(_room(t) for t in call.opdef.scratch(call))
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=work)


def _room(type: TensorType) -> int:
    return max(-(-type.nbytes // 64), 1) * 64  # an array without elements has an address as well


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    params: list[Param] = []
    carried = [v for v in ins[call.n_inputs :] if v is not None]
    for v, type in zip([*ins[: call.n_inputs], *outs], [*loop_inputs(call), *_result_types(call)]):
        params += [] if v is None or type is None else [v.address, *type.static_shape]
    for view in carried:
        params += [view.address, *view.type.static_shape]
    for type in call.opdef.scratch(call) if call.opdef.scratch else ():
        params += [workspace, *type.static_shape]
        workspace = workspace.plus(_room(type))
    arguments = list(zip(str(choice.spec["args"]).split(";"), call.opdef.loop_arguments(call)))
    params += [n for code, value in arguments for n in passed(code, value)]
    params += [Address("status")] if call.opdef.errors else []
    params += [_number(v, code.lower()) for code, value in arguments if code in LISTS for v in value]
    size = sum(v.type.size for v in outs)
    label = call.node.results[0].name if call.node.results else call.node.op
    return [(Task(choice.spec, tuple(params), 1, label, size, 4 * size),)]


def passed(code: str, value: Any) -> list[Param]:
    """An argument as parameters: the bits of floats, a list's length, nothing for what the specification has; behind a
    seed the number of the run."""
    if code == "s":
        return [int(value), Address("run")]
    if code in LISTS:
        return [len(value)]
    return [_number(v, code[-1]) for v in (value if FEW.fullmatch(code) else [value])] if width(code) else []


def _number(value: float, kind: str) -> int:
    return float_bits(float(value)) if kind == "f" else int(value)


TEMPLATES = (Template("loop", emit),)
RULES = (Rule("loop", ("*loop*",), _choose, _needs, _bind),)
