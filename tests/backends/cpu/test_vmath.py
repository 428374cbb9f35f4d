"""Elementary functions against NumPy in float64: a sweep of the whole range, and every special value."""

from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
import pytest
from harness import KERNEL

from graphc.backends.cache import KernelCache
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.load import KernelObject, LoadedKernels

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0, -3.0, 1e-45, -1e-45, 1e-38, 1.1754944e-38, 3.4028235e38]
SPECIAL += [-3.4028235e38, math.inf, -math.inf, math.nan, 88.7, 88.8, -87.3, -103.9, -104.5, 8388607.0, 8388609.0]
SPECIAL += [16777215.0, -16777215.0, 4194303.5, -8388607.5, 0.49999997, -0.5, 1.5, 2.5]


def special() -> np.ndarray:
    return np.array(SPECIAL, np.float32)


def sweep(low: float, high: float, n: int = 20000) -> np.ndarray:
    """Values from low to high, those near zero with every exponent."""
    rng = np.random.default_rng(1)
    linear = rng.uniform(low, high, n)
    tiny = rng.uniform(-1, 1, n // 4) * 2.0 ** rng.integers(-149, 0, n // 4)
    x = np.concatenate([linear, tiny[(tiny >= low) & (tiny <= high)]]).astype(np.float32)
    return np.concatenate([special(), x])


UNARY = {
    "exp": (np.exp, sweep(-110, 95)),
    "log": (np.log, np.concatenate([sweep(0, 10), np.exp(np.linspace(-103, 88, 20000)).astype(np.float32)])),
    "tanh": (np.tanh, sweep(-12, 12)),
    "sigmoid": (lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))), sweep(-110, 110)),
    "erf": (np.vectorize(math.erf), sweep(-5, 5)),
    "sin": (np.sin, sweep(-1000, 1000)),
    "cos": (np.cos, sweep(-1000, 1000)),
    "floor": (np.floor, sweep(-100, 100)),
    "ceil": (np.ceil, sweep(-100, 100)),
    "round": (np.rint, sweep(-100, 100)),
}
TEXT = """
def all_functions(p, lo, hi, tid):
    which, n, x, x2, y = ld(p, 0), ld(p, 1), ld(p, 2), ld(p, 3), ld(p, 4)
    for i in range(0, n, {lanes}):
        a, b, r = vload(x, i), vload(x2, i), vzero()
{vector}
        vstore(y, i, r)
def one_by_one(p, lo, hi, tid):
    which, n, x, x2, y = ld(p, 0), ld(p, 1), ld(p, 2), ld(p, 3), ld(p, 4)
    for i in range(n):
        a, b, r = lds(x, i), lds(x2, i), f4(0)
{scalar}
        sts(y, i, r)
"""
NAMES = [*UNARY, "pow"]


def source(lanes: int) -> str:
    def cases(letter: str) -> str:
        calls = [f"{letter}{n}(a{', b' if n == 'pow' else ''})" for n in NAMES]
        return "\n".join(
            f"        {'el' if i else ''}if which == {i}:\n            r = {c}" for i, c in enumerate(calls)
        )

    return TEXT.format(lanes=lanes, vector=cases("v"), scalar=cases("s"))


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, KernelObject]]:
    return {}


@pytest.fixture
def compiled(machine, objects) -> dict[str, KernelObject]:
    name = machine.target.name
    if name not in objects:
        cache: KernelCache = machine.cache
        text = source(machine.target.lanes)
        objects[name] = compile_kernels({"all_functions": text, "one_by_one": text}, machine.target, cache)
    return objects[name]


def evaluate(compiled: dict, kernel: str, name: str, x: np.ndarray, x2: np.ndarray | None = None) -> np.ndarray:
    """The function on float32 values, padded to whole vectors."""
    n = -(-x.size // 16) * 16
    a, b, y = (np.zeros(n, np.float32) for _ in range(3))
    a[: x.size] = x
    b[: x.size] = x if x2 is None else x2
    loaded = LoadedKernels(compiled)
    block = np.array([NAMES.index(name), n, a.ctypes.data, b.ctypes.data, y.ctypes.data], np.int64)
    words = np.zeros(2, np.int64)
    KERNEL(loaded.addresses[kernel])(words.ctypes.data, words.ctypes.data + 8, block.ctypes.data, 0, 1, 0)
    return y[: x.size]


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the true value, zero where both are NaN or the same infinity."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float32)
        unit = np.maximum(np.spacing(np.abs(rounded.astype(np.float64)).astype(np.float32)), 1e-45).astype(np.float64)
        distance = np.abs(got.astype(np.float64) - want) / unit
        return np.where((got == rounded) | (np.isnan(got) & np.isnan(rounded)), 0.0, distance)


def bound(name: str) -> float:
    """What ``vmath`` promises; rounding to integers is exact."""
    return {"floor": 0.0, "ceil": 0.0, "round": 0.0, "exp": 1.6, "tanh": 1.6}.get(name, 2.5)


@pytest.mark.parametrize("kernel", ["all_functions", "one_by_one"])
@pytest.mark.parametrize("name", list(UNARY))
def test_against_float64(compiled, kernel: str, name: str) -> None:
    function, x = UNARY[name]
    if name in ("sin", "cos"):
        x = np.where(np.isfinite(x) & (np.abs(x) > 4e8), 1, x).astype(np.float32)
    with np.errstate(all="ignore"):
        want = function(x.astype(np.float64))
    got = evaluate(compiled, kernel, name, x)
    error = ulps(got, want)
    assert error.max() <= bound(name), (
        f"{name}({x[error.argmax()]!r}) = {got[error.argmax()]!r}, off by {error.max()} ulp"
    )


@pytest.mark.parametrize("kernel", ["all_functions", "one_by_one"])
def test_power(compiled, kernel: str) -> None:
    rng = np.random.default_rng(2)
    pairs = [(a, b) for a in SPECIAL for b in [*SPECIAL, 7.0, -7.0, 0.25]]
    x = np.array([a for a, _ in pairs], np.float32)
    y = np.array([b for _, b in pairs], np.float32)
    x = np.concatenate([x, np.exp(rng.uniform(-80, 80, 20000)).astype(np.float32), rng.uniform(-9, 9, 5000)]).astype(
        np.float32
    )
    y = np.concatenate([y, rng.uniform(-3, 3, 20000), rng.integers(-9, 9, 5000)]).astype(np.float32)
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64))
    error = ulps(evaluate(compiled, kernel, "pow", x, y), want)
    worst = error.argmax()
    assert error.max() <= 1.0, f"pow({x[worst]!r}, {y[worst]!r}) is off by {error.max()} ulp"


def test_signed_zeros(compiled) -> None:
    zero = np.array([0.0, -0.0], np.float32)
    for name in ("tanh", "erf", "sin", "floor", "ceil", "round"):
        assert np.signbit(evaluate(compiled, "all_functions", name, zero)).tolist() == [False, True], name


@pytest.mark.skipif(not shutil.which("nm"), reason="nm is not installed")
def test_objects_need_no_library(compiled, tmp_path) -> None:
    for name, obj in compiled.items():
        file = tmp_path / f"{name}.o"
        file.write_bytes(obj.code)
        assert subprocess.run(["nm", "-u", file], capture_output=True, check=True).stdout.strip() == b""
