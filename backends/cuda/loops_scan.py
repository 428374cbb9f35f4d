"""Which names statements need from before, which loops stand in each other, and what may stand where."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from graphc.backends.cuda.loops_flat import stores_in
from graphc.backends.cuda.loops_rewrite import Body


def exposed(body: Sequence[ast.stmt]) -> set[str]:
    """Names whose value from before the statements may be read by them."""
    return _exposed(body, set())[0]


def _exposed(body: Sequence[ast.stmt], given: set[str]) -> tuple[set[str], set[str] | None]:
    """Names read before they are certainly assigned; those assigned afterwards, None if the end is not reached."""
    found: set[str] = set()
    known = set(given)
    for s in body:
        if isinstance(s, ast.If):
            found |= _read(s.test) - known
            first, after_first = _exposed(s.body, known)
            other, after_other = _exposed(s.orelse, known)
            found |= first | other
            if after_first is None and after_other is None:
                return found, None
            ends = [e for e in (after_first, after_other) if e is not None]
            known = set.intersection(*ends)
        elif isinstance(s, ast.For):
            found |= _read(s.iter) - known
            found |= _exposed(s.body, known | _targets(s.target))[0]
        elif isinstance(s, ast.While):
            found |= _read(s.test) - known
            found |= _exposed(s.body, known)[0]
        elif isinstance(s, ast.Assign):
            found |= _read(s.value) - known
            for target in s.targets:
                found |= _read(target) - known
                known |= _targets(target)
        elif isinstance(s, ast.AugAssign):
            found |= (_read(s.value) | _read(s.target) | _targets(s.target)) - known
            known |= _targets(s.target)
        else:
            found |= _read(s) - known
            if isinstance(s, (ast.Return, ast.Break, ast.Continue)):
                return found, None
    return found, known


def _read(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _targets(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    return {n for e in node.elts for n in _targets(e)} if isinstance(node, ast.Tuple) else set()


def has_effect(node: ast.AST) -> bool:
    """It stores, or ends the loop as a whole."""
    return stores_in(node) or any(isinstance(n, ast.Return) for n in ast.walk(node))


def leaves(loop: ast.For, kind: type[ast.stmt]) -> bool:
    """A break or continue of this loop itself stands in it."""
    return any(isinstance(s, kind) for s in _own(loop.body))


def _own(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for s in body:
        yield s
        if isinstance(s, ast.If):
            yield from _own(s.body)
            yield from _own(s.orelse)


def nest_of(loop: ast.For) -> list[ast.For]:
    """The loop and those inside that turns may be shared out of as well.

    Around a further loop nothing is stored, and no loop runs, which would run again for each of its turns.
    """
    found = [loop]
    while True:
        inner = [s for s in found[-1].body if isinstance(s, (ast.For, ast.While)) or stores_in(s)]
        if len(inner) != 1 or not isinstance(inner[0], ast.For):
            return found
        if any(isinstance(n, (ast.For, ast.While)) for s in found[-1].body if s is not inner[0] for n in ast.walk(s)):
            return found
        found.append(inner[0])


def around(outer: ast.For, inner: ast.For) -> Body:
    """The statements of a loop's body besides an inner loop."""
    return [s for s in outer.body if s is not inner]


def contains(s: ast.AST, node: ast.AST) -> bool:
    """``node`` is a part of ``s``, or itself."""
    return any(n is node for n in ast.walk(s))


def way_to(body: Sequence[ast.stmt], node: ast.stmt) -> list[tuple[Sequence[ast.stmt], int]]:
    """The lists of statements, from the outermost on, that lead to a statement, with the place in each."""
    for k, s in enumerate(body):
        if s is node:
            return [(body, k)]
        if contains(s, node):
            for inner in (getattr(s, "body", []), getattr(s, "orelse", [])):
                if any(contains(t, node) for t in inner):
                    return [(body, k), *way_to(inner, node)]
    raise ValueError("the statement is not there")
