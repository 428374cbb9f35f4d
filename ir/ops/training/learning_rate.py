"""Learning rates: the policies of LearningRate, and rates that adapt to gradients.

Policies, their arguments and defaults: ``caffe2/sgd/learning_rate_op.h`` and ``learning_rate_functors.h``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.ops._updates import between, equal_counts, floats, iteration, one_element, root
from graphc.ir.types import DType, TensorType

Parameters = tuple[tuple[str, float], ...]

_WARM: Parameters = (
    ("start_warmup_multiplier", 0.1),
    ("constant_warmup_num_iter", 10000000),
    ("linear_warmup_num_iter", 10000000),
)

POLICIES: dict[str, Parameters] = {
    "fixed": (),
    "alter": (("active_period", -1), ("inactive_period", -1), ("active_first", 1)),
    "hill": (("num_iter", 0), ("start_multiplier", 0.0), ("gamma", 0.0), ("power", 0.0), ("end_multiplier", 0.0)),
    "slope": (("num_iter_1", 0), ("multiplier_1", 0.0), ("num_iter_2", 0), ("multiplier_2", 0.0)),
    "step": (("stepsize", 0), ("gamma", 0.0)),
    "exp": (("gamma", 0.0),),
    "gate": (("multiplier_1", 1.0), ("multiplier_2", 1.0), ("num_iter", 0)),
    "inv": (("gamma", 0.0), ("power", 0.0)),
    "poly": (("max_iter", -1), ("power", 0.0)),
    "linearWarmup": (("start_multiplier", 0.0), ("num_iter", 0)),
    "constantWarmup": (("multiplier", 0.5), ("num_iter", 0)),
    "pieceWarmup": (("m1", 0.5), ("n1", 0), ("m2", 0.5), ("n2", 0), ("m3", 0.5)),
    "constantThenLinearWarmup": _WARM,
    "cyclical": (("max_lr", 0.005), ("stepsize", 0), ("decay", 1.0)),
    "cosine": (("max_lr", 0.5), ("min_lr", 0.1), ("period", 50), ("t_mult", 1.0), ("lr_shrink", 0.99)),
    "compositeCyclical": (
        *_WARM,
        ("cyclical_max_lr", 0.05),
        ("cyclical_step_size", 1000000),
        ("cyclical_decay", 1.0),
    ),
    "compositeCosine": (
        *_WARM,
        ("cosine_max_lr", 0.5),
        ("cosine_min_lr", 0.1),
        ("cosine_period", 50),
        ("cosine_t_mult", 1.0),
        ("cosine_lr_shrink", 0.99),
    ),
}
"""Policy -> its arguments and their defaults in the order in which a loop gets them; ``composite`` joins policies."""

ALTER, HILL, SLOPE, STEP, EXP, GATE, INV, POLY, LINEAR, CONSTANT, PIECES = range(1, 12)
WARM, CYCLICAL, COSINE, WARM_CYCLICAL, WARM_COSINE = range(12, 17)
"""The numbers of the policies in ``POLICIES``, with which loops compare; 0 is fixed."""

HEAD = 3
"""What stands before the parameters of a segment in a loop's table: policy, first iteration, scale."""
WIDTH = HEAD + max(map(len, POLICIES.values()))
_SUB_POLICIES = 8

_POSITIVE = {
    "step": ("stepsize",),
    "cyclical": ("stepsize",),
    "cosine": ("period", "t_mult"),
    "compositeCyclical": ("cyclical_step_size",),
    "compositeCosine": ("cosine_period", "cosine_t_mult"),
}
"""What a policy divides by, or takes the logarithm of."""


