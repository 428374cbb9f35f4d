"""A record's loop as one list of statements: functions that store into arrays stand where they were called.

Functions that only compute stay functions. What is known beforehand is folded, so that a branch that a caller rules out
by a literal is gone.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.backends.cuda.loops_rewrite import Body, as_search, simpler


class Refusal(Exception):
    """A loop cannot run on a card; the text says why."""


@dataclass
class Flat:
    """params: of the loop, in order. body: its statements, with names that occur in no other function.

    functions: those that are still called; they store nothing. reads: of each of them the parameters (by position)
    whose elements it reads.
    """

    params: list[str]
    body: Body
    functions: dict[str, ast.FunctionDef]
    reads: dict[str, set[int]] = field(default_factory=dict)


def flatten(source: str) -> Flat:
    """The loop of a source as ``loop_source`` gives it. Raises ``Refusal``."""
    functions = {f.name: f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)}
    effects = _Effects(functions)
    loop = functions["loop"]
    maker = _Inliner(functions, effects)
    body = maker.expand(loop, [ast.Name(a.arg, ast.Load()) for a in loop.args.args])
    called = {n.func.id for s in body for n in ast.walk(s) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    kept = _closure(called, functions)
    reads = {name: effects.reads(name) for name in kept}
    return Flat([a.arg for a in loop.args.args], body, {n: functions[n] for n in functions if n in kept}, reads)


def _closure(names: set[str], functions: Mapping[str, ast.FunctionDef]) -> set[str]:
    found: set[str] = set()
    left = [n for n in names if n in functions]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [n.id for n in ast.walk(functions[name]) if isinstance(n, ast.Name) and n.id in functions]
    return found


def base_name(node: ast.expr) -> str | None:
    """``x`` of ``x.flat[i]``, ``x[k].shape`` and the like."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def stores_in(node: ast.AST) -> bool:
    """Something is stored into an array."""
    return any(isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) for n in ast.walk(node))


def fixed_arrays(flat: Flat) -> frozenset[str]:
    """The parameters into which nothing is stored; none where something is stored through another name."""
    nodes = [n for s in flat.body for n in ast.walk(s)]
    stored = {base_name(n) for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)}
    return frozenset(flat.params) - stored if stored <= set(flat.params) else frozenset()


