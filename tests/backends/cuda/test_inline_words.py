"""Words without subroutines: what their instructions give, one by one in NumPy, against IEEE division and roots.

The cards' approximations are as far off as NVIDIA's PTX ISA allows, to either side.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba.cuda.np", reason="needs the compiler: pip install 'graphc[cuda]'")

from graphc.backends.cuda import inline_words, words
from graphc.backends.cuda.words import F32, F64, NUMBA

SEEDS = [-1, 0, 1]
"""By how much approximations are off, in units of the last place that they have."""


def fused(name: str, kind: Any) -> Callable[..., np.ndarray]:
    """C's multiply-add with one rounding, element by element."""
    function = ctypes.CDLL(ctypes.util.find_library("m"))[name]
    function.restype, function.argtypes = kind, [kind] * 3
    each = np.frompyfunc(function, 3, 1)
    return lambda *values: each(*(np.asarray(v).astype(np.float64) for v in values))


class Value(np.ndarray):
    """Numbers with LLVM's name for their type."""

    @property
    def type(self) -> Any:
        return F64 if self.dtype == np.float64 else F32


class Steps:
    """What LLVM's builder is to the words, working on arrays. off: units by which approximations are wrong."""

    def __init__(self, off: int) -> None:
        self.off = off

    @staticmethod
    def value(v: Any) -> np.ndarray:
        """An array, or a constant as one."""
        return v if isinstance(v, np.ndarray) else np.asarray(v.constant, np.float64 if v.type == F64 else np.float32)

    def __getattr__(self, name: str) -> Callable[..., np.ndarray]:
        does: Any = {"fadd": np.add, "fsub": np.subtract, "fmul": np.multiply, "fdiv": np.divide, "select": np.where}
        return lambda *values: does[name](*map(self.value, values)).view(Value)

    def fpext(self, a: Any, _: Any) -> np.ndarray:
        return a.astype(np.float64)

    def fptrunc(self, a: Any, _: Any) -> np.ndarray:
        return a.astype(np.float32)

    def fcmp_ordered(self, how: str, a: Any, b: Any) -> np.ndarray:
        return {"==": np.equal, "<": np.less}[how](self.value(a), self.value(b))

    def fcmp_unordered(self, how: str, a: Any, b: Any) -> np.ndarray:
        assert how == "uno"
        return np.isnan(self.value(a)) | np.isnan(self.value(b))

    def call(self, function: Any, values: Any) -> np.ndarray:
        """An approximation: of float32 all bits but the last are right, of float64 the upper half."""
        (a,), text = values, function.asm.split(" ")[0]
        exact = 1 / (np.sqrt(a) if text.startswith("rsqrt") else a)
        if text.endswith("f32"):
            exact = np.where(np.abs(exact) < 2.0**-126, np.copysign(np.float32(0), exact), exact)
        bits, low = (np.int32, 0) if text.endswith("f32") else (np.int64, 32)
        moved = ((exact.view(bits) >> low) + self.off << low).view(exact.dtype)
        return np.where(np.isfinite(exact) & (exact != 0), moved, exact).view(Value)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., np.ndarray]:
    """A word's instructions on arrays: the function that builds them, how far approximations are off, operands."""
    fma = {"f64": (fused("fma", ctypes.c_double), np.float64), "f32": (fused("fmaf", ctypes.c_float), np.float32)}

    def called(b: Steps, name: str, _: Any, *values: Any) -> np.ndarray:
        if name == "__nv_expf":
            return np.exp(values[0])
        function, kind = fma[name.removeprefix("llvm.fma.")]
        return function(*map(b.value, values)).astype(kind).view(Value)

    monkeypatch.setattr(type(NUMBA), "call", lambda self, *given: called(*given))

    def run(word: Callable[..., Any], off: int, *operands: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(word(Steps(off), *(a.view(Value) for a in operands)))

    return run


SPECIAL = np.array([0, 1, 3, 1e-45, 1.1e-38, 1.17549435e-38, 3.4e38, np.inf, np.nan, 2.5e-39], np.float32)
SPECIAL = np.concatenate([SPECIAL, -SPECIAL])


def operands(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of every size, some whose quotients lie near the middle between two numbers, and what is special."""
    r = np.random.default_rng(1)
    left, right = r.integers(0, 1 << 32, (2, n), np.uint32).view(np.float32)
    b, middle = r.integers(1 << 23, 1 << 24, (2, n)).astype(np.float64)
    scale = 2.0 ** r.integers(-185, 60, n)
    near = ((middle + 0.5) * b).astype(np.float32).astype(np.float64) * scale
    pairs = [(left, right), (near, b), (np.repeat(SPECIAL, 20), np.tile(SPECIAL, 20))]
    with np.errstate(all="ignore"):
        a, c = (np.concatenate([np.asarray(p[k], np.float64).astype(np.float32) for p in pairs]) for k in range(2))
    return a, c


def same(got: np.ndarray, want: np.ndarray) -> None:
    """To the bit, signs of zeros too; NaN is any."""
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("off", SEEDS)
def test_quotients_are_those_of_ieee(off: int, build: Callable[..., np.ndarray]) -> None:
    a, c = operands(10_000)
    with np.errstate(all="ignore"):
        want = a / c
    assert (np.abs(want[want != 0]) < 2.0**-126).sum() > 1000
    same(build(inline_words._div, off, a, c), want)


@pytest.mark.parametrize("off", SEEDS)
def test_roots_are_those_of_ieee(off: int, build: Callable[..., np.ndarray]) -> None:
    a = np.concatenate([operands(10_000)[0], np.arange(3000, dtype=np.float32) ** 2])
    with np.errstate(all="ignore"):
        want = np.sqrt(a)
    same(build(inline_words._sqrt, off, a), want)


@pytest.mark.parametrize("off", SEEDS)
def test_sigmoid_is_the_rounded_quotient(off: int, build: Callable[..., np.ndarray]) -> None:
    """Within a unit of the last place of it, and nearly always it unless denormal; ends and NaN too."""
    x = np.concatenate([np.linspace(-104, 104, 40_001), [100, -100, np.inf, -np.inf, np.nan, 0, -88, -88.7]])
    x = x.astype(np.float32)
    with np.errstate(all="ignore"):
        want = 1 / (1 + np.exp(-x))
    assert ((want > 0) & (want < 2.0**-126)).sum() > 100
    got = build(words._sigmoid, off, x)
    assert got.dtype == np.float32
    there = ~np.isnan(want)
    assert (np.isnan(got) == ~there).all()
    assert np.abs(got.view(np.int32) - want.view(np.int32))[there].max() <= 1
    assert (got == want)[there & (want >= 2.0**-126)].mean() > 0.999
    assert (got[there] >= 0).all()
    assert (got[there] <= 1).all()
