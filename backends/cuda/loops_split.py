"""A loop that stores into several arrays as several loops, one after another: each repeats what its array needs.

Turns that each give a row of a result, and add to sums over all rows, are independent in one way for the result and in
another for the sums.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence

from graphc.backends.cuda.loops_flat import base_name
from graphc.backends.cuda.loops_rewrite import Body

SHAPE = ("shape", "size", "ndim", "itemsize", "dtype")


def split(loop: ast.For) -> list[ast.For]:
    """The loops, in the order of their first stores; only one where each array is read for the others."""
    arrays = _stored(loop)
    groups = [{name} for name in arrays]
    while True:
        parts = [_part(loop, group) for group in groups]
        merged = _merged(groups, [_read(part) & set(arrays) for part in parts])
        if merged == groups:
            return parts
        groups = merged


def _stored(node: ast.AST) -> list[str]:
    """The arrays into which something is stored, in order."""
    places = [n for n in ast.walk(node) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
    return list(dict.fromkeys(base_name(p) or "" for p in places))


def _merged(groups: list[set[str]], read: Sequence[set[str]]) -> list[set[str]]:
    """Groups of which one reads what another stores as one."""
    for i in range(len(groups)):
        for k, other in enumerate(groups):
            if i != k and read[i] & other:
                low, high = min(i, k), max(i, k)
                return [g | groups[high] if j == low else g for j, g in enumerate(groups) if j != high]
    return groups


def _part(loop: ast.For, arrays: Collection[str]) -> ast.For:
    body, _ = _kept(loop.body, _carried(loop.body, set(), arrays), arrays)
    return ast.For(loop.target, loop.iter, body or [ast.Pass()], [], lineno=1)


def _read(node: ast.AST) -> set[str]:
    """Names of which more is read than the shape."""
    shapes = {id(n.value) for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr in SHAPE}
    targets = [
        t for n in ast.walk(node) if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Subscript)
    ]
    bases = {id(_base(t)) for t in targets}
    names = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    return {n.id for n in names if id(n) not in shapes | bases}


def _base(node: ast.expr) -> ast.expr:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _assigned(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _carried(body: Sequence[ast.stmt], live: set[str], arrays: Collection[str]) -> set[str]:
    """The names that are needed at the end of a turn: after the loop, or by the next turn."""
    while True:
        _, before = _kept(body, live, arrays)
        if before <= live:
            return live
        live = live | before


def _kept(body: Sequence[ast.stmt], live: set[str], arrays: Collection[str]) -> tuple[Body, set[str]]:
    """The statements that stores into the arrays, ends and the live names need; and the names live before them."""
    found: Body = []
    for s in reversed(body):
        made, live = _statement(s, live, arrays)
        if made is not None:
            found.insert(0, made)
    return found, live


def _statement(s: ast.stmt, live: set[str], arrays: Collection[str]) -> tuple[ast.stmt | None, set[str]]:
    if isinstance(s, ast.If):
        first, before_first = _kept(s.body, live, arrays)
        second, before_second = _kept(s.orelse, live, arrays)
        if not first and not second:
            return None, live
        return ast.If(s.test, first or [ast.Pass()], second), before_first | before_second | _names(s.test)
    if isinstance(s, ast.For):
        carried = _carried(s.body, live, arrays)
        inner, _ = _kept(s.body, carried, arrays)
        return (ast.For(s.target, s.iter, inner, [], lineno=1), carried | _names(s.iter)) if inner else (None, live)
    if isinstance(s, ast.Assign) and all(isinstance(t, ast.Name) for t in s.targets):
        targets = _assigned(s)
        return (s, live - targets | _names(s.value)) if targets & live else (None, live)
    stored, assigned = _stored(s), _assigned(s)
    if stored and not assigned and not isinstance(s, ast.While):
        return (s, live | _names(s)) if set(stored) & set(arrays) else (None, live)
    needed = (
        bool(assigned & live) or bool(stored) or not isinstance(s, (ast.Assign, ast.AugAssign, ast.While, ast.Pass))
    )
    return (s, live | _names(s)) if needed else (None, live)