class _Effects:
    """What functions do with the arrays that they are given."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef]) -> None:
        self._functions = functions
        self._stores: dict[str, set[int]] = {}
        self._reads: dict[str, set[int]] = {}

    def stores(self, name: str) -> set[int]:
        """The parameters into which a function stores."""
        return self._found(name, self._stores, ast.Store)

    def reads(self, name: str) -> set[int]:
        """The parameters of which it reads elements, if they are arrays."""
        return self._found(name, self._reads, ast.Load)

    def _found(self, name: str, table: dict[str, set[int]], context: type[ast.expr_context]) -> set[int]:
        if name in table:
            return table[name]
        table[name] = set()  # a function that calls itself
        function = self._functions[name]
        places = {a.arg: i for i, a in enumerate(function.args.args)}
        bases = _aliases(function, places)
        for node in ast.walk(function):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, context) and not _is_shape(node.value):
                table[name] |= bases.get(base_name(node) or "", set())
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._functions:
                inner = self._found(node.func.id, table, context)
                for i in inner:
                    if i < len(node.args) and not _is_shape(node.args[i]):
                        table[name] |= bases.get(base_name(node.args[i]) or "", set())
        return table[name]


def _is_shape(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "shape"


def _aliases(function: ast.FunctionDef, places: Mapping[str, int]) -> dict[str, set[int]]:
    """The parameters that each name of a function may stand for a part of."""
    bases = {name: {i} for name, i in places.items()}
    for _ in range(2):  # an alias of an alias
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    for name, value in _pairs(target, node.value):
                        known = bases.get(base_name(value) or "", set())
                        bases[name] = bases.get(name, set()) | known
    return bases


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return [pair for t, v in zip(target.elts, value.elts) for pair in _pairs(t, v)]
    return [(target.id, value)] if isinstance(target, ast.Name) else []


class _Inliner:
    """Puts the bodies of functions that store in the place of their calls."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef], effects: _Effects) -> None:
        self._functions, self._effects, self._count = functions, effects, 0
        loop = functions["loop"]
        self._changed = {loop.args.args[i].arg for i in effects.stores("loop")}

    def expand(self, function: ast.FunctionDef, args: Sequence[ast.expr]) -> Body:
        """The statements of a call, with its returns."""
        number, self._count = self._count, self._count + 1
        if number > 60:
            raise Refusal("its functions call each other too deep")
        changed = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        head: Body = []
        names: dict[str, ast.expr] = {}
        for parameter, value in zip(function.args.args, args):
            if _plain(value) and parameter.arg not in changed:
                names[parameter.arg] = value
            else:
                local = _local(parameter.arg, number)
                head.append(ast.Assign([ast.Name(local, ast.Store())], value))
                names[parameter.arg] = ast.Name(local, ast.Load())
                changed.discard(parameter.arg)
        names |= {n: ast.Name(_local(n, number), ast.Load()) for n in changed}
        body = [Renamer(names).visit(copy.deepcopy(s)) for s in function.body]
        return head + self._block(simpler(fold(body)), tail=True)

    def _block(self, body: Sequence[ast.stmt], tail: bool) -> Body:
        found: Body = []
        for statement in body:
            found += self._statement(statement, tail)
            if found and isinstance(found[-1], ast.Return):
                break
        return found

    def _statement(self, s: ast.stmt, tail: bool) -> Body:
        call = s.value if isinstance(s, (ast.Expr, ast.Assign, ast.Return)) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and self._stores(call):
            function = self._functions[call.func.id]
            if isinstance(s, ast.Return) and tail:
                return self.expand(function, call.args)
            if isinstance(s, ast.Return):
                raise Refusal(f"it returns what {function.name} returns, from the midst of its work")
            target = s.targets[0] if isinstance(s, ast.Assign) else None
            return _without_returns(function.name, self.expand(function, call.args), target)
        if isinstance(s, (ast.For, ast.While)):
            s.body = self._block(s.body, False)
            return [s]
        if isinstance(s, ast.If):
            if tail and (searched := self._search(s)) is not None:
                return searched
            s.body, s.orelse = self._block(s.body, tail) or [ast.Pass()], self._block(s.orelse, tail)
            self._refuse_calls(s.test)
            return [s]
        self._refuse_calls(s)
        return [*self._looks_of(s), s]

    def _looks_of(self, s: ast.stmt) -> Body:
        """Before a statement the work of functions that it calls on arrays which the loop stores into.

        Their results have names of their own afterwards: it is seen then which elements they read.
        """
        found: Body = []
        for parent, name, call in _calls_in(s):
            function = self._functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
            if function is None or not self._looks_at_changed(function.name, call.args):
                continue
            result = ast.Name(f"result_{self._count}", ast.Load())
            try:
                made = self.expand(function, call.args)
                found += _without_returns(function.name, made, ast.Name(result.id, ast.Store()))
            except Refusal:
                continue
            setattr(parent, name, result)
        return found

    def _looks_at_changed(self, name: str, args: Sequence[ast.expr]) -> bool:
        reads = self._effects.reads(name)
        return any(base_name(a) in self._changed for i, a in enumerate(args) if i in reads and not _is_shape(a))

    def _search(self, s: ast.If) -> Body | None:
        """``if outside(...): return 1`` as the loop of that function, None for other branches."""
        call, last = s.test, s.body[0]
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in self._functions):
            return None
        if s.orelse or len(s.body) != 1 or not isinstance(last, ast.Return) or not isinstance(last.value, ast.Constant):
            return None
        function = self._functions[call.func.id]
        if not last.value.value or self._stores(call) or (body := as_search(function, last.value)) is None:
            return None
        made = ast.FunctionDef(function.name, function.args, body, [], lineno=1)
        return self.expand(made, call.args)

    def _stores(self, call: ast.Call) -> bool:
        assert isinstance(call.func, ast.Name)
        return call.func.id in self._functions and bool(self._effects.stores(call.func.id))

    def _refuse_calls(self, node: ast.AST) -> None:
        for n in ast.walk(node):
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and self._stores(n):
                raise Refusal(f"it computes with what {n.func.id} returns, which stores into arrays")


def _calls_in(node: ast.AST) -> list[tuple[ast.AST, str, ast.Call]]:
    """The calls that a statement certainly makes, in order, with the node and the field where each stands."""
    found: list[tuple[ast.AST, str, ast.Call]] = []
    if isinstance(node, (ast.IfExp, ast.BoolOp, ast.Call)):
        return found
    for name, child in ast.iter_fields(node):
        if isinstance(child, ast.Call):
            found.append((node, name, child))
        elif isinstance(child, ast.AST):
            found += _calls_in(child)
    return found


def _local(name: str, number: int) -> str:
    """A variable of the ``number``-th function that is written out; no name of a kernel begins with two lines."""
    return f"{name.lstrip('_') or 'unused'}_{number}"