def _parameters(call: Call, policy: str, prefix: str) -> list[float]:
    """The arguments of one policy; fails for unknown policies and for values with which Caffe2 crashes."""
    if policy not in POLICIES:
        call.fail(f"learning rate policy '{policy}' is unknown", "known: " + ", ".join([*POLICIES, "composite"]))
    given = {name: _number(call, prefix + name, default) for name, default in POLICIES[policy]}
    for name in _POSITIVE.get(policy, ()):
        if not given[name] > 0:
            call.fail(f"the policy '{policy}' needs a positive argument '{prefix}{name}', it is {given[name]:g}")
    if policy == "alter" and given["active_period"] + given["inactive_period"] <= 0:
        call.fail("the policy 'alter' needs the arguments 'active_period' and 'inactive_period'")
    if policy == "poly" and given["max_iter"] <= 0:
        if given["max_iter"] == 0:
            call.fail(f"argument '{prefix}max_iter' is 0", "give the iteration in which the rate becomes 0")
        given["max_iter"] += 2.0**64  # Caffe2 holds it without a sign
    return list(given.values())


def _number(call: Call, name: str, default: float) -> float:
    value = call.node.attrs.get(name, default)
    if not isinstance(value, (int, float)):
        call.fail(f"argument '{name}' is no number")
    return float(value)


def _segments(call: Call) -> list[list[float]]:
    """For each policy in turn: its number, its first iteration, a scale and its arguments, ``WIDTH`` numbers.

    Caffe2 counts the iterations of ``composite`` from 1; every policy in it sees the number since training began.
    """
    policy = call.arg("policy")
    if policy != "composite":
        return [_segment(call, policy, 0, 1.0, "")]
    counts = call.arg("sub_policy_num_iters")
    if not counts or len(counts) > _SUB_POLICIES or min(counts) <= 0:
        call.fail(
            f"argument 'sub_policy_num_iters' is {list(counts)}",
            f"give 1 to {_SUB_POLICIES} positive numbers of iterations",
        )
    rows = []
    for i in range(len(counts)):
        prefix = f"sub_policy_{i}_"
        first = 1 + sum(counts[:i])
        name = call.node.attrs.get(prefix + "policy", b"")
        text = name.decode() if isinstance(name, bytes) else ""
        rows.append(_segment(call, text, first, _number(call, prefix + "lr_scale", 1.0), prefix))
    return rows


def _segment(call: Call, policy: str, first: int, scale: float, prefix: str) -> list[float]:
    parameters = _parameters(call, policy, prefix)
    row = [float(list(POLICIES).index(policy)), float(first), scale, *parameters]
    return row + [0.0] * (WIDTH - len(row))


def _rate_type(call: Call) -> list[TensorType]:
    """rate: a float without dimensions."""
    iteration(call, 0)
    if not call.given("base_lr"):
        call.fail("argument 'base_lr' is missing")
    if call.arg("base_lr") == 0 and call.arg("policy") in ("cyclical", "compositeCyclical"):
        call.fail("argument 'base_lr' is 0, and the policy divides by it")
    _segments(call)
    return [TensorType(DType.FLOAT, ())]


def _rate_constants(call: Call) -> Sequence[Any]:
    return [call.arg("base_lr"), tuple(x for row in _segments(call) for x in row)]


def _alter(t: Any, p: int, i: int) -> Any:
    active, first = int(t[p]), t[p + 2] != 0
    early = i % (active + int(t[p + 1])) < (active if first else int(t[p + 1]))
    return 1.0 if early == first else 0.0


def _inverse(gamma: Any, power: Any, i: int) -> Any:
    return (np.float32(1) + np.float32(gamma) * np.float32(i)) ** np.float32(-power)


def _warmup(start: Any, n: Any, i: int) -> Any:
    return 1.0 if i >= n else start + (1.0 - start) * np.float64(i) / n


def _hill(t: Any, p: int, i: int) -> Any:
    n = int(t[p])
    if i < n:
        return _warmup(t[p + 1], t[p], i)
    return max(t[p + 4], np.float64(_inverse(t[p + 2], t[p + 3], i - n)))


def _slope(t: Any, p: int, i: int) -> Any:
    past = i - t[p]
    if past < 0:
        return t[p + 1]
    span = np.float64(t[p + 2] - t[p])
    return max(t[p + 3], t[p + 1] + past * (t[p + 3] - t[p + 1]) / span)


def _pieces(t: Any, p: int, i: int) -> Any:
    if i < t[p + 1]:
        return t[p]
    return t[p + 2] if i < t[p + 3] else t[p + 4]


