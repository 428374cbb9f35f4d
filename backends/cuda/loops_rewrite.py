"""Statements of loops as simpler ones that mean the same: what a proof would otherwise stumble over."""

from __future__ import annotations

import ast
from collections.abc import Sequence

Body = list[ast.stmt]


def simpler(body: Sequence[ast.stmt]) -> Body:
    """Statements with several names assigned one after another, and returns of one of two values as branches."""
    found: Body = []
    for s in body:
        if isinstance(s, (ast.For, ast.While)):
            s.body = simpler(s.body)
        elif isinstance(s, ast.If):
            s.body, s.orelse = simpler(s.body), simpler(s.orelse)
        found += _simpler(s)
    return found


def _simpler(s: ast.stmt) -> Body:
    if isinstance(s, ast.Assign) and len(s.targets) == 1:
        return _one_by_one(s, s.targets[0])
    if isinstance(s, ast.Return) and isinstance(s.value, ast.IfExp):
        first, second = (_simpler(ast.Return(v)) for v in (s.value.body, s.value.orelse))
        return [ast.If(s.value.test, first, second)]
    return [s]


def _one_by_one(s: ast.Assign, target: ast.expr) -> Body:
    """``a, b = x, y`` as ``a = x`` and ``b = y``, where y does not read a."""
    value = s.value
    if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)):
        return [s]
    given: set[str] = set()
    for t, v in zip(target.elts, value.elts):
        read = {n.id for n in ast.walk(v) if isinstance(n, ast.Name)}
        if not isinstance(t, ast.Name) or read & given:
            return [s]
        given.add(t.id)
    return [ast.Assign([t], v) for t, v in zip(target.elts, value.elts)]


def as_search(function: ast.FunctionDef, returned: ast.expr) -> Body | None:
    """The statements of ``if function(...): return returned``, where the function looks for an element.

    It is a loop that returns, or counts, at some elements, behind assignments: as a loop of a function, each turn of
    which may return by itself, it can be shared out. None for other functions.
    """
    *head, loop, last = function.body if len(function.body) > 1 else (ast.Pass(), ast.Pass())
    if not (isinstance(loop, ast.For) and isinstance(last, ast.Return) and last.value is not None):
        return None
    counter = last.value.id if isinstance(last.value, ast.Name) else None
    if counter is None and not (isinstance(last.value, ast.Constant) and not last.value.value):
        return None
    if not all(isinstance(s, ast.Assign) for s in head) or len(loop.body) != 1 or not isinstance(loop.body[0], ast.If):
        return None
    found = loop.body[0]
    if found.orelse or len(found.body) != 1 or not _is_hit(found.body[0], counter):
        return None
    if counter is not None:
        starts = [s for s in head if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == counter]
        if len(starts) != 1 or not _is_number(starts[0].value, 0) or counter in ast.unparse(found.test):
            return None
        head = [s for s in head if s is not starts[0]]
    return [*head, ast.For(loop.target, loop.iter, [ast.If(found.test, [ast.Return(returned)], [])], [])]


def _is_hit(s: ast.stmt, counter: str | None) -> bool:
    """The element was found: a return of what is true, or a count of one more."""
    if counter is None:
        return isinstance(s, ast.Return) and isinstance(s.value, ast.Constant) and bool(s.value.value)
    counted = isinstance(s, ast.AugAssign) and isinstance(s.op, ast.Add) and _is_number(s.value, 1)
    return counted and isinstance(s, ast.AugAssign) and ast.unparse(s.target) == counter


def _is_number(node: ast.expr, number: int) -> bool:
    return isinstance(node, ast.Constant) and node.value == number
