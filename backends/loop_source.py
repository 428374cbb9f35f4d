"""The source of a record's loop: the function, and the plain functions that it calls, as kernels hold it.

What a loop may say is what ``backends/vocabulary.py`` allows: plain statements on arrays and numbers, names of
``math``, NumPy's scalar types.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from functools import cache

from graphc.ir import LoweringError
from graphc.ir.opdef import OpDef


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
