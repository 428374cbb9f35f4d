"""Elementary functions on vectors: ``vexp``, ``vlog``, ``vtanh``, ``vsigmoid``, ``verf``, ``vpow``, ``vsin``, ``vcos``.

Each inlines to arithmetic alone, with no call into a library; it is built once for vectors and once, as ``sexp`` and
so on, for single floats. Errors stay below 2.5 ulp, those of exp and tanh below 1.6 (sin and cos: for |x| < 4e8);
infinities, NaN, zeros and denormals give what IEEE 754 asks. The polynomials are minimax fits (Lawson's iteration) on
the reduced ranges.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types

from graphc.backends.cpu import elements
from graphc.backends.cpu.vector import F32, I32, I64, VectorType, call_llvm, define

F64 = ir.DoubleType()
EXP = (0.49999993443869, 0.16666520573528, 0.04166838873236, 0.00836872393976, 0.00138145838934)
"""e**r = 1 + r + r * r * p(r) for |r| <= ln(2) / 2, to 3e-9 of it."""
EXP_WIDE = (0.50000034581, 0.16666614242, 0.041661274529, 0.0083360997690, 0.0014104345771, 0.00019611751241)
"""The same for |r| <= ln(2), to 1.4e-8."""
LOG = (0.66666665641274, 0.40000336222553, 0.28537238152020, 0.23583571680997)
LOG_WIDE = (
    0.66666666666586727,
    0.40000000052550172,
    0.28571417081449796,
    0.22223375347939306,
    0.18123517157069649,
    0.16821406856612328,
)
EXP2_WIDE = (
    1.0000000000000271,
    0.69314718054593027,
    0.24022650695468165,
    0.055504109412168406,
    0.0096181292283969398,
    0.0013333450559011029,
    0.00015403411664791089,
    1.5310081497688088e-05,
    1.326406824375681e-06,
)
TANH = (-0.33333298713, 0.13331214165, -0.05356193685, 0.01874406194)
ERF_SMALL = (
    1.128379167063158,
    -0.37612638483808192,
    0.11283782747191687,
    -0.026865445821018678,
    0.0052210748772998396,
    -0.00084847114407920706,
    0.00011270544449329054,
    -9.6801363269199969e-06,
)
ERFC_LOG = (
    0.00018846997586408065,
    -1.1295803218274958,
    -0.63321637602357206,
    -0.10842212231434889,
    0.025210354293441851,
    -0.0042052901959180981,
    0.00044147375485311378,
    -2.1697707572721629e-05,
)
SIN = (-0.16666666641526404, 0.0083333293740834851, -0.00019839330987053784, 2.7182743934310738e-06)
COS = (0.041666646806739038, -0.0013887364466868576, 2.4438089105368177e-05)
ROUND32 = 12582912.0
"""1.5 * 2**23: adding it to a float32 below 2**22 in size rounds to an integer, which then is in the low bits."""
ROUND64 = 6755399441055744.0
LN2_HIGH = 0.693359375
LN2_LOW = -2.12194440054690583e-4
HALF_PI_HIGH = struct.unpack("<d", struct.pack("<Q", 0x3FF921FB50000000))[0]
"""The leading 25 bits of pi / 2: a multiple of 28 bits is exact in float64."""
HALF_PI_LOW = 1.5893254773528196e-08


@dataclass(frozen=True)
class Number:
    """An LLVM value, scalar or vector, with Python's operators; plain numbers take the other operand's type."""

    b: Any
    v: Any
    fma: bool

    def wrap(self, v: Any) -> Number:
        """Another value of the same builder."""
        return Number(self.b, v, self.fma)

    def const(self, value: float) -> Number:
        """A constant of this value's type."""
        t = self.v.type
        return self.wrap(ir.Constant(t, [value] * t.count if isinstance(t, ir.VectorType) else value))

    def _with(self, other: Number | float, method: str, swap: bool = False) -> Number:
        o = other if isinstance(other, Number) else self.const(other)
        x, y = (o.v, self.v) if swap else (self.v, o.v)
        return self.wrap(getattr(self.b, method)(x, y))

    @property
    def is_float(self) -> bool:
        """float32 or float64."""
        t = self.v.type
        return isinstance(t.element if isinstance(t, ir.VectorType) else t, (ir.FloatType, ir.DoubleType))

    def __add__(self, o: Number | float) -> Number:
        return self._with(o, "fadd" if self.is_float else "add")

    def __radd__(self, o: float) -> Number:
        return self._with(o, "fadd" if self.is_float else "add", swap=True)

    def __sub__(self, o: Number | float) -> Number:
        return self._with(o, "fsub" if self.is_float else "sub")

    def __rsub__(self, o: float) -> Number:
        return self._with(o, "fsub" if self.is_float else "sub", swap=True)

    def __mul__(self, o: Number | float) -> Number:
        return self._with(o, "fmul" if self.is_float else "mul")

    def __rmul__(self, o: float) -> Number:
        return self._with(o, "fmul" if self.is_float else "mul", swap=True)

    def __truediv__(self, o: Number | float) -> Number:
        return self._with(o, "fdiv")

    def __rtruediv__(self, o: float) -> Number:
        return self._with(o, "fdiv", swap=True)

    def __neg__(self) -> Number:
        return self.wrap(self.b.fneg(self.v))

    def __and__(self, o: Number | int) -> Number:
        return self._with(o, "and_")

    def __or__(self, o: Number | int) -> Number:
        return self._with(o, "or_")

    def __lshift__(self, o: int) -> Number:
        return self._with(o, "shl")

    def __rshift__(self, o: int) -> Number:
        return self._with(o, "ashr")

    def less(self, o: Number | float) -> Number:
        """Mask of self < o, False for NaN."""
        return self._compare("<", o)

    def more(self, o: Number | float) -> Number:
        """Mask of self > o, False for NaN."""
        return self._compare(">", o)

    def equal(self, o: Number | float) -> Number:
        """Mask of self == o, False for NaN."""
        return self._compare("==", o)

    def _compare(self, op: str, o: Number | float) -> Number:
        other = o if isinstance(o, Number) else self.const(o)
        compare = self.b.fcmp_ordered if self.is_float else self.b.icmp_signed
        return self.wrap(compare(op, self.v, other.v))

    def nan(self) -> Number:
        """Mask of NaN."""
        return self.wrap(self.b.fcmp_unordered("uno", self.v, self.v))

    def pick(self, a: Number | float, b: Number | float) -> Number:
        """``a`` where this mask holds, else ``b``; one of them is a Number."""
        like = a if isinstance(a, Number) else b
        assert isinstance(like, Number)
        x, y = (v if isinstance(v, Number) else like.const(v) for v in (a, b))
        return self.wrap(self.b.select(self.v, x.v, y.v))

    def times_plus(self, y: Number | float, z: Number | float) -> Number:
        """self * y + z, fused where the target can."""
        args = [v.v if isinstance(v, Number) else self.const(v).v for v in (self, y, z)]
        return self.wrap(call_llvm(self.b, _suffixed("fma" if self.fma else "fmuladd", self.v.type), self.v.type, args))

    def poly(self, coefficients: Sequence[float]) -> Number:
        """The polynomial with these coefficients, lowest first."""
        total = self.const(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            total = total.times_plus(self, c)
        return total

    def as_type(self, element: Any) -> Number:
        """The same bits as another element type."""
        return self.wrap(self.b.bitcast(self.v, _like(self.v.type, element)))

    def widen(self) -> Number:
        """float32 to float64."""
        return self.wrap(self.b.fpext(self.v, _like(self.v.type, F64)))

    def narrow(self) -> Number:
        """float64 to float32."""
        return self.wrap(self.b.fptrunc(self.v, _like(self.v.type, F32)))

    def abs(self) -> Number:
        """|self|."""
        return self.wrap(call_llvm(self.b, _suffixed("fabs", self.v.type), self.v.type, [self.v]))

    def with_sign_of(self, o: Number) -> Number:
        """|self| with the sign bit of ``o``."""
        return (self.as_type(I32) & 0x7FFFFFFF | o.as_type(I32) & -0x80000000).as_type(F32)


def _like(t: Any, element: Any) -> Any:
    return ir.VectorType(element, t.count) if isinstance(t, ir.VectorType) else element


def _suffixed(name: str, t: Any) -> str:
    element = t.element if isinstance(t, ir.VectorType) else t
    bits = "f64" if isinstance(element, ir.DoubleType) else "f32"
    return f"llvm.{name}.v{t.count}{bits}" if isinstance(t, ir.VectorType) else f"llvm.{name}.{bits}"


def exp(x: Number) -> Number:
    """e**x: 4**n * e**r with |r| <= ln(2); two factors of 2**n reach denormals and infinity."""
    x = x.more(89.0).pick(89.0, x)
    x = x.less(-104.0).pick(-104.0, x)
    r, power = _reduced(x, 2 * math.log(2), 2 * LN2_HIGH, 2 * LN2_LOW)
    return (_expm1(r, EXP_WIDE) + 1.0) * power * power


def _reduced(x: Number, unit: float, high: float, low: float, bias: int = 0) -> tuple[Number, Number]:
    """(r, 2**(n + bias)) with x = n * unit + r and |r| <= unit / 2; high + low: the unit, in two parts.

    NaN stays NaN in r. n + bias has to lie between -126 and 127.
    """
    zero = ROUND32 + 127 + bias  # rounding leaves the exponent field of the power in the low bits
    rounded = x.times_plus(1 / unit, zero)
    n = rounded - zero
    r = n.times_plus(-high, x)
    return n.times_plus(-low, r) if low else r, (rounded.as_type(I32) << 23).as_type(F32)


def _expm1(r: Number, coefficients: Sequence[float]) -> Number:
    """e**r - 1 on the range of the coefficients."""
    return (r * r).times_plus(r.poly(coefficients), r)


def _split(x: Number) -> tuple[Number, Number]:
    """(e, m) with |x| = m * 2**e and m in [sqrt(1/2), sqrt(2)), for finite x above zero."""
    tiny = x.less(1.1754943508222875e-38)
    bits = tiny.pick(x * 8388608.0, x).as_type(I32) - 0x3F3504F3
    e = (bits >> 23) - tiny.pick(bits.const(23), bits.const(0))
    m = ((bits & 0x7FFFFF) + 0x3F3504F3).as_type(F32)
    return e, m


def _to_float(n: Number, element: Any) -> Number:
    return n.wrap(n.b.sitofp(n.v, _like(n.v.type, element)))


def log(x: Number) -> Number:
    """Natural logarithm: e * ln(2) + 2 atanh(f / (2 + f)) with f = m - 1."""
    exponent, m = _split(x)
    e = _to_float(exponent, F32)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    low = s.times_plus(z.times_plus(z.poly(LOG), half), e * LN2_LOW)
    y = e.times_plus(LN2_HIGH, f - (half - low))
    y = x.equal(math.inf).pick(x, y)
    y = x.equal(0.0).pick(-math.inf, y)
    return (x.less(0.0)).pick(math.nan, x.nan().pick(x, y))


def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)) by e = exp(-|x|), which cannot overflow: 1 / (1 + e) or e / (1 + e).

    Numerator and denominator are scaled by 2**32, so that one power of two holds the smallest e.
    """
    a = -x.abs()
    a = a.less(-104.0).pick(-104.0, a)
    r, power = _reduced(a, math.log(2), LN2_HIGH, LN2_LOW, 32)
    e = (_expm1(r, EXP) + 1.0) * power
    return x.less(0.0).pick(e, 2.0**32) / (e + 2.0**32)


def tanh(x: Number) -> Number:
    """A polynomial below 0.4, e / (e + 2) with e = exp(2|x|) - 1 above; from 10 on it is 1."""
    a = x.abs()
    a = a.more(10.0).pick(10.0, a)
    z = a * a
    small = (a * z).times_plus(z.poly(TANH), a)
    r, power = _reduced(a, math.log(2) / 2, math.log(2) / 2, 0.0)
    e = power.times_plus(_expm1(r + r, EXP), power - 1.0)
    return a.less(0.4).pick(small, e / (e + 2.0)).with_sign_of(x)


def erf(x: Number) -> Number:
    """A polynomial below 1, 1 - exp(polynomial) up to 4, 1 beyond."""
    a = x.abs()
    near = x * (x * x).poly(ERF_SMALL)
    bounded = a.more(4.0).pick(4.0, a)
    far = (1.0 - exp(bounded.poly(ERFC_LOG))).with_sign_of(x)
    return x.nan().pick(x, a.less(1.0).pick(near, far))


def power(x: Number, y: Number) -> Number:
    """x**y by 2**(y * log2(x)) in float64; the special cases are those of IEEE 754 (C's ``pow``)."""
    a = x.abs()
    exponent, m = _split(a)
    f = m.widen() - 1.0
    s = f / (f + 2.0)
    z = s * s
    log2 = _to_float(exponent, F64) + (s + s + s * z * z.poly(LOG_WIDE)) * (1 / math.log(2))
    log2 = a.equal(math.inf).pick(math.inf, a.equal(0.0).pick(-math.inf, log2))
    t = y.widen() * log2
    t = t.more(200.0).pick(200.0, t)
    t = t.less(-200.0).pick(-200.0, t)
    rounded = t + ROUND64
    scale = ((rounded.as_type(I64) - rounded.const(ROUND64).as_type(I64) + 1023) << 52).as_type(F64)
    size = ((t - (rounded - ROUND64)).poly(EXP2_WIDE) * scale).narrow()
    return _power_cases(x, y, size)


def _power_cases(x: Number, y: Number, size: Number) -> Number:
    """The result of ``power`` from its size: sign, NaN, and the bases and exponents that always give 1."""
    whole, odd = _parity(y)
    negative = x.as_type(I32).less(x.as_type(I32).const(0))
    signed = odd.pick(size.with_sign_of(x), size)
    below = x.wrap(x.b.and_(x.less(0.0).v, x.abs().less(math.inf).v))
    invalid = x.wrap(x.b.and_(below.v, x.b.not_(whole.v)))
    y_out = negative.pick(signed, size)
    y_out = invalid.pick(math.nan, y_out)
    y_out = x.nan().pick(x, y.nan().pick(y, y_out))
    minus_one = x.wrap(x.b.and_(x.equal(-1.0).v, y.abs().equal(math.inf).v))
    one = x.wrap(x.b.or_(x.b.or_(x.equal(1.0).v, y.equal(0.0).v), minus_one.v))
    return one.pick(1.0, y_out)


def _parity(y: Number) -> tuple[Number, Number]:
    """Masks: y is an integer (infinity counts), y is an odd integer."""
    a = y.abs()
    small = a.less(4194304.0)
    bounded = small.pick(a, 0.0)
    shifted = bounded + ROUND32
    is_whole = (shifted - ROUND32).equal(bounded)
    bits = shifted.as_type(I32)
    odd_small = y.wrap(y.b.and_(is_whole.v, (bits & 1).equal(1).v))
    # from 2**22 on: multiples of 0.5 up to 2**23, integers up to 2**24, even integers beyond
    middle = y.wrap(y.b.and_(y.b.not_(small.v), a.less(16777216.0).v))
    doubled = middle.pick(a, 0.0)
    n = y.wrap(y.b.fptosi(doubled.v, _like(y.v.type, I32)))
    exact = _to_float(n, F32).equal(doubled)
    odd_middle = y.wrap(y.b.and_(y.b.and_(middle.v, exact.v), (n & 1).equal(1).v))
    whole = small.pick(is_whole, middle.pick(exact, exact.wrap(y.b.not_(y.nan().v))))
    return whole, y.wrap(y.b.or_(odd_small.v, odd_middle.v))


def _quadrant(x: Number) -> tuple[Number, Number]:
    """(n, r) with x = n * pi / 2 + r, reduced in float64; n as int32, r as float32 in [-pi / 4, pi / 4]."""
    wide = x.widen()
    shifted = wide * (2 / math.pi) + ROUND64
    n = shifted - ROUND64
    r = wide - n * HALF_PI_HIGH - n * HALF_PI_LOW
    bits = shifted.as_type(I64)
    return bits.wrap(bits.b.trunc(bits.v, _like(bits.v.type, I32))), r.narrow()


def _sine(x: Number, shift: int) -> Number:
    n, r = _quadrant(x)
    n = n + shift
    z = r * r
    sine = (r * z).times_plus(z.poly(SIN), r)
    cosine = (z * z).times_plus(z.poly(COS), z.times_plus(-0.5, 1.0))
    y = (n & 1).equal(0).pick(sine, cosine)
    y = (n & 2).equal(0).pick(y, -y)
    return y if shift else x.equal(0.0).pick(x, y)


def sin(x: Number) -> Number:
    """Sine."""
    return _sine(x, 0)


def cos(x: Number) -> Number:
    """Cosine."""
    return _sine(x, 1)


def rint(x: Number) -> Number:
    """Nearest integer, halves to even, for targets without an instruction for it."""
    big = x.const(8388608.0).with_sign_of(x)
    y = ((x + big) - big).with_sign_of(x)
    return x.abs().less(8388608.0).pick(y, x)


def floor(x: Number) -> Number:
    """Largest integer not above x, for targets without an instruction for it."""
    n = rint(x)
    return n.more(x).pick(n - 1.0, n)


def ceil(x: Number) -> Number:
    """Smallest integer not below x, for targets without an instruction for it."""
    n = rint(x)
    return n.less(x).pick((n + 1.0).with_sign_of(x), n)


FUNCTIONS: dict[str, Callable[..., Number]] = {
    "exp": exp,
    "log": log,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "sin": sin,
    "cos": cos,
}
ROUNDING: dict[str, Callable[[Number], Number]] = {"round": rint, "floor": floor, "ceil": ceil}


@cache
def namespace(lanes: int, fma: bool) -> dict[str, Any]:
    """The names that kernel source may use beyond those of ``vector.namespace``."""
    vt = VectorType(lanes, "f32")
    names: dict[str, Any] = dict(elements.namespace(lanes))
    for name, function in FUNCTIONS.items():
        names["v" + name] = _define("v" + name, vt, 1, function, fma)
        names["s" + name] = _define("s" + name, types.float32, 1, function, fma)
    names["vpow"] = _define("vpow", vt, 2, power, fma)
    names["spow"] = _define("spow", types.float32, 2, power, fma)
    for name, function in ROUNDING.items():
        names["s" + name] = _define("s" + name, types.float32, 1, function, fma)
        if not fma:  # rounding came to x86 in SSE4.1, after the portable baseline; LLVM would call the C library
            names["v" + name] = _define("v" + name, vt, 1, function, fma)
    return names


def _define(name: str, t: Any, arity: int, function: Callable[..., Number], fma: bool) -> Any:
    return define(name, t, (t,) * arity, lambda b, *xs: function(*(Number(b, x, fma) for x in xs)).v)