def _warm(t: Any, p: int, i: int, policy: int, base: Any) -> Any:
    """Constant, then linear, then 1 or what the policy goes on with."""
    if i < t[p + 1]:
        return t[p]
    if i < t[p + 1] + t[p + 2]:
        return _warmup(t[p], t[p + 2], i - t[p + 1])
    past = np.float64(i) - t[p + 1] - t[p + 2]
    if policy == WARM_CYCLICAL:
        return _cyclical(t, p + 3, past, base)
    return _cosine(t, p + 3, past) if policy == WARM_COSINE else 1.0


def _cyclical(t: Any, p: int, i: Any, base: Any) -> Any:
    """A triangle between the base rate and ``max_lr`` whose height shrinks by ``decay`` per cycle."""
    step = t[p + 1]
    turns = np.floor(i / (2.0 * step))
    x = abs(i / step - 2.0 * (turns + 1) + 1.0)
    top = np.float64(abs(t[p])) / abs(base) - 1.0
    return 1.0 + top * max(0.0, 1.0 - x) * np.float64(t[p + 2]) ** turns


def _cosine(t: Any, p: int, i: Any) -> Any:
    """Cosine from ``max_lr`` to ``min_lr`` over a period that grows by ``t_mult``, both shrinking by ``lr_shrink``."""
    period, grow = np.float64(t[p + 2]), np.float64(t[p + 3])
    turns, length = np.floor(i / period), period
    start = turns * period
    if grow != 1.0:
        turns = np.floor(np.log(1.0 - i / period * (1.0 - grow)) / np.log(grow))
        length = grow**turns * period
        start = (1.0 - grow**turns) / (1.0 - grow) * period
    shrink = np.float64(t[p + 4]) ** turns
    low, high = t[p + 1] * shrink, t[p] * shrink
    return low + 0.5 * (high - low) * (1.0 + np.cos(math.pi * (i - start) / length))


