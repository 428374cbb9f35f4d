"""What one iteration of a loop touches: its statements evaluated on terms, with every branch taken."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from graphc.backends.cuda.loops_expressions import Expressions, Part, Value
from graphc.backends.cuda.loops_flat import Refusal
from graphc.backends.cuda.loops_known import Atom, Facts
from graphc.backends.cuda.loops_terms import ONE, ZERO, Poly


class Walk(Expressions):
    """An evaluation of statements."""

    @contextmanager
    def may_skip(self, maybe: bool) -> Iterator[None]:
        """What happens inside need not happen if ``maybe``."""
        before, facts, self._always = self._always, self.facts, self._always and not maybe
        yield
        self._always, self.facts = before, facts

    @staticmethod
    def leaving(body: Sequence[ast.stmt]) -> bool:
        """What follows statements may be left out."""
        return any(map(_may_leave, body))

    def run(self, body: Sequence[ast.stmt]) -> bool:
        """Statements; whether what follows them may run."""
        for k, s in enumerate(body):
            if not getattr(self, "_do_" + type(s).__name__)(s):
                return False
            if _may_leave(s) and k + 1 < len(body):
                with self.sometimes():
                    return self.run(body[k + 1 :])
        return True

    def _do_Assign(self, s: ast.Assign) -> bool:
        value = self.value(s.value)
        for target in s.targets:
            self.assign(target, value)
        return True

    def assign(self, target: ast.expr, value: Value) -> None:
        """Give a value to a name, to names, to an element."""
        if isinstance(target, ast.Tuple):
            values = value if isinstance(value, tuple) and len(value) == len(target.elts) else None
            for k, part in enumerate(target.elts):
                self.assign(part, values[k] if values else self._item(value, k))
        elif isinstance(target, ast.Name):
            self.names[target.id] = self._kept(value)
        else:
            self.as_number(value)
            place = self.value(target)
            if not isinstance(place, Part):
                raise Refusal(f"it stores into '{ast.unparse(target)}', which may be a part of any array")
            self.touch(place, store=True)

    def _kept(self, value: Value) -> Value:
        """A value for a name: before the turns an element is read now, and what may be a row counts as read too."""
        if self.turning or not isinstance(value, Part) or not value.indices:
            return value
        if value.flat:
            return self.as_number(value)
        self.touch(value, store=False)
        return value

    def _item(self, value: Value, k: int) -> Value:
        if isinstance(value, Poly):
            return self.entry(f"({value})[{k}]", [value], [], all(self.atoms[a].whole for a in value.atoms))
        return self.fresh("item", [value])

    def _do_AugAssign(self, s: ast.AugAssign) -> bool:
        load = ast.parse(ast.unparse(s.target), mode="eval").body
        self.assign(s.target, self.value(ast.BinOp(load, s.op, s.value)))
        return True

    def _do_Expr(self, s: ast.Expr) -> bool:
        self.value(s.value)
        return True

    def _do_Pass(self, s: ast.Pass) -> bool:
        return True

    def _do_Return(self, s: ast.Return) -> bool:
        if s.value is not None:
            self.value(s.value)
        self.codes.append(s)
        return False

    def _do_Break(self, s: ast.stmt) -> bool:
        return False

    _do_Continue = _do_Break

    def _do_If(self, s: ast.If) -> bool:
        test = self.number(s.test)
        known = self.known(test)
        if known is not None:
            self.learn(test, known)
            return self.run(s.body if known else s.orelse)
        before = dict(self.names)
        on, after_body, facts = self._branch(s.test, test, True, s.body)
        self.names = dict(before)
        other, _, other_facts = self._branch(s.test, test, False, s.orelse)
        if on and other:
            self._join(test, after_body)
        elif on:
            self.names = after_body
        if on is not other:
            self.facts = facts if on else other_facts
        return on or other

    def _branch(
        self, node: ast.expr, test: Poly, holds: bool, body: Sequence[ast.stmt]
    ) -> tuple[bool, dict[str, Value], Facts]:
        """Whether what follows a branch may run, and the names and facts then."""
        with self.sometimes():
            self.learn(test, holds)
            self._bound(node, holds)
            return self.run(body), self.names, self.facts

    def _join(self, test: Poly, other: Mapping[str, Value]) -> None:
        """Names after a branch: ``other`` has those after its first way."""
        for name in {*self.names, *other}:
            a, b = other.get(name), self.names.get(name)
            if a is None or b is None:
                self.names[name] = self.fresh(name, same=False)
            elif a != b:
                self.names[name] = self.either(test, a, b)

    def _bound(self, test: ast.expr, holds: bool) -> None:
        """What a test says about the range of a name: ``0 <= a < n``, ``a < 0 or a >= n`` where it does not hold."""
        for name, top in bounds(test, holds):
            value = self.names.get(name)
            if value is None or isinstance(value, tuple) or self.is_same(value):
                continue
            if isinstance(value, Poly) and all(self.atoms[a].range for a in value.atoms):
                continue  # an exact term says more
            bounded, limit = self.fresh(name, same=False, data=True), self.number(top)
            self.atoms[str(bounded)] = Atom(False, True, True, limit, least=0)
            if self.is_whole(limit):
                self.facts = self.facts.also(limit)
            if (element := str(self.as_number(value))) in self.elements:
                self.elements[str(bounded)] = self.elements[element]
            self.names[name] = bounded

    def _do_While(self, s: ast.While) -> bool:
        self.forget(s.body)
        self._count += 1
        with self.inside(f"while#{self._count}"), self.sometimes():
            self.number(s.test)
            self.run(s.body)
        self.forget(s.body)
        return True

    def _do_For(self, s: ast.For) -> bool:
        self.inner(s)
        return True

    def inner(self, s: ast.For) -> None:
        """A loop inside of an iteration."""
        self._count += 1
        assert isinstance(s.target, ast.Name)
        first, count = self.bounds_of(s, at_most=True)
        if count == ZERO:
            return
        self.forget(s.body)
        variable = f"{s.target.id}@{self._count}"
        self.names[s.target.id] = first + self.start(variable, False, count) * self.step_of(s)
        with self.inside(variable), self.sometimes():
            self.run(s.body)
        self.forget([*s.body, s])

    @contextmanager
    def inside(self, loop: str) -> Iterator[None]:
        """Within a turn of a loop."""
        before, facts, self._loops = self._loops, self.facts, (*self._loops, loop)
        count = self.atoms[loop].range if loop in self.atoms else None
        self.facts = self.facts.also(*([] if count is None else [count]))
        yield
        self._loops, self.facts = before, facts

    def bounds_of(self, s: ast.For, at_most: bool = False) -> tuple[Poly, Poly | None]:
        """Where a loop begins, and how many turns it has if its step is 1; the most that it may have with at_most."""
        if not (isinstance(s.iter, ast.Call) and ast.unparse(s.iter.func) == "range"):
            raise Refusal(f"'for {ast.unparse(s.target)} in {ast.unparse(s.iter)}' does not count")
        last = s.iter.args[-1]
        if at_most and len(s.iter.args) == 1 and isinstance(last, ast.IfExp) and is_zero(last.orelse):
            self.number(last.test)
            return ZERO, self.number(last.body)
        given = [self.number(a) for a in s.iter.args]
        first, stop = (ZERO, given[0]) if len(given) == 1 else given[:2]
        return first, stop - first if len(given) < 3 else None

    def step_of(self, s: ast.For) -> Poly:
        """The step of a loop."""
        assert isinstance(s.iter, ast.Call)
        return self.number(s.iter.args[2]) if len(s.iter.args) == 3 else ONE

    def forget(self, body: Sequence[ast.stmt]) -> None:
        """Names that are assigned in a loop have unknown values at its beginning and after it."""
        for name in assigned(body):
            self.names[name] = self.fresh(name, same=False)


def assigned(body: Sequence[ast.AST]) -> list[str]:
    """Names that statements assign, in order."""
    nodes = [n for s in body for n in ast.walk(s)]
    return list(dict.fromkeys(n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)))


def bounds(test: ast.expr, holds: bool) -> list[tuple[str, ast.expr]]:
    """(name, n) of the names that a test, where it holds or does not, shows to be from 0 on and below n."""
    parts = test.values if isinstance(test, ast.BoolOp) else [test]
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) is not holds:
        return []
    least: set[str] = set()
    tops: list[tuple[str, ast.expr]] = []
    for p in parts:
        if not isinstance(p, ast.Compare):
            continue
        terms = [p.left, *p.comparators]
        for a, op, b in zip(terms, p.ops, terms[1:]):
            if len(p.ops) > 1 and not holds:
                continue
            kind = type(op) if holds else NOT.get(type(op))
            if isinstance(a, ast.Name) and kind is ast.GtE and is_zero(b):
                least.add(a.id)
            if isinstance(b, ast.Name) and kind is ast.LtE and is_zero(a):
                least.add(b.id)
            if isinstance(a, ast.Name) and kind is ast.Lt:
                tops.append((a.id, b))
    return [(name, top) for name, top in tops if name in least]


NOT: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}
"""What a comparison of integers says where it does not hold."""


def is_zero(node: ast.expr) -> bool:
    """The number 0."""
    return isinstance(node, ast.Constant) and node.value == 0


def _may_leave(s: ast.stmt) -> bool:
    """What follows may be left out, though the run does not fail: a return, break or continue stands inside."""
    nodes = list(ast.walk(s))
    ends = (ast.Return,) if isinstance(s, (ast.For, ast.While)) else (ast.Return, ast.Break, ast.Continue)
    return any(isinstance(n, ends) and not is_error(n) for n in nodes)


def is_error(node: ast.AST) -> bool:
    """A return of the number of an error."""
    return isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and bool(node.value.value)
