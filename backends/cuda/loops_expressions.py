"""Expressions of a loop evaluated on terms, and what elements they read.

A value is a term, a part of an array (``Part``) or a tuple of values. What is not a term of integers becomes an atom of
its own: named by its text where equal texts have equal values, else numbered.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from graphc.backends.cuda.loops_flat import Flat, base_name
from graphc.backends.cuda.loops_known import Atom, Facts, Known, said
from graphc.backends.cuda.loops_terms import ONE, ZERO, Poly, at_least

CASTS = {"int", "np.int64"}
"""Conversions that leave integers as they are."""


@dataclass(frozen=True)
class Part:
    """Elements of an array: those whose first indices are these. flat: seen as one dimension."""

    array: str
    indices: tuple[Poly, ...] = ()
    flat: bool = False

    def at(self, *more: Poly) -> Part:
        """The part at further indices."""
        return Part(self.array, (*self.indices, *more), self.flat)


Value = Union[Poly, Part, tuple["Value", ...]]
Size = Union[int, tuple[int, ...]]
"""A number that is known, or the shape of an array."""


@dataclass(frozen=True)
class Touch:
    """An access to elements. always: whenever the iteration of its innermost loop runs; loops: atoms of those around.

    part: None for an unknown part of the array. facts: what holds there.
    """

    array: str
    part: Part | None
    store: bool
    always: bool
    loops: tuple[str, ...]
    facts: Facts = field(default_factory=Facts)


class Undecided(Exception):
    """A test that is the same for all iterations has to be decided first; the text of the test."""


class Split(Exception):
    """A variable has to be seen as digits: (variable, divisor)."""


@dataclass
class Expressions:
    """An evaluation.

    numbers: arguments that are no arrays -> they are integers. decided: tests known to be true or false. chains: of
    variables the divisors by which they are seen as digits, each a multiple of the one before. careful: undecided tests
    are asked for. reached: nothing before has returned for certain. turned: no loop of the nest is known to be empty.
    turning: what is evaluated is a turn. fixed: arrays that nothing stores into. elements: of atoms that are elements
    of these, which. sizes: what is known of parameters. positive: those that are 1 or more, or have elements.
    facts: what holds where the evaluation is. integers: arrays whose elements are integers.
    """

    flat: Flat
    numbers: Mapping[str, bool]
    decided: Mapping[str, bool] = field(default_factory=dict)
    chains: dict[str, list[Poly]] = field(default_factory=dict)
    careful: bool = False
    atoms: dict[str, Atom] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    codes: list[ast.Return] = field(default_factory=list)
    names: dict[str, Value] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    elements: dict[str, Part] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)
    positive: Collection[str] = ()
    integers: Collection[str] = ()
    facts: Facts = field(default_factory=Facts)
    reached: bool = True
    turned: bool = True
    turning: bool = False
    _count: int = 0
    _loops: tuple[str, ...] = ()
    _always: bool = True
    _scope: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in self.flat.params:
            size = self.sizes.get(name)
            if name in self.numbers:
                atom = Atom(True, self.numbers[name], least=1 if name in self.positive else None)
                self.names[name] = self.atom(name, atom) if size is None else _as_value(size) or ZERO
            else:
                self.names[name] = Part(name)

    # ---- atoms ------------------------------------------------------------------------------------------------------

    def atom(self, name: str, what: Atom) -> Poly:
        """A term that is an atom."""
        self.atoms.setdefault(name, what)
        return Poly.atom(name)

    def fresh(self, stem: str, parts: Sequence[Value] = (), same: bool = True, data: bool = False) -> Poly:
        """An atom like no other, which depends on parts."""
        self._count += 1
        same = same and all(map(self.is_same, parts))
        return self.atom(f"{stem}#{self._count}", Atom(same, False, data or any(map(self.has_data, parts))))

    def named(
        self, text: str, parts: Sequence[Value], whole: bool = False, range: Poly | None = None, kind: str = ""
    ) -> Poly:
        """The atom of a text whose value follows from parts; kind: how, if they are numbers."""
        same, data = all(map(self.is_same, parts)), any(map(self.has_data, parts))
        numbers = tuple(p for p in parts if isinstance(p, Poly)) if kind else ()
        return self.atom(text, Atom(same, whole, data, range, kind=kind, parts=numbers))

    def entry(self, text: str, base: Sequence[Value], indices: Sequence[Poly], whole: bool) -> Poly:
        """The atom of one of several numbers, of each of which the same is known."""
        made = self.named(text, [*base, *indices], whole)
        if all(isinstance(p, Poly) for p in base):
            self.atoms[text].kind, self.atoms[text].parts = "item", tuple(p for p in base if isinstance(p, Poly))
        return made

    def size(self, text: str, part: Part, *indices: Poly) -> Poly:
        """The atom of a size, or the sizes, of a part of an array."""
        made = self.named(text, [*part.indices, *indices], whole=True)
        self.atoms[text].least, self.atoms[text].array = 0, "" if part.indices else part.array
        if part.array in self.positive:
            self.atoms[text].least, self.atoms[text].array = 1, ""
        return made

    def is_same(self, value: Value) -> bool:
        """It is the same in all iterations."""
        return all(self.atoms[a].same for a in self._atoms_of(value))

    def has_data(self, value: Value) -> bool:
        """It depends on elements of arrays."""
        return any(self.atoms[a].data for a in self._atoms_of(value))

    def _atoms_of(self, value: Value) -> set[str]:
        if isinstance(value, Poly):
            return value.atoms
        if isinstance(value, Part):
            return {a for p in value.indices for a in p.atoms}
        return {a for v in value for a in self._atoms_of(v)}

    @contextmanager
    def sometimes(self) -> Iterator[None]:
        """What happens inside need not happen, and what it shows does not hold after it."""
        before, facts, self._always = self._always, self.facts, False
        yield
        self._always, self.facts = before, facts

    def learn(self, test: Poly, holds: bool) -> None:
        """A test has been made: what it says holds from here on."""
        self.facts = self.facts.also(*said(self.atoms, test, holds))

    # ---- expressions ------------------------------------------------------------------------------------------------

    def number(self, node: ast.expr) -> Poly:
        """The term of an expression; elements that it reads are noted."""
        return self.as_number(self.value(node))

    def as_number(self, value: Value) -> Poly:
        """A value as a term: that of a part of an array is an atom of its own, and the part is read."""
        if isinstance(value, Part):
            self.touch(value, store=False)
            return self._element(value) if value.array in self.fixed else self.fresh(value.array, [value], data=True)
        if isinstance(value, tuple):
            return self.fresh("tuple", value)
        return value

    def _element(self, part: Part) -> Poly:
        """An element that nothing stores: one atom wherever it is read."""
        name = f"{text_of(part)}{'.flat' if part.flat else ''}"
        self.elements[name] = part
        return self.atom(name, Atom(self.is_same(part), part.array in self.integers, True))

    def touch(self, part: Part, store: bool) -> None:
        """Note an access."""
        self.facts = self.facts.also(*_not_empty(part), array=part.array if part.flat and part.indices else "")
        self.touches.append(Touch(part.array, part, store, self._always, self._loops, self.facts))

    def value(self, node: ast.expr) -> Value:
        """The value of an expression."""
        return getattr(self, "_" + type(node).__name__, self._opaque)(node)

    def _opaque(self, node: ast.expr) -> Value:
        return self.fresh("value", [self.value(n) for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)])

    def _Constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, int):
            return Poly.number(int(node.value))
        return self.named(repr(node.value), ())

    def _Name(self, node: ast.Name) -> Value:
        if node.id in self.names:
            return self.names[node.id]
        return self.named(node.id, ())  # a module

    def _Tuple(self, node: ast.Tuple) -> Value:
        return tuple(self.value(e) for e in node.elts)

    def _Attribute(self, node: ast.Attribute) -> Value:
        if isinstance(node.value, ast.Name) and node.value.id in ("np", "math"):
            return self.named(ast.unparse(node), ())
        base = self.value(node.value)
        if isinstance(base, Part) and node.attr == "flat":
            return Part(base.array, base.indices, True)
        if isinstance(base, Part):
            known = self._known_attribute(base, node.attr)
            return known if known is not None else self.size(f"{text_of(base)}.{node.attr}", base)
        return self.fresh(node.attr, [base])

    def _known_attribute(self, part: Part, name: str) -> Value | None:
        """The shape or size of an array where it is known."""
        shape = self.sizes.get(part.array)
        if not isinstance(shape, tuple) or part.indices:
            return None
        if name == "shape" and not part.flat:
            return tuple(map(Poly.number, shape))
        return Poly.number(math.prod(shape)) if name == "size" else None

    def _Subscript(self, node: ast.Subscript) -> Value:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            index = self.number(node.slice)
            base = self.value(node.value)
            if isinstance(base, Poly):
                return self.entry(f"{base}[{index}]", [base], [index], whole=True)
        if isinstance(node.slice, ast.Slice):
            base = self.value(node.value)
            if isinstance(base, Part):
                self.touches.append(Touch(base.array, None, isinstance(node.ctx, ast.Store), False, self._loops))
            return self.fresh("slice", [base])
        base, given = self.value(node.value), self.value(node.slice)
        indices = tuple(self.as_number(v) for v in (given if isinstance(given, tuple) else (given,)))
        if isinstance(base, Part):
            return base.at(*indices)
        if isinstance(base, tuple):
            k = indices[0].value
            if k is not None and -len(base) <= k < len(base):
                return base[k]
            return self.entry(f"{text_of(base)}[{indices[0]}]", base, indices, all(map(self._is_integer, base)))
        whole = all(self.atoms[a].whole for a in base.atoms)
        return self.entry(f"({base})[{', '.join(map(str, indices))}]", [base], indices, whole)

    def _UnaryOp(self, node: ast.UnaryOp) -> Value:
        v = self.number(node.operand)
        if isinstance(node.op, ast.USub):
            return -v
        if isinstance(node.op, ast.Not) and v.value is not None:
            return Poly.number(int(not v.value))
        kind = type(node.op).__name__
        return self.named(f"{kind}({v})", [v], kind=kind)

    def _BinOp(self, node: ast.BinOp) -> Value:
        first, second = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(first, tuple):
            return (*first, second) if isinstance(second, tuple) else self.fresh("joined", [*first, second])
        a, b = self.as_number(first), self.as_number(second)
        if isinstance(node.op, (ast.FloorDiv, ast.Mod)):
            self._not_zero(b)
        if isinstance(node.op, ast.Add):
            return a + b
        if isinstance(node.op, ast.Sub):
            return a - b
        if isinstance(node.op, ast.Mult):
            return a * b
        if isinstance(node.op, (ast.FloorDiv, ast.Mod)) and (found := self._divided(a, b, type(node.op))) is not None:
            return found
        whole = isinstance(node.op, (ast.FloorDiv, ast.Mod)) and self.is_whole(a) and self.is_whole(b)
        range, kind = b if isinstance(node.op, ast.Mod) and whole else None, type(node.op).__name__
        return self.named(f"{kind}({a}, {b})", [a, b], whole, range, kind if whole else "")

    def _not_zero(self, divisor: Poly) -> None:
        """A division shows that a size is not 0."""
        size = divisor.value is None and self.is_whole(divisor)
        if size and at_least(divisor, 0, Known(self.atoms, self.facts).least):
            self.facts = self.facts.also(divisor)

    def is_whole(self, p: Poly) -> bool:
        """It is known to be an integer."""
        return all(self.atoms[a].whole for a in p.atoms)

    def _divided(self, a: Poly, b: Poly, kind: type[ast.operator]) -> Poly | None:
        """Quotient or rest of numbers; of the variable of a loop, or of a quotient of one, by its digits."""
        if a.value is not None and b.value:
            return Poly.number(a.value // b.value if kind is ast.FloorDiv else a.value % b.value)
        if b == ONE:
            return a if kind is ast.FloorDiv else ZERO
        if (exact := a.over(b)) is not None:
            return exact if kind is ast.FloorDiv else ZERO
        if not self.is_same(b):
            return None
        for variable, chain in self.chains.items():
            for k in range(len(chain)):
                if self._from(variable, k) == a:
                    divisor = chain[k] * b
                    if divisor in chain:
                        at = chain.index(divisor)
                        return self._from(variable, at) if kind is ast.FloorDiv else self._between(variable, k, at)
                    raise Split(variable, divisor)
        return None

    def digit(self, variable: str, k: int) -> Poly:
        """The k-th digit of a variable."""
        return Poly.atom(f"{variable}.{k}" if len(self.chains[variable]) > 1 else variable)

    def _between(self, variable: str, low: int, high: int) -> Poly:
        """What the digits from ``low`` up to ``high`` make, counted in units of the lowest."""
        chain, total = self.chains[variable], ZERO
        for k in range(low, high):
            unit = chain[k].over(chain[low])
            assert unit is not None
            total = total + unit * self.digit(variable, k)
        return total

    def _from(self, variable: str, k: int) -> Poly:
        return self._between(variable, k, len(self.chains[variable]))

    def digits_of(self, variable: str) -> list[str]:
        """The atoms of the digits of a variable."""
        return [a for k in range(len(self.chains[variable])) for a in self.digit(variable, k).atoms]

    def folded(self, index: Poly) -> Poly:
        """An index in which the digits of a variable that stand there together are the variable again."""
        for variable, chain in self.chains.items():
            lowest = self.digit(variable, 0)
            for m, n in index.terms if len(chain) > 1 else ():
                if lowest.terms[0][0][0] in m:
                    factor = Poly((((*(a for a in m if a != lowest.terms[0][0][0]),), n),))
                    whole = index - factor * self._from(variable, 0)
                    if not whole.atoms & set(self.digits_of(variable)):
                        index = whole + factor * Poly.atom(variable)
                        break
        return index

    def array_of(self, node: ast.expr) -> str | None:
        """The array that an expression is a part of."""
        value = self.names.get(base_name(node) or "")
        return value.array if isinstance(value, Part) else None

    def start(self, variable: str, same: bool, size: Poly | None) -> Poly:
        """The term of a variable of a loop, from 0 on."""
        chain = self.chains.setdefault(variable, [ONE])
        self.atoms[variable] = Atom(same, True, False, size, least=0)
        for k in range(len(chain)):
            above = chain[k + 1] if k + 1 < len(chain) else size
            name = next(iter(self.digit(variable, k).atoms))
            if name != variable:
                size_of = None if above is None else above.over(chain[k])
                self.atoms[name] = Atom(same, True, False, size_of, kind="digit", parts=tuple(chain))
        return self._from(variable, 0)

    def _Compare(self, node: ast.Compare) -> Value:
        parts = [self.number(node.left), self.number(node.comparators[0])]
        with self.sometimes():
            parts += [self.number(c) for c in node.comparators[1:]]
        if (decided := _compared(node.ops, [p.value for p in parts])) is not None:
            return Poly.number(int(decided))
        ops = " ".join(type(o).__name__ for o in node.ops)
        return self.named(f"{ops}({', '.join(map(str, parts))})", parts, kind=ops)

    def _BoolOp(self, node: ast.BoolOp) -> Value:
        parts, both = [self.number(node.values[0])], isinstance(node.op, ast.And)
        with self.sometimes():
            for value in node.values[1:]:
                self.learn(parts[-1], both)
                parts.append(self.number(value))
        numbers = [p.value for p in parts]
        if None not in numbers:
            ends = [n for n in numbers if bool(n) is not both]
            return Poly.number((ends or numbers)[0 if ends else -1] or 0)
        if both and 0 in numbers:
            return ZERO
        kind = type(node.op).__name__
        return self.named(f"{kind}({', '.join(map(str, parts))})", parts, kind=kind)

    def _IfExp(self, node: ast.IfExp) -> Value:
        test = self.number(node.test)
        if (known := self.known(test)) is not None:
            self.learn(test, known)
            return self.value(node.body if known else node.orelse)
        with self.sometimes():
            self.learn(test, True)
            a = self.value(node.body)
        with self.sometimes():
            self.learn(test, False)
            b = self.value(node.orelse)
        return a if a == b else self.either(test, a, b)

    def either(self, test: Poly, a: Value, b: Value) -> Value:
        """One of two values, by a test."""
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            return tuple(self.either(test, p, q) for p, q in zip(a, b))
        if isinstance(a, Poly) and isinstance(b, Poly):
            made = self.named(f"({a} if {test} else {b})", [test, a, b], self.is_whole(a) and self.is_whole(b))
            (name,) = made.atoms
            self.atoms[name].kind, self.atoms[name].parts = "either", (a, b)
            return made
        return self.fresh("either", [test, a, b])

    def known(self, test: Poly) -> bool | None:
        """What a test is known to be."""
        if test.value is not None:
            return bool(test.value)
        if str(test) in self.decided:
            return self.decided[str(test)]
        if self.careful and self.is_same(test) and not self.has_data(test):
            raise Undecided(str(test))
        return None

    def _Call(self, node: ast.Call) -> Value:
        values = [self.value(a) for a in node.args]
        if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
            return self.fresh(node.func.attr, [self.number(node.func.value), *values])
        name = ast.unparse(node.func)
        if name == "len" and values:
            if isinstance(values[0], tuple):
                return Poly.number(len(values[0]))
            if isinstance(values[0], Part):
                return self.size(f"len({text_of(values[0])})", values[0])
            made = self.named(f"len({text_of(values[0])})", values, whole=True)
            self.atoms[f"len({text_of(values[0])})"].least = 0
            return made
        if name in CASTS and isinstance(values[0], (Poly, Part)):
            v = self.as_number(values[0])
            made = v if self.is_whole(v) else self.named(f"{name}({v})", [v], whole=True, kind="int")
            if str(v) in self.elements and made != v:
                self.elements[str(made)] = self.elements[str(v)]
            return made
        if name not in self.flat.functions:
            parts = [self.as_number(v) for v in values]
            numbers = [p.value for p in parts if p.value is not None]
            if name in ("min", "max") and len(numbers) == len(parts) > 1:
                return Poly.number(min(numbers) if name == "min" else max(numbers))
            whole = name in ("min", "max", "abs") and all(map(self.is_whole, parts))
            return self.named(f"{name}({', '.join(map(str, parts))})", parts, whole, kind=name if whole else "")
        if (found := self._run(name, values)) is not None:
            return found
        reads = [p for i, v in enumerate(values) if i in self.flat.reads[name] for p in _parts(v)]
        for part in reads:
            self.touches.append(Touch(part.array, None, False, False, self._loops))
        if reads:
            return self.fresh(name, values, data=True)
        parts = [p for v in values for p in (v.indices if isinstance(v, Part) else (self.as_number(v),))]
        return self.named(f"{name}({', '.join(map(text_of, values))})", parts)

    def _is_integer(self, value: Value) -> bool:
        return isinstance(value, Poly) and self.is_whole(value)

    def _run(self, name: str, values: Sequence[Value]) -> Value | None:
        """What a function of the loop gives for numbers that are all known; None for others."""
        given = [_plain(v) for v in values]
        if any(v is None for v in given):
            return None
        if self._scope is None:
            self._scope = {"np": np, "math": math}
            exec("\n".join(map(ast.unparse, self.flat.functions.values())), self._scope)
        return _as_value(self._scope[name](*given))


def _plain(value: Value) -> Size | tuple[object, ...] | None:
    """A value as Python's, None where not all of it is known."""
    if isinstance(value, tuple):
        found = tuple(map(_plain, value))
        return None if None in found else found
    return value.value if isinstance(value, Poly) else None