def _plain(value: ast.expr) -> bool:
    """A name, a number, or an attribute of a name: it may be written out as often as it is used."""
    if isinstance(value, ast.UnaryOp):
        value = value.operand
    return isinstance(value, (ast.Name, ast.Constant)) or (
        isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name)
    )


class Renamer(ast.NodeTransformer):
    """Puts expressions in the place of names."""

    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """What stands for a name."""
        new = self._names.get(node.id)
        if new is None:
            return node
        if isinstance(new, ast.Name):
            return ast.Name(new.id, node.ctx)
        return copy.deepcopy(new)

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """The function's name is no variable."""
        node.args = [self.visit(a) for a in node.args]
        if not isinstance(node.func, ast.Name):
            node.func = self.visit(node.func)
        return node


def _without_returns(name: str, body: Body, target: ast.expr | None) -> Body:
    """The body of a call with its returns, which stand at the end of branches, as assignments to the target."""
    body = joined_branches(body)
    found: Body = []
    for s in body:
        if isinstance(s, ast.Return):
            if target is not None:
                found.append(ast.Assign([target], s.value or ast.Constant(0)))
        elif isinstance(s, ast.If):
            s.body = _without_returns(name, s.body, target) or [ast.Pass()]
            s.orelse = _without_returns(name, s.orelse, target)
            found.append(s)
        elif any(isinstance(n, ast.Return) for n in ast.walk(s)):
            raise Refusal(f"{name} returns from the midst of a loop")
        else:
            found.append(s)
    return found


def joined_branches(body: Sequence[ast.stmt]) -> Body:
    """``if a: ... return`` and what follows as ``if a: ... return`` and else what follows."""
    for k, s in enumerate(body):
        if isinstance(s, ast.Return):
            return list(body[: k + 1])
        rest = list(body[k + 1 :])
        if isinstance(s, ast.If) and rest and (_ends(s.body) or (s.orelse and _ends(s.orelse))):
            if _ends(s.body):
                s.orelse = [*s.orelse, *rest]
            else:
                s.body = [*s.body, *rest]
            s.body, s.orelse = joined_branches(s.body), joined_branches(s.orelse)
            return [*body[:k], s]
        if isinstance(s, ast.If):
            s.body, s.orelse = joined_branches(s.body), joined_branches(s.orelse)
    return list(body)


def _ends(body: Sequence[ast.stmt]) -> bool:
    """Nothing after these statements runs."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, ast.If):
        return _ends(last.body) and _ends(last.orelse)
    return isinstance(last, ast.Return)


# ---- folding --------------------------------------------------------------------------------------------------------


def fold(body: Sequence[ast.stmt]) -> Body:
    """The statements without branches that literals rule out."""
    found: Body = []
    for s in body:
        made = _Folder().visit(s)
        found += made if isinstance(made, list) else [made]
        if found and isinstance(found[-1], ast.Return):
            break
    return found


class _Folder(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        left, right = node.left, node.comparators[0]
        if len(node.ops) == 1 and isinstance(left, ast.Constant) and isinstance(right, ast.Constant | ast.Tuple):
            return ast.Constant(bool(eval(ast.unparse(node), {"__builtins__": {}}))) if _literal(right) else node
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant):
            return ast.Constant(not node.operand.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        stop = isinstance(node.op, ast.Or)
        kept: list[ast.expr] = []
        for value in node.values:
            if isinstance(value, ast.Constant):
                if bool(value.value) is stop:
                    kept.append(value)
                    break
                continue
            kept.append(value)
        if not kept:
            return ast.Constant(not stop)
        if isinstance(kept[0], ast.Constant) or len(kept) == 1:
            return kept[0]
        node.values = kept
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_If(self, node: ast.If) -> ast.stmt | Body:
        node.test = self.visit(node.test)
        if isinstance(node.test, ast.Constant):
            return fold(node.body if node.test.value else node.orelse)
        node.body, node.orelse = fold(node.body) or [ast.Pass()], fold(node.orelse)
        return node

    def visit_For(self, node: ast.For) -> ast.stmt:
        node.iter, node.body = self.visit(node.iter), fold(node.body) or [ast.Pass()]
        return node

    def visit_While(self, node: ast.While) -> ast.stmt:
        node.test, node.body = self.visit(node.test), fold(node.body) or [ast.Pass()]
        return node


def _literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or (
        isinstance(node, ast.Tuple) and all(isinstance(e, ast.Constant) for e in node.elts)
    )
