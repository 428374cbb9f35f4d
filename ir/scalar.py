"""The protocol of scalar operations in which pointwise operators state their meaning, and its NumPy handler.

A meaning is a function ``f(o, attrs, x, y, ...)`` of expressions; ``o`` is a handler. The NumPy handler computes, an
emitter's handler builds source, an analysis may count. Expressions support ``+ - * /`` and unary minus; everything else
is a method of the handler. Comparisons give masks, which only ``where``, ``both``, ``either`` and ``negate`` take.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

Expr = Any
Mask = Any


class ScalarOps(Protocol):
    """What a handler offers. All of it exists for float32; emitters may refuse a method for other types."""

    def const(self, value: float) -> Expr: ...
    def maximum(self, a: Expr, b: Expr) -> Expr: ...
    def minimum(self, a: Expr, b: Expr) -> Expr: ...
    def fma(self, a: Expr, b: Expr, c: Expr) -> Expr: ...
    def abs(self, a: Expr) -> Expr: ...
    def sqrt(self, a: Expr) -> Expr: ...
    def exp(self, a: Expr) -> Expr: ...
    def log(self, a: Expr) -> Expr: ...
    def tanh(self, a: Expr) -> Expr: ...
    def sigmoid(self, a: Expr) -> Expr: ...
    def erf(self, a: Expr) -> Expr: ...
    def sin(self, a: Expr) -> Expr: ...
    def cos(self, a: Expr) -> Expr: ...
    def pow(self, a: Expr, b: Expr) -> Expr: ...
    def floor(self, a: Expr) -> Expr: ...
    def ceil(self, a: Expr) -> Expr: ...
    def round_even(self, a: Expr) -> Expr: ...
    def lt(self, a: Expr, b: Expr) -> Mask: ...
    def le(self, a: Expr, b: Expr) -> Mask: ...
    def eq(self, a: Expr, b: Expr) -> Mask: ...
    def isnan(self, a: Expr) -> Mask: ...
    def both(self, a: Mask, b: Mask) -> Mask: ...
    def either(self, a: Mask, b: Mask) -> Mask: ...
    def negate(self, a: Mask) -> Mask: ...
    def where(self, m: Mask, a: Expr, b: Expr) -> Expr: ...


class NumpyOps:
    """Computes on arrays, in the arrays' own precision."""

    def const(self, value: float) -> Expr:
        """A Python float: it takes the precision of the array it meets."""
        return float(value)

    maximum = staticmethod(np.maximum)
    minimum = staticmethod(np.minimum)
    abs = staticmethod(np.abs)
    sqrt = staticmethod(np.sqrt)
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    tanh = staticmethod(np.tanh)
    sin = staticmethod(np.sin)
    cos = staticmethod(np.cos)
    pow = staticmethod(np.power)
    floor = staticmethod(np.floor)
    ceil = staticmethod(np.ceil)
    round_even = staticmethod(np.rint)
    lt = staticmethod(np.less)
    le = staticmethod(np.less_equal)
    eq = staticmethod(np.equal)
    isnan = staticmethod(np.isnan)
    both = staticmethod(np.logical_and)
    either = staticmethod(np.logical_or)
    negate = staticmethod(np.logical_not)
    where = staticmethod(np.where)

    def fma(self, a: Expr, b: Expr, c: Expr) -> Expr:
        """a * b + c, rounded twice."""
        return a * b + c

    def sigmoid(self, a: Expr) -> Expr:
        """1 / (1 + exp(-a)) without overflow."""
        e = np.exp(-np.abs(a))
        return np.where(a >= 0, 1 / (1 + e), e / (1 + e)).astype(np.asarray(a).dtype)

    def erf(self, a: Expr) -> Expr:
        """The error function, from the C library through ``math``."""
        return np.vectorize(math.erf, otypes=[np.asarray(a).dtype])(a)


NUMPY = NumpyOps()