def _simple_factor(t: Any, p: int, i: int, policy: int) -> Any:
    """Policies of one line; 1 for ``fixed``."""
    if policy == STEP:
        return np.float64(t[p + 1]) ** np.float64(i // int(t[p]))
    if policy == EXP:
        return np.float64(t[p]) ** np.float64(i)
    if policy == GATE:
        return t[p] if i < t[p + 2] else t[p + 1]
    if policy == INV:
        return np.float64(_inverse(t[p], t[p + 1], i))
    if policy == POLY:
        return np.float64((np.float32(1) - np.float32(i) / np.float32(t[p])) ** np.float32(t[p + 1]))
    if policy == CONSTANT:
        return t[p] if i < t[p + 1] else 1.0
    return 1.0


def _factor(t: Any, at: int, i: int, base: Any) -> Any:
    """What the base rate is multiplied by in iteration ``i``."""
    policy, p = int(t[at]), at + HEAD
    if policy == ALTER:
        return _alter(t, p, i)
    if policy == HILL:
        return _hill(t, p, i)
    if policy == SLOPE:
        return _slope(t, p, i)
    if policy == LINEAR:
        return _warmup(t[p], t[p + 1], i)
    if policy == PIECES:
        return _pieces(t, p, i)
    if policy == CYCLICAL:
        return _cyclical(t, p, np.float64(i), base)
    if policy == COSINE:
        return _cosine(t, p, np.float64(i))
    if policy in (WARM, WARM_CYCLICAL, WARM_COSINE):
        return _warm(t, p, i, policy, base)
    return _simple_factor(t, p, i, policy)


def _learning_rate(counter: np.ndarray, rate: np.ndarray, base: Any, table: Any) -> None:
    """The segment of the iteration is the last that has begun, or the first."""
    i = int(counter.flat[0])
    at = 0
    for segment in range(WIDTH, len(table), WIDTH):
        if i >= table[segment + 1]:
            at = segment
    rate.flat[0] = np.float32(base) * np.float32(_factor(table, at, i, base) * table[at + 2])


def _rate_args() -> tuple[Arg, ...]:
    """The arguments of all policies, and those of the sub-policies of ``composite`` under their prefix."""
    whole = ("active_first", "stepsize", "max_iter", "cyclical_step_size")
    names = dict.fromkeys(name for parameters in POLICIES.values() for name, _ in parameters)
    single = (
        *(Arg(n, "int" if n in whole or "num_iter" in n or "period" in n else "float") for n in names),
        Arg("policy", "string", b"", "how the rate varies"),
    )
    prefixed = (Arg(f"sub_policy_{i}_{a.name}", a.kind) for i in range(_SUB_POLICIES) for a in single)
    scales = (Arg(f"sub_policy_{i}_lr_scale", "float") for i in range(_SUB_POLICIES))
    base = (Arg("base_lr", "float", None), Arg("sub_policy_num_iters", "ints", (), "iterations of each sub-policy"))
    return (*base, *single, Arg("lr_scale", "float", None, "counts in sub-policies alone"), *prefixed, *scales)


op(
    "LearningRate",
    _rate_type,
    inputs="iter",
    outputs="rate",
    args=_rate_args(),
    loop=_learning_rate,
    constants=_rate_constants,
    doc="base_lr times the factor that the policy gives for the iteration; negative where a WeightedSum subtracts",
)


def _adaption_type(call: Call) -> list[TensorType]:
    """output_lr: as lr."""
    one_element(call, 0)
    floats(call, 1, 2)
    equal_counts(call, 1, 2)
    return [call.type(0)]


def _adaption(
    lr: np.ndarray, grad: np.ndarray, effgrad: np.ndarray, output: np.ndarray, lr_alpha: float, normalized: int
) -> None:
    x, y, z = np.float32(0), np.float32(0), np.float32(0)
    for i in range(grad.size):
        g, e = grad.flat[i], effgrad.flat[i]
        x += g * e
        y += g * g
        z += e * e
    alpha, rate = np.float32(lr_alpha), lr.flat[0]
    if normalized:
        least = np.float32(1e-12)
        output.flat[0] = rate * (np.float32(1) - alpha * x / (max(root(y), least) * max(root(z), least)))
    else:
        output.flat[0] = rate - alpha * x


op(
    "LearningRateAdaption",
    _adaption_type,
    inputs="lr grad effgrad",
    outputs="output_lr",
    args=(
        Arg("lr_alpha", "float", 0.01, "the rate at which the rate learns"),
        Arg("normalized_lr_adaption", "int", 1, "the product of unit vectors counts, not that of the gradients"),
    ),
    loop=_adaption,
    inplace=((0, 0),),
    doc="lr less lr_alpha times the product of gradient and effective gradient",
)


def _lars_type(call: Call) -> list[TensorType]:
    """lr_rescaled: one float."""
    floats(call, 0, 1)
    equal_counts(call, 0, 1)
    one_element(call, 2, 3, 4)
    between(call, "offset", 0)
    between(call, "lr_min", 0)
    return [TensorType(DType.FLOAT, (1,))]


def _lars(
    x: np.ndarray,
    grad: np.ndarray,
    wd: np.ndarray,
    trust: np.ndarray,
    lr_max: np.ndarray,
    rescaled: np.ndarray,
    offset: float,
    lr_min: float,
) -> None:
    xx, gg = np.float32(0), np.float32(0)
    for i in range(x.size):
        xx += x.flat[i] * x.flat[i]
        gg += grad.flat[i] * grad.flat[i]
    value = np.float32(1)
    if xx > 0:
        norm = root(xx)
        value = trust.flat[0] / (root(gg) / norm + wd.flat[0] + np.float32(offset))
    rescaled.flat[0] = max(min(value, lr_max.flat[0]), np.float32(lr_min))


op(
    "Lars",
    _lars_type,
    inputs="X dX wd trust lr_max",
    outputs="lr_rescaled",
    args=(Arg("offset", "float", 0.5), Arg("lr_min", "float", 0.02, "least rate")),
    loop=_lars,
    doc="trust / (|dX| / |X| + wd + offset) between lr_min and lr_max: the rate for a layer",
)
