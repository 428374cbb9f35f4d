"""Names that carry values from turn to turn: what a thread runs of the turns before its own to know them.

Positions that are sums of lengths are such names. A thread adds up the lengths before its own for itself.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from graphc.backends.cuda.loops_flat import base_name, stores_in
from graphc.backends.cuda.loops_rewrite import Body
from graphc.backends.cuda.loops_scan import exposed
from graphc.backends.cuda.loops_walk import assigned


def replay_of(loop: ast.For, carried: Sequence[str], growing: Sequence[str]) -> Body | None:
    """The statements of a turn that give carried names their values; None where they cannot run by themselves.

    growing: carried names that are known for each turn without.
    """
    ends = (ast.Continue, ast.Break, ast.While)
    if any(isinstance(n, ends) for n in ast.walk(loop)):
        return None
    kept, _ = _cut(loop.body, set(carried))
    names = set(assigned(kept))
    if exposed(kept) & set(assigned([loop])) - names - {ast.unparse(loop.target)} or names & set(growing):
        return None
    stored = {base_name(n) for n in ast.walk(loop) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)}
    read = {n.id for s in kept for n in ast.walk(s) if isinstance(n, ast.Name)}
    return None if stored & read else kept


def _cut(body: Sequence[ast.stmt], needed: set[str]) -> tuple[Body, set[str]]:
    """The statements that names need, until no more are needed; and all names that they need."""
    while True:
        kept, found = _cut_once(body, needed)
        if found == needed:
            return kept, needed
        needed = found


def _cut_once(body: Sequence[ast.stmt], needed: set[str]) -> tuple[Body, set[str]]:
    kept: Body = []
    found = set(needed)
    for s in body:
        if not found & set(assigned([s])):
            continue
        if isinstance(s, ast.If):
            first, inside = _cut_once(s.body, found)
            second, other = _cut_once(s.orelse, found)
            found |= inside | other | _names(s.test)
            kept.append(ast.If(s.test, first or [ast.Pass()], second))
        elif isinstance(s, ast.For):
            first, inside = _cut_once(s.body, found)
            found |= inside | _names(s.iter)
            kept.append(ast.For(s.target, s.iter, first or [ast.Pass()], []))
        elif not stores_in(s):
            found |= _names(s)
            kept.append(s)
    return kept, found


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
