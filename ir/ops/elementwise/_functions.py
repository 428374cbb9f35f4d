"""Functions that the scalar protocol does not have, stated in it: for float32, a few units in the last place.

The polynomials are those of the Cephes library's single precision functions (Moshier, netlib.org/cephes): published
minimax coefficients on the reduced ranges named below.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

from graphc.ir.scalar import Expr, Mask, ScalarOps

LARGE = 3.0e38
"""Above it only infinity is left."""


def _poly(o: ScalarOps, z: Expr, coefficients: Sequence[float]) -> Expr:
    """The polynomial in z, highest power first."""
    y = o.const(coefficients[0])
    for c in coefficients[1:]:
        y = y * z + o.const(c)
    return y


def _with_sign_of(o: ScalarOps, x: Expr, y: Expr) -> Expr:
    return o.where(o.lt(x, o.const(0.0)), -y, y)


def atan(o: ScalarOps, x: Expr) -> Expr:
    """Reduced to |t| <= tan(pi / 8) by atan(a) = pi/2 - atan(1/a) and pi/4 + atan((a - 1) / (a + 1))."""
    a, one = o.abs(x), o.const(1.0)
    far: Mask = o.lt(o.const(2.414213562373095), a)
    near: Mask = o.le(a, o.const(0.4142135623730950))
    t = o.where(far, -(one / a), o.where(near, a, (a - one) / (a + one)))
    start = o.where(far, o.const(pi / 2), o.where(near, o.const(0.0), o.const(pi / 4)))
    z = t * t
    series = _poly(o, z, (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1))
    return _with_sign_of(o, x, start + (series * z * t + t))


def _asin_reduced(o: ScalarOps, t: Expr) -> Expr:
    """asin(t) for |t| <= 1/2."""
    z = t * t
    c = (4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2, 7.4953002686e-2, 1.6666752422e-1)
    return _poly(o, z, c) * z * t + t


def asin(o: ScalarOps, x: Expr) -> Expr:
    """Beyond 1/2 by asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)); NaN beyond 1."""
    a, half = o.abs(x), o.const(0.5)
    outer = o.lt(half, a)
    t = o.where(outer, o.sqrt(half * (o.const(1.0) - a)), a)
    y = _asin_reduced(o, t)
    return _with_sign_of(o, x, o.where(outer, o.const(pi / 2) - (y + y), y))


def acos(o: ScalarOps, x: Expr) -> Expr:
    """Beyond 1/2 by acos(a) = 2 asin(sqrt((1 - a) / 2)), mirrored below zero; NaN beyond 1."""
    a, half = o.abs(x), o.const(0.5)
    outer = o.lt(half, a)
    y = _asin_reduced(o, o.where(outer, o.sqrt(half * (o.const(1.0) - a)), x))
    twice = y + y
    below = o.lt(x, o.const(0.0))
    return o.where(outer, o.where(below, o.const(pi) - twice, twice), o.const(pi / 2) - y)


def _half_exponentials(o: ScalarOps, a: Expr) -> tuple[Expr, Expr]:
    """e^a / 2 and e^-a / 2; the square root of e^a does not overflow where the result does not."""
    h = o.exp(a * o.const(0.5))
    return (h * o.const(0.5)) * h, (o.const(0.5) / h) / h


def cosh(o: ScalarOps, x: Expr) -> Expr:
    """(e^x + e^-x) / 2."""
    up, down = _half_exponentials(o, o.abs(x))
    return up + down


def sinh(o: ScalarOps, x: Expr) -> Expr:
    """(e^x - e^-x) / 2; a polynomial where the difference would cancel, |x| <= 1."""
    a = o.abs(x)
    up, down = _half_exponentials(o, a)
    z = a * a
    small = _poly(o, z, (2.03721912945e-4, 8.33028376239e-3, 1.66667160211e-1)) * z * a + a
    return _with_sign_of(o, x, o.where(o.le(a, o.const(1.0)), small, up - down))


def log1p(o: ScalarOps, x: Expr) -> Expr:
    """log(u) * x / (u - 1) with u = 1 + x: the error of u cancels (Higham, Accuracy and Stability, 1.14.1)."""
    one = o.const(1.0)
    u = one + x
    d = u - one
    exact = o.eq(d, o.const(0.0))
    y = o.log(u) * (x / o.where(exact, one, d))
    return o.where(exact, x, o.where(o.lt(o.const(LARGE), x), o.log(u), y))


def cbrt(o: ScalarOps, x: Expr) -> Expr:
    """e^(log|x| / 3), and one Newton step."""
    a = o.abs(x)
    y = o.exp(o.log(a) * o.const(1 / 3))
    better = y - (y - (a / y) / y) * o.const(1 / 3)
    kept = o.either(o.eq(a, o.const(0.0)), o.lt(o.const(LARGE), a))
    return _with_sign_of(o, x, o.where(kept, a, better))
