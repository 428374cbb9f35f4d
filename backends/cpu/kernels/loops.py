"""Operators whose record gives a loop: the loop itself, compiled.

A kernel holds the source of the record's function and a wrapper that makes arrays of addresses. What the loop may say
is what ``vocabulary.py`` allows: plain statements on arrays and numbers, names of ``math``, NumPy's scalar types.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.ir import LoweringError
from graphc.ir.opdef import Call, OpDef, lookup
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import TensorType

ELEMENTS = ("b1", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2")
"""NumPy's letters of the element types that ``arrays.py`` makes arrays of."""

ABSENT = "-"


class _Plain(ast.NodeTransformer):
    """Removes what has no effect on the meaning: annotations and docstrings."""

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
    """The source of a record's loop as a function called ``loop``; raises ``LoweringError`` where there is none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(record.loop)))  # type: ignore[arg-type]  # None: TypeError
    except (OSError, TypeError, SyntaxError) as error:
        raise LoweringError(
            f"the source of the loop of {record.name} cannot be read: {error}",
            "define it with def in a file of its own",
        ) from None
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef):
        raise LoweringError(f"the loop of {record.name} is no function definition", "define it with def")
    function.name, function.decorator_list = "loop", []
    return ast.unparse(ast.fix_missing_locations(_Plain().visit(function))) + "\n"


def _code(type: TensorType) -> str | None:
    """``f4:2`` for two dimensions of float32; None for types that a loop cannot have."""
    if type.dtype is None or type.layout.block > 1:
        return None
    code = type.dtype.numpy.str[1:]
    return f"{code}:{len(type.static_shape)}" if code in ELEMENTS else None


def _arguments(call: Call) -> list[object] | None:
    """The arguments of the record in its order; None where one is text or a graph."""
    values = [call.arg(a.name) for a in call.opdef.args]
    return values if all(_is_number(v) for v in values) else None


def _is_number(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_number, value))
    return value is None or (isinstance(value, (int, float)) and value == value)


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    arguments = _arguments(call)
    n = max(call.n_inputs, len(call.opdef.inputs))
    ins = [_code(call.type(i)) if call.has(i) else ABSENT for i in range(n)]
    outs = [_code(r.type) for r in call.node.results]
    outs += [ABSENT] * (len(call.opdef.outputs) - len(outs))
    if call.opdef.loop is None or arguments is None or None in ins or None in outs:
        return None
    types = ",".join(str(c) for c in ins), ",".join(str(c) for c in outs)
    spec = KernelSpec.make("loop", op=call.node.op, ins=types[0], outs=types[1], args=_text(arguments))
    return Choice("loop", spec, {}, 1000.0 + 10 * sum(r.type.size for r in call.node.results))


def _text(value: object) -> str:
    """Numbers, None, and tuples and lists of them as literals; those beyond the range of float are infinite."""
    if isinstance(value, (tuple, list)):
        inner = "".join(_text(v) + "," for v in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    return "-" * (value < 0) + "1e999" if isinstance(value, float) and math.isinf(value) else repr(value)


def emit(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``loop{op, ins, outs, args}``; parameters: of each array the address and the dimensions, then zeros."""
    s = Lines()
    codes = [[c for c in str(spec[side]).split(",") if c] for side in ("ins", "outs")]
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        names, k = [], 0
        for i, code in enumerate([*codes[0], *codes[1]]):
            names.append(f"a{i}")
            k = _array(s, f"a{i}", code, k, zeroed=i >= len(codes[0]))
        s(f"loop({', '.join([*names, *_literals(str(spec['args']))])})")
    return loop_source(lookup(str(spec["op"]))) + "\n\n" + s.text()


def _literals(text: str) -> list[str]:
    """The arguments as source. A specification may come from a plan file: ``ValueError`` for more than literals."""
    ast.literal_eval(text)
    tree = ast.parse(text, mode="eval").body
    return [ast.unparse(e) for e in tree.elts] if isinstance(tree, ast.List) else []


def _array(s: Lines, name: str, code: str, k: int, zeroed: bool) -> int:
    """Define the array ``name`` from parameter ``k`` on; returns the next parameter's number."""
    if code == ABSENT:
        s(f"{name} = array_f4(0, (0,))")
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
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    params: list[Param] = []
    for view in [*ins[: call.n_inputs], *outs]:
        if view is not None:
            params += [view.address, *view.type.static_shape]
    size = sum(v.type.size for v in outs)
    return [(Task(choice.spec, tuple(params), 1, call.node.results[0].name, size, 4 * size),)]


TEMPLATES = (Template("loop", emit),)
RULES = (Rule("loop", ("*loop*",), _choose, _needs, _bind),)
