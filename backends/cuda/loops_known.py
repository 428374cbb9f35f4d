"""How small integers of a loop may be where it reaches a place.

A size is 0 or more, and 1 or more where a loop over it turns, or where an element of its array is touched. Of an
argument nothing is known but what tests around the place say, or who asks for the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.cuda.loops_terms import ONE, ZERO, Monomial, Poly


@dataclass
class Atom:
    """same: for all iterations of the stage. whole: an integer. data: it depends on elements. range: from 0 to that.

    least: what it is at least, if that is known of itself. array: the array whose size it is, or whose sizes. kind and
    parts: how it was computed. sure: the range has a value wherever the atom occurs.
    """

    same: bool
    whole: bool
    data: bool = False
    range: Poly | None = None
    least: int | None = None
    array: str = ""
    kind: str = ""
    parts: tuple[Poly, ...] = ()


@dataclass(frozen=True)
class Facts:
    """positive: terms that are 1 or more. arrays: those that have elements."""

    positive: tuple[Poly, ...] = ()
    arrays: frozenset[str] = frozenset()

    def also(self, *positive: Poly, array: str = "") -> Facts:
        """With further ones."""
        new = tuple(p for p in positive if p not in self.positive and p.value is None)
        if not new and (not array or array in self.arrays):
            return self
        return Facts((*self.positive, *new), self.arrays | ({array} if array else set()))


class Known:
    """What facts say of atoms and terms."""

    def __init__(self, atoms: Mapping[str, Atom], facts: Facts) -> None:
        self._atoms, self._arrays = atoms, facts.arrays
        self._least: dict[str, int] = {}
        self._terms: list[Poly] = []
        for _ in range(3):  # one fact may tell the sign that another one needs
            self._terms.clear()
            for p in facts.positive:
                self._learn(p)

    def least(self, p: Poly) -> int | None:
        """What a term is at least; None where that is not known."""
        found = self._by_atoms(p)
        for term in self._terms:
            if (rest := self._by_atoms(p - term)) is not None:
                found = rest + 1 if found is None else max(found, rest + 1)
        return found

    def _by_atoms(self, p: Poly) -> int | None:
        """With each atom as its least value and what it has beyond that, where no factor of the latter is negative."""
        total = ZERO
        for m, n in p.terms:
            term = Poly.number(n)
            for a in m:
                if (least := self.atom(a)) is None:
                    return None
                term = term * (Poly.atom(a) + Poly.number(least))
            total = total + term
        return None if any(n < 0 for m, n in total.terms if m) else dict(total.terms).get((), 0)

    def atom(self, name: str) -> int | None:
        """What an atom is at least."""
        known = [n for n in (self._least.get(name), self._of_itself(self._atoms.get(name))) if n is not None]
        return max(known) if known else None

    def _of_itself(self, what: Atom | None) -> int | None:
        if what is None:
            return None
        if what.array:
            return int(what.array in self._arrays)
        if what.least is not None or not what.parts:
            return what.least
        parts = [self._by_atoms(p) for p in what.parts]
        numbers = [n for n in parts if n is not None]
        if what.kind == "max":
            return max(numbers) if numbers else None
        if None in parts:
            return None
        return _COMPUTED[what.kind](numbers) if what.kind in _COMPUTED else None

    def _learn(self, p: Poly) -> None:
        """A term is 1 or more."""
        inner = [(m, n) for m, n in p.terms if m]
        (m, n), constant = inner[0], sum(n for m, n in p.terms if not m)
        if len(inner) > 1 or n < 0:
            self._terms.append(p)
            return
        least = -((constant - 1) // n)
        if len(m) == 1:
            self._raise(m[0], least)
        elif least >= 1 and self._signs(m):
            for a in m:
                self._raise(a, 1)
        else:
            self._terms.append(p)

    def _signs(self, m: Monomial) -> bool:
        """A product that is positive has positive factors alone: at most one of them may be negative."""
        return sum((self.atom(a) or 0) < 0 or self.atom(a) is None for a in m) <= 1

    def _raise(self, name: str, least: int) -> None:
        """An atom is at least that; and what follows for what it was computed from."""
        self._least[name] = max(least, self._least.get(name, least))
        what = self._atoms.get(name)
        if what is None or least < 1:
            return
        if what.kind == "min":
            for p in what.parts:
                self._learn_all(p - Poly.number(least - 1))
        if what.kind == "FloorDiv" and (self.least(what.parts[0]) or 0) >= 0 and self.least(what.parts[0]) is not None:
            above, below = what.parts
            self._learn_all(below, above - below + ONE)

    def _learn_all(self, *terms: Poly) -> None:
        for p in terms:
            if p.value is None:
                self._learn(p)


def _quotient(numbers: Sequence[int]) -> int | None:
    return 0 if numbers[0] >= 0 and numbers[1] >= 1 else None


_COMPUTED: dict[str, Callable[[Sequence[int]], int | None]] = {
    "FloorDiv": _quotient,
    "Mod": lambda numbers: 0 if numbers[1] >= 1 else None,
    "digit": lambda numbers: 0 if min(numbers) >= 1 else None,
    "min": min,
    "either": min,
    "item": min,
    "int": lambda numbers: 0 if numbers[0] >= 0 else None,
    "abs": lambda numbers: max(0, numbers[0]),
}
"""What a value is at least, from what its parts are at least."""

_NOT = {"Lt": "GtE", "GtE": "Lt", "Gt": "LtE", "LtE": "Gt", "NotEq": "Eq"}


def said(atoms: Mapping[str, Atom], test: Poly, holds: bool) -> list[Poly]:
    """Terms that are 1 or more where a test of integers holds, or does not."""
    what = atoms.get(next(iter(test.atoms), ""))
    if what is None or len(test.terms) != 1 or test != Poly.atom(next(iter(test.atoms))):
        return []
    if what.kind == "Not":
        return said(atoms, what.parts[0], not holds)
    if what.kind == ("And" if holds else "Or"):
        return [p for part in what.parts for p in said(atoms, part, holds)]
    ops = what.kind.split()
    if not holds:
        ops = [_NOT.get(ops[0], "")] if len(ops) == 1 else []
    return [p for op, a, b in zip(ops, what.parts, what.parts[1:]) for p in _compared(atoms, op, a, b)]


def _compared(atoms: Mapping[str, Atom], op: str, a: Poly, b: Poly) -> list[Poly]:
    if not all(atoms[name].whole for name in a.atoms | b.atoms):
        return []
    found = {"Lt": [b - a], "LtE": [b - a + ONE], "Gt": [a - b], "GtE": [a - b + ONE]}
    return found["LtE"] + found["GtE"] if op == "Eq" else found.get(op, [])
