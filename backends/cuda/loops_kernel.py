"""The kernel of one stage of a loop, and how often its loops turn, from the source that was proved."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends.cuda.loops_flat import Flat, Renamer
from graphc.backends.cuda.loops_proof import Stage
from graphc.backends.cuda.loops_rewrite import Body
from graphc.backends.cuda.loops_scan import contains, has_effect, way_to
from graphc.backends.cuda.loops_walk import assigned

WORDS = {"floor": "floor_of", "ceil": "ceil_of", "round": "round_of"}
"""Functions of NumPy that have a word; the others have the same name in ``math``."""
OF_MATH = {"exp", "log", "log1p", "sqrt", "sin", "cos", "tanh"}


def kernel_body(flat: Flat, stages: Sequence[Stage], number: int, errors: bool) -> tuple[str, str]:
    """The functions that a stage's kernel calls, and its statements.

    The statements use the loop's parameters under ``variable`` names, ``t0``, ``t1``... for the number of the turn of
    each shared loop, and ``status``.
    """
    maker = _Maker(stages[number], [s.node for s in stages], errors)
    body: Body = []
    maker.lead(flat.body, body)
    names: dict[str, ast.expr] = {n: ast.Name(variable(n), ast.Load()) for n in flat.params}
    functions = {name: function_name(name) for name in flat.functions}
    text = _text([_Names(names, functions).visit(copy.deepcopy(s)) for s in body])
    return "\n".join(_function(f, functions) for f in flat.functions.values()), text


def variable(name: str) -> str:
    """A parameter of the loop in a kernel, where it may not have the name of a word."""
    return f"{name}_a"


def function_name(name: str) -> str:
    """A function that the loop calls in a kernel."""
    return f"{name}_f"


def _function(function: ast.FunctionDef, functions: Mapping[str, str]) -> str:
    made = copy.deepcopy(function)
    made.name = functions[function.name]
    made.body = [_Names({}, functions).visit(s) for s in made.body]
    return _text([made])


def _text(body: Sequence[ast.stmt]) -> str:
    return "\n".join(ast.unparse(ast.fix_missing_locations(s)) for s in body) + "\n"


class _Names(Renamer):
    """Renames variables and functions, and turns NumPy's functions into those that a card has."""

    def __init__(self, names: Mapping[str, ast.expr], functions: Mapping[str, str]) -> None:
        super().__init__(names)
        self._functions = functions

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """A call of what a card has."""
        node = super().visit_Call(node)
        if isinstance(node.func, ast.Name):
            node.func = ast.Name(self._functions.get(node.func.id, node.func.id), ast.Load())
        elif isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "np":
            name = node.func.attr
            if name in WORDS:
                node.func = ast.Name(WORDS[name], ast.Load())
            elif name in OF_MATH:
                node.func = ast.Attribute(ast.Name("math", ast.Load()), name, ast.Load())
        return node


_KEYED = ast.parse("if t0 < turns:\n    if ld_i8(chain, t0) < 0:\n        return").body
"""An earlier turn has the same key: its thread runs this one."""
_NEXT = ast.parse("t0 = ld_i8(chain, t0)\nt0 = t0 if t0 >= 0 else -1 - t0").body
"""The next turn of the key (``kernels/keys.py``)."""