def _as_value(found: object) -> Value | None:
    if isinstance(found, tuple):
        parts = [_as_value(f) for f in found]
        return None if None in parts else tuple(p for p in parts if p is not None)
    return Poly.number(int(found)) if isinstance(found, (bool, int, np.integer)) else None


COMPARED: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _compared(ops: Sequence[ast.cmpop], numbers: Sequence[int | None]) -> bool | None:
    """What a comparison of numbers gives, None where one is not known."""
    if None in numbers or any(type(op) not in COMPARED for op in ops):
        return None
    pairs = zip(ops, numbers, numbers[1:])
    return all(COMPARED[type(op)](a, b) for op, a, b in pairs if a is not None and b is not None)


def text_of(value: Value) -> str:
    """A value as a part of an atom's name."""
    if isinstance(value, Part):
        return value.array + "".join(f"[{p}]" for p in value.indices)
    return str(value) if isinstance(value, Poly) else f"({', '.join(map(text_of, value))})"


def _not_empty(part: Part) -> list[Poly]:
    """The sizes of which an access shows that they are not 0: that of each index, which need not be the last ones."""
    texts = [f"len({part.array})", *(f"{part.array}.shape[{k}]" for k in range(len(part.indices)))]
    texts += [f"({part.array}.shape)[{k}]" for k in range(len(part.indices))]
    return [Poly.atom(text) for text in texts] if part.indices and not part.flat else []


def _parts(value: Value) -> list[Part]:
    """The parts of arrays that a value has."""
    if isinstance(value, tuple):
        return [p for v in value for p in _parts(v)]
    return [value] if isinstance(value, Part) else []


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "math")
