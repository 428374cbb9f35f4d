"""Integer terms of kernels' indices: polynomials over atoms, and how a place in memory tells which iteration made it.

An atom is a text: a size, an argument, the number of an iteration. How small terms may be is asked (``Least``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Monomial = tuple[str, ...]
"""Atoms, sorted; with repetitions."""


@dataclass(frozen=True)
class Poly:
    """terms: of each monomial the factor, none of them 0; sorted."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(terms: Mapping[Monomial, int]) -> Poly:
        """Without the terms that are 0."""
        return Poly(tuple(sorted((m, n) for m, n in terms.items() if n)))

    @staticmethod
    def number(n: int) -> Poly:
        """A constant."""
        return Poly.of({(): n})

    @staticmethod
    def atom(name: str) -> Poly:
        """One atom."""
        return Poly((((name,), 1),))

    def __add__(self, other: Poly) -> Poly:
        found = dict(self.terms)
        for m, n in other.terms:
            found[m] = found.get(m, 0) + n
        return Poly.of(found)

    def __neg__(self) -> Poly:
        return Poly(tuple((m, -n) for m, n in self.terms))

    def __sub__(self, other: Poly) -> Poly:
        return self + -other

    def __mul__(self, other: Poly) -> Poly:
        found: dict[Monomial, int] = {}
        for a, n in self.terms:
            for b, k in other.terms:
                m = tuple(sorted(a + b))
                found[m] = found.get(m, 0) + n * k
        return Poly.of(found)

    @property
    def value(self) -> int | None:
        """The constant that it is, None for others."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def atoms(self) -> set[str]:
        """All its atoms."""
        return {a for m, _ in self.terms for a in m}

    def over(self, other: Poly) -> Poly | None:
        """The quotient where this is a multiple of ``other``, None where that is not seen."""
        if self == other:
            return ONE
        if len(other.terms) != 1:
            return None
        (below, factor), found = other.terms[0], {}
        for m, n in self.terms:
            left = list(m)
            for a in below:
                if a not in left:
                    return None
                left.remove(a)
            if n % factor:
                return None
            found[tuple(left)] = n // factor
        return Poly.of(found)

    def __str__(self) -> str:
        parts = ["*".join([*([str(n)] if n != 1 or not m else []), *m]) for m, n in self.terms]
        return " + ".join(parts) or "0"


ZERO, ONE = Poly(()), Poly.number(1)


Least = Callable[[Poly], "int | None"]
"""What a term is at least; None where that is not known."""


Extraction = tuple[str, str, str]
"""How a variable follows from an index: (index - offset) // first % second, third: the offset; texts of terms."""


def extractions(
    index: Poly, digits: Mapping[str, Poly | None], wanted: Sequence[str], least: Least
) -> dict[str, Extraction]:
    """Of each wanted variable that follows from an index, how.

    digits: all variables of indices, with the number of values, 1 or more, where it is known. Anything else is the same
    for all iterations.
    """
    split = _split(index, digits)
    if split is None:
        return {}
    factors, places = split
    found = {}
    for name in wanted:
        if name in factors and (how := _follows(name, factors, places, digits, least)):
            found[name] = how
    return found


def _split(index: Poly, digits: Mapping[str, Poly | None]) -> tuple[dict[str, Poly], Poly] | None:
    """The factor of each variable, and the rest; None where variables are multiplied."""
    factors: dict[str, Poly] = {}
    rest = ZERO
    for m, n in index.terms:
        inside = [a for a in m if a in digits]
        if not inside:
            rest = rest + Poly(((m, n),))
            continue
        left = tuple(a for a in m if a not in digits)
        if len(inside) > 1:
            return None
        factors[inside[0]] = factors.get(inside[0], ZERO) + Poly(((left, n),))
    return factors, rest


def _follows(
    name: str, factors: Mapping[str, Poly], rest: Poly, digits: Mapping[str, Poly | None], least: Least
) -> Extraction | None:
    """How a variable follows from an index.

    The others with smaller factors have to stay below this one's factor, the others must be multiples of what is above.
    """
    factor, size = factors[name], digits[name]
    above = None if size is None else factor * size
    below: list[tuple[Poly, Poly]] = []
    for other, f in factors.items():
        if other == name:
            continue
        if above is not None and f.over(above) is not None:
            continue
        most = digits[other]
        if most is None:
            return None
        below.append((f, most))
    constants: list[tuple[Poly, Poly]] = []
    offset = ZERO
    for m, n in rest.terms:
        term = Poly(((m, n),))
        if above is not None and n > 0 and term.over(above) is not None:
            continue
        if n > 0 and least_quotient(factor, Poly(((m, 1),)), least) > n:
            constants.append((Poly(((m, 1),)), Poly.number(n + 1)))
        else:
            offset = offset + term
    if not (_stays_below([*below, *constants], factor) or _fits([*below, *constants], ONE, factor, least)):
        return None
    return str(factor), str(size) if above is not None else "", str(offset)


def reaches(a: Poly, b: Poly, least: Least) -> bool:
    """``a`` is certainly at least ``b``."""
    return at_least(a - b, 0, least) or (least_quotient(a, b, least) >= 1 and at_least(b, 0, least))


def at_least(p: Poly, n: int, least: Least) -> bool:
    """A term is certainly at least that number."""
    found = least(p)
    return found is not None and found >= n


def least_quotient(a: Poly, b: Poly, least: Least) -> int:
    """What ``a / b`` is at least; 0 where that is not seen."""
    quotient = a.over(b)
    return max(least(quotient) or 0, 0) if quotient is not None else 0


def _stays_below(parts: Sequence[tuple[Poly, Poly]], limit: Poly) -> bool:
    """The largest sum of variables with these (factor, number of values), all known, is below ``limit``."""
    if limit.value is None or any(f.value is None or n.value is None for f, n in parts):
        return False
    numbers = [(f.value or 0, n.value or 0) for f, n in parts]
    return all(f >= 0 for f, _ in numbers) and sum(f * (n - 1) for f, n in numbers) < limit.value


def _fits(parts: Sequence[tuple[Poly, Poly]], room: Poly, limit: Poly, least: Least) -> bool:
    """Variables with these (factor, number of values) make numbers that tell them apart and stay below ``limit``.

    room: what the ones before make stays below that.
    """
    if not parts:
        return reaches(limit, room, least)
    for k, (factor, size) in enumerate(parts):
        # a constant may be smaller than what is below it is spaced: the sum stays below all the same
        if reaches(factor, room, least) and _fits([*parts[:k], *parts[k + 1 :]], factor * size, limit, least):
            return True
    return False