class _Maker:
    """Takes a loop apart: what comes before a stage without the other stages, then the stage for one thread."""

    def __init__(self, stage: Stage, nodes: Sequence[ast.stmt], errors: bool) -> None:
        self._stage, self._nodes, self._errors = stage, nodes, errors

    def lead(self, body: Sequence[ast.stmt], made: Body) -> bool:
        """Append the statements up to the stage, and its own; whether it was met."""
        for s in body:
            if s is self._stage.node:
                made += self._shared()
                return True
            if contains(s, self._stage.node):
                assert isinstance(s, ast.If)
                first: Body = []
                second: Body = []
                if any(contains(t, self._stage.node) for t in s.body):
                    self.lead(s.body, first)
                else:
                    self.lead(s.orelse, second)
                made.append(ast.If(s.test, first or [ast.Pass()], second))
                return True
            made += self._plain(strip([s], self._nodes))
        return False

    def _shared(self) -> Body:
        if not self._stage.levels:
            return self._plain([self._stage.node])
        head: Body = []
        for name, step in self._stage.growing.items():
            grown = ast.BinOp(ast.Name("t0", ast.Load()), ast.Mult(), step)
            head.append(ast.AugAssign(ast.Name(name, ast.Store()), ast.Add(), grown))
        if self._stage.replay:
            loop = self._stage.levels[0]
            head.append(ast.For(loop.target, turns_before(loop, "t0"), self._plain(self._stage.replay), []))
        return [*(_KEYED if self._stage.key else []), *head, *self._turn()]

    def _turn(self) -> Body:
        """The turns of a thread: one of the outermost loop, or with keys all that have the key of one."""
        if not self._stage.key:
            return [self._level(0)]
        loop = ast.While(ast.parse("t0 < turns", mode="eval").body, [self._level(0), *_NEXT], [])
        return [loop]

    def _level(self, k: int) -> ast.For:
        loop = self._stage.levels[k]
        if k + 1 == len(self._stage.levels):
            body = self._plain(loop.body)
        else:
            inner = self._stage.levels[k + 1]
            body = []
            for s in loop.body:
                body += [self._level(k + 1)] if s is inner else self._plain([s])
        iter = one_turn(loop, f"t{self._stage.shared.index(k)}") if k in self._stage.shared else loop.iter
        return ast.For(loop.target, iter, body, [])

    def _plain(self, body: Sequence[ast.stmt]) -> Body:
        """Statements with errors told and returns without values."""
        found: Body = []
        for s in body:
            if isinstance(s, ast.Return):
                found += self._ended(s)
                continue
            made = copy.copy(s)
            for part in ("body", "orelse"):
                if getattr(made, part, None):
                    setattr(made, part, self._plain(getattr(made, part)))
            found.append(made)
        return found

    def _ended(self, s: ast.Return) -> Body:
        value, end = s.value, ast.Return()
        if not self._errors or value is None or (isinstance(value, ast.Constant) and not value.value):
            return [end]
        call = ast.Expr(ast.Call(ast.Name("fail", ast.Load()), [ast.Name("status", ast.Load()), value], []))
        return [call, end]


def one_turn(loop: ast.For, turn: str) -> ast.Call:
    """The range of one turn of a loop, which is empty where the loop does not turn so often."""
    assert isinstance(loop.iter, ast.Call)
    given = [ast.unparse(a) for a in loop.iter.args]
    first, stop, step = ("0", given[0], "1") if len(given) == 1 else (*given[:2], [*given, "1"][2])
    start = f"({first}) + {turn} * ({step})" if step != "1" else f"({first}) + {turn}"
    down = step.startswith("-")
    end = f"max({start} - 1, {stop})" if down else f"min({start} + 1, {stop})"
    made = ast.parse(f"range({start}, {end}{', -1' if down else ''})", mode="eval").body
    assert isinstance(made, ast.Call)
    return made


def turns_before(loop: ast.For, turn: str) -> ast.Call:
    """The range of the turns of a loop before a turn."""
    assert isinstance(loop.iter, ast.Call)
    given = [ast.unparse(a) for a in loop.iter.args]
    first, step = ("0", "1") if len(given) == 1 else (given[0], [*given, "1"][2])
    made = ast.parse(f"range({first}, ({first}) + {turn} * ({step}), {step})", mode="eval").body
    assert isinstance(made, ast.Call)
    return made


def strip(body: Sequence[ast.stmt], nodes: Sequence[ast.stmt]) -> Body:
    """Statements without those of some stages."""
    found: Body = []
    for s in body:
        if any(s is n for n in nodes):
            continue
        if isinstance(s, ast.If) and any(contains(s, n) for n in nodes):
            s = ast.If(s.test, strip(s.body, nodes) or [ast.Pass()], strip(s.orelse, nodes))
        found.append(s)
    return found


# ---- how often loops turn -------------------------------------------------------------------------------------------


class DependsOnElements(Exception):
    """Something that has to be known when a plan is bound is known only when it runs."""


class Outline:
    """An array of which only the shape is known."""

    def __init__(self, shape: tuple[int, ...], itemsize: int) -> None:
        self.shape, self.itemsize = shape, itemsize
        self.size, self.ndim = math.prod(shape), len(shape)

    @property
    def flat(self) -> Outline:
        """Its elements in one dimension, which nobody knows either."""
        return self

    def __getitem__(self, index: object) -> object:
        raise DependsOnElements

    def __len__(self) -> int:
        return self.shape[0]


Counts = tuple["int | None", ...]
"""How often each loop of a nest turns; None where that depends on elements, of loops that are not shared out."""


def turns(flat: Flat, stages: Sequence[Stage], number: int, values: Sequence[Any]) -> Counts | None:
    """How often each loop of a stage's nest turns; None where the stage is not reached.

    values: of the parameters: ``Outline`` of arrays, numbers. Raises ``DependsOnElements``.
    """
    stage, nodes = stages[number], [s.node for s in stages]
    found: list[int | None] = []
    for level in range(len(stage.levels)):
        try:
            count = _turns_of(flat, stage, nodes, level, values)
        except DependsOnElements:
            if level in stage.shared:
                raise
            found.append(None)
            continue
        if count is None:
            return None
        found.append(count)
    return tuple(found)


def shared_counts(stage: Stage, counts: Counts) -> list[int]:
    """Those of the loops that are shared out."""
    return [n for k in stage.shared if (n := counts[k]) is not None]


def _turns_of(flat: Flat, stage: Stage, nodes: Sequence[ast.stmt], level: int, values: Sequence[Any]) -> int | None:
    """How often one of the loops turns, with the conditions around the stage if they are known."""
    try:
        return _evaluated(flat, _counting(flat, stage, nodes, level, conditions=True), values)
    except DependsOnElements:
        return _evaluated(flat, _counting(flat, stage, nodes, level, conditions=False), values)


def _evaluated(flat: Flat, body: Body, values: Sequence[Any]) -> int | None:
    arguments = ast.arguments([], [ast.arg(p) for p in flat.params], None, [], [], None, [])
    function = ast.FunctionDef("turns", arguments, body, [], lineno=1)
    known = {f.__name__: f for f in (range, len, min, max, abs, int, float, bool)}
    scope: dict[str, Any] = {"np": np, "math": math, "__builtins__": known}
    exec(_text([*flat.functions.values(), function]), scope)
    with np.errstate(all="ignore"):
        found = scope["turns"](*values)
    return None if found is None else int(found)


def _counting(flat: Flat, stage: Stage, nodes: Sequence[ast.stmt], level: int, conditions: bool) -> Body:
    """Statements that return how often a loop turns: what the number does not need is left out."""
    heads: list[ast.stmt] = []
    for loop, inner_loop in zip(stage.levels[:level], stage.levels[1:]):
        assert isinstance(loop.iter, ast.Call)
        first = loop.iter.args[0] if len(loop.iter.args) > 1 else ast.Constant(0)
        heads.append(ast.Assign([loop.target], first))
        before = loop.body[: loop.body.index(inner_loop)]
        heads += [s for s in before if not has_effect(s) and isinstance(s, (ast.Assign, ast.AugAssign))]
    text = f"def f():\n    return len({_span_of(stage.levels[level])})"
    last = ast.parse(text).body[0]
    assert isinstance(last, ast.FunctionDef)
    inner, needed = _needed([*heads, last.body[0]], set(), keep=last.body)
    for body, k in reversed(way_to(flat.body, stage.node)):
        at = body[k]
        if at is not stage.node and conditions:
            assert isinstance(at, ast.If)
            inside = any(contains(s, stage.node) for s in at.body)
            inner = [ast.If(at.test, inner, []) if inside else ast.If(at.test, [ast.Pass()], inner)]
            needed |= _names(at.test)
        made, needed = _needed(strip(body[:k], nodes), needed, keep=())
        inner = [*made, *inner]
    return inner


def _span_of(loop: ast.For) -> str:
    """A range of as many numbers as that of a loop: ``range(n)`` for ``range(a, a + n)``."""
    assert isinstance(loop.iter, ast.Call)
    first, *last = loop.iter.args
    end = last[0] if len(last) == 1 else first
    if isinstance(end, ast.BinOp) and isinstance(end.op, ast.Add) and ast.unparse(end.left) == ast.unparse(first):
        return f"range({ast.unparse(end.right)})"
    return ast.unparse(loop.iter)


def _needed(body: Sequence[ast.stmt], needed: set[str], keep: Sequence[ast.stmt]) -> tuple[Body, set[str]]:
    """The statements that give names their values, and the names that these need."""
    found: Body = []
    needed = set(needed)
    for s in reversed(body):
        if s in keep or needed & set(assigned([s])):
            found.insert(0, s)
            needed |= _names(s)
    return found, needed


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
