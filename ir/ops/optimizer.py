"""Parameter updates of training nets: iteration counter, learning rate schedules, weighted sums, SGD, Adagrad, Adam."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from graphc.ir.opdef import Arg, Call, op
from graphc.ir.types import DType, TensorType


def _counter_type(call: Call) -> list[TensorType]:
    return [TensorType(DType.INT64, (1,))]


def _iter(call: Call, *counter: np.ndarray) -> list[np.ndarray]:
    return [counter[0] + 1 if counter else np.ones(1, np.int64)]


op(
    "Iter",
    _counter_type,
    inputs="iter?",
    outputs="iter",
    reference=_iter,
    inplace=((0, 0),),
    doc="counts up by one; without an input it starts from zero",
)


def _atomic_iter(call: Call, mutex: object, counter: np.ndarray) -> list[np.ndarray]:
    return [counter + 1]


op(
    "AtomicIter",
    _counter_type,
    inputs="mutex iter",
    outputs="iter",
    reference=_atomic_iter,
    inplace=((1, 0),),
    doc="Iter under a mutex that other threads share",
)


def _rate_type(call: Call) -> list[TensorType]:
    if not call.given("base_lr"):
        call.fail("argument 'base_lr' is missing")
    policy = call.arg("policy")
    if policy not in POLICIES:
        call.fail(f"learning rate policy '{policy}' is unknown", "known: " + ", ".join(POLICIES))
    return [TensorType(DType.FLOAT, ())]


class Schedule:
    """The arguments of one learning rate policy; those of a sub-policy of ``composite`` have a prefix."""

    def __init__(self, call: Call, prefix: str = "") -> None:
        self.call = call
        self.prefix = prefix

    def __getitem__(self, name: str) -> float:
        """A numeric argument."""
        attrs = self.call.node.attrs
        value = attrs.get(self.prefix + name)
        if value is None:
            value = self.call.opdef.arg(name).default
        if not isinstance(value, (int, float)):
            self.call.fail(f"argument '{self.prefix}{name}' is needed by the policy '{self.policy}'")
        return value

    @property
    def policy(self) -> str:
        """The policy's name."""
        found = self.call.node.attrs.get(self.prefix + "policy", b"")
        return found.decode() if isinstance(found, bytes) else ""

    def factor(self, i: int) -> float:
        """What the base rate is multiplied by in iteration ``i``."""
        if self.policy not in POLICIES:
            self.call.fail(f"learning rate policy '{self.policy}' is unknown", "known: " + ", ".join(POLICIES))
        return POLICIES[self.policy](self, i)


def _alter(s: Schedule, i: int) -> float:
    first = bool(s["active_first"])
    active, inactive = s["active_period"], s["inactive_period"]
    early = i % (active + inactive) < (active if first else inactive)
    return 1.0 if early == first else 0.0


def _step(s: Schedule, i: int) -> float:
    if s["stepsize"] <= 0:
        s.call.fail(f"the policy 'step' needs a positive argument 'stepsize', it is {s['stepsize']}")
    return float(s["gamma"] ** (i // int(s["stepsize"])))


def _warmup(s: Schedule, i: int) -> float:
    n, start = s["num_iter"], s["start_multiplier"]
    return 1.0 if i >= n else start + (1.0 - start) * i / n


def _inv(s: Schedule, i: float) -> float:
    return float((1.0 + s["gamma"] * i) ** -s["power"])


def _hill(s: Schedule, i: int) -> float:
    n = s["num_iter"]
    return _warmup(s, i) if i < n else max(s["end_multiplier"], _inv(s, i - n))


def _slope(s: Schedule, i: int) -> float:
    if i < s["num_iter_1"]:
        return s["multiplier_1"]
    past = i - s["num_iter_1"]
    return max(s["multiplier_2"], s["multiplier_1"] + past * (s["multiplier_2"] - s["multiplier_1"]) / s["num_iter_2"])


def _gate(s: Schedule, i: int) -> float:
    return s["multiplier_1"] if i < s["num_iter"] else s["multiplier_2"]


def _constant_then_linear(s: Schedule, i: int) -> float:
    start, flat, rise = s["start_warmup_multiplier"], s["constant_warmup_num_iter"], s["linear_warmup_num_iter"]
    if i < flat:
        return start
    return 1.0 if i >= flat + rise else start + (1.0 - start) * (i - flat) / rise


def _cyclical(s: Schedule, i: int) -> float:
    """A triangle between base_lr and max_lr whose height shrinks by ``decay`` per cycle."""
    cycle = int((i / (2 * int(s["stepsize"]))) + 1)
    x = abs(i / s["stepsize"] - 2 * cycle + 1)
    base = s["base_lr"]
    top = (s["max_lr"] / base - 1.0) * s["decay"] ** (i // (2 * int(s["stepsize"])))
    return 1.0 + top * max(0.0, 1 - x)


def _cosine(s: Schedule, i: int) -> float:
    """Cosine from max_lr to min_lr over a period that grows by t_mult, the height shrinking by lr_shrink."""
    period, grow = s["period"], s["t_mult"]
    if grow != 1.0:
        turns = math.floor(math.log(1 - i / period * (1.0 - grow)) / math.log(grow))
        length = grow**turns * period
        start = (1 - grow**turns) / (1 - grow) * period
    else:
        turns = i // int(period)
        length, start = period, turns * period
    shrink = s["lr_shrink"] ** turns
    low, high = s["min_lr"] * shrink, s["max_lr"] * shrink
    return 0.5 * (high - low) * (math.cos(math.pi * (i - start) / length) + 1) + low


def _composite(s: Schedule, i: int) -> float:
    """Sub-policies one after the other; each sees the iteration number since training began."""
    counts = s.call.arg("sub_policy_num_iters")
    number = 0
    passed = counts[0] if counts else 0
    while number + 1 < len(counts) and i >= passed:
        number += 1
        passed += counts[number]
    sub = Schedule(s.call, f"sub_policy_{number}_")
    return sub["lr_scale"] * sub.factor(i)


POLICIES: dict[str, Callable[[Schedule, int], float]] = {
    "fixed": lambda s, i: 1.0,
    "alter": _alter,
    "step": _step,
    "exp": lambda s, i: float(s["gamma"] ** i),
    "inv": _inv,
    "poly": lambda s, i: float((1 - i / s["max_iter"]) ** s["power"]),
    "linearWarmup": _warmup,
    "constantWarmup": lambda s, i: 1.0 if i >= s["num_iter"] else s["multiplier"],
    "constantThenLinearWarmup": _constant_then_linear,
    "hill": _hill,
    "slope": _slope,
    "gate": _gate,
    "cyclical": _cyclical,
    "cosine": _cosine,
    "composite": _composite,
}
"""Policy -> factor of the base rate in an iteration (``learning_rate_functors.h`` of Caffe2)."""


def _learning_rate(call: Call, counter: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(call.arg("base_lr") * Schedule(call).factor(int(counter.reshape(-1)[0])), np.float32)]


_RATE_FLOATS = {
    "gamma": 0.0,
    "power": 0.0,
    "start_multiplier": 0.0,
    "end_multiplier": 0.0,
    "multiplier": 0.5,
    "multiplier_1": 0.0,
    "multiplier_2": 0.0,
    "max_lr": 0.005,
    "min_lr": 0.0,
    "decay": 1.0,
    "t_mult": 1.0,
    "lr_shrink": 0.99,
    "start_warmup_multiplier": 0.1,
    "lr_scale": 1.0,
}
_RATE_INTS = {
    "stepsize": 0,
    "num_iter": 0,
    "num_iter_1": 0,
    "num_iter_2": 0,
    "max_iter": -1,
    "active_first": 1,
    "active_period": -1,
    "inactive_period": -1,
    "period": 50,
    "constant_warmup_num_iter": 10000000,
    "linear_warmup_num_iter": 10000000,
}
_SUB_POLICIES = 8


def _rate_args() -> tuple[Arg, ...]:
    """The arguments of all policies, and those of the sub-policies of ``composite`` under their prefix."""
    single = (
        *(Arg(n, "float", d) for n, d in _RATE_FLOATS.items()),
        *(Arg(n, "int", d) for n, d in _RATE_INTS.items()),
        Arg("policy", "string", b"", "how the rate varies"),
    )
    sub = (Arg(f"sub_policy_{i}_{a.name}", a.kind, None) for i in range(_SUB_POLICIES) for a in single)
    base = (Arg("base_lr", "float", None), Arg("sub_policy_num_iters", "ints", ()))
    return (*base, *single, *sub)


op(
    "LearningRate",
    _rate_type,
    inputs="iter",
    outputs="rate",
    args=_rate_args(),
    reference=_learning_rate,
    doc="base_lr times the factor that the policy gives for the iteration; negative where a WeightedSum subtracts",
)


def _weighted_sum_type(call: Call) -> list[TensorType]:
    if call.n_inputs == 0 or call.n_inputs % 2:
        call.fail(f"{call.n_inputs} inputs, but tensors and weights come in pairs")
    return [call.type(0)]


def _weighted_sum(call: Call, *pairs: np.ndarray) -> list[np.ndarray]:
    return [sum((x * w.reshape(-1)[0] for x, w in zip(pairs[2::2], pairs[3::2])), pairs[0] * pairs[1].reshape(-1)[0])]


op(
    "WeightedSum",
    _weighted_sum_type,
    inputs="X_and_weight*",
    outputs="Y",
    args=(Arg("grad_on_w", "int", 0, "the gradient covers the weights too"),),
    reference=_weighted_sum,
    inplace=((0, 0),),
    doc="X0 * w0 + X1 * w1 + ... with weights of one element",
)


def _weighted_sum_gradient_type(call: Call) -> list[TensorType]:
    n = (call.n_inputs - 1) // 2
    weights = [TensorType(DType.FLOAT, (1,))] * (n if call.arg("grad_on_w") else 0)
    return [call.type(0)] * n + weights


def _weighted_sum_gradient(call: Call, dy: np.ndarray, *pairs: np.ndarray) -> list[np.ndarray]:
    dx = [dy * w.reshape(-1)[0] for w in pairs[1::2]]
    if not call.arg("grad_on_w"):
        return dx
    return dx + [np.full(1, (dy * x).sum(dtype=np.float64), np.float32) for x in pairs[::2]]


op(
    "WeightedSumGradient",
    _weighted_sum_gradient_type,
    inputs="dY X_and_weight*",
    outputs="dX*",
    args=(Arg("grad_on_w", "int", 0),),
    reference=_weighted_sum_gradient,
    doc="gradient of WeightedSum; with grad_on_w the gradients of the weights follow",
)

_MOMENTUM_ARGS = (Arg("momentum", "float", 0.0), Arg("nesterov", "int", 0))


def _update_types(count: int) -> Callable[[Call], list[TensorType]]:
    def infer(call: Call) -> list[TensorType]:
        return [call.type(i) for i in range(count)]

    return infer


def _momentum(call: Call, grad: np.ndarray, velocity: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
    mu, lr = np.float32(call.arg("momentum")), rate.reshape(-1)[0]
    moved = mu * velocity + lr * grad
    return [(1 + mu) * moved - mu * velocity if call.arg("nesterov") else moved, moved]


def _momentum_update(
    call: Call, grad: np.ndarray, velocity: np.ndarray, rate: np.ndarray, *param: np.ndarray
) -> list[np.ndarray]:
    adjusted, moved = _momentum(call, grad, velocity, rate)
    return [adjusted, moved, param[0] - adjusted]


op(
    "MomentumSGD",
    _update_types(2),
    inputs="grad momentum lr param?",
    outputs="adjusted_grad momentum param?",
    args=_MOMENTUM_ARGS,
    reference=_momentum,
    inplace=((0, 0), (1, 1)),
    family="optimizer",
    doc="the gradient after momentum; the parameter is left to the caller",
)


def _momentum_update_types(call: Call) -> list[TensorType]:
    return [call.type(0), call.type(1), call.type(3)]


op(
    "MomentumSGDUpdate",
    _momentum_update_types,
    inputs="grad momentum lr param",
    outputs="adjusted_grad momentum param",
    args=_MOMENTUM_ARGS,
    reference=_momentum_update,
    inplace=((0, 0), (1, 1), (3, 2)),
    doc="momentum, and param minus the result",
)


def _adagrad_types(call: Call) -> list[TensorType]:
    types = [call.type(0), call.type(1), call.type(0), call.type(0)]
    return types[: max(2, call.n_outputs)]


def _adagrad(call: Call, param: np.ndarray, moment: np.ndarray, grad: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
    decayed = grad + np.float32(call.arg("weight_decay")) * param
    moved = np.float32(call.arg("decay")) * moment + decayed * decayed
    effective = rate.reshape(-1)[0] / (np.sqrt(moved) + np.float32(call.arg("epsilon")))
    update = effective * decayed
    return [param + update, moved, effective, update]


op(
    "Adagrad",
    _adagrad_types,
    inputs="param moment grad lr",
    outputs="param moment effective_lr? update?",
    args=(
        Arg("epsilon", "float", 1e-5),
        Arg("decay", "float", 1.0),
        Arg("weight_decay", "float", 0.0),
        Arg("counter_halflife", "int", -1),
    ),
    reference=_adagrad,
    inplace=((0, 0), (1, 1)),
    doc="param + lr * grad / (sqrt(moment) + epsilon); moment sums the squared gradients",
)


def _adam_types(call: Call) -> list[TensorType]:
    return [call.type(0), call.type(1), call.type(2), call.type(3)][: max(3, call.n_outputs)]


def _adam(
    call: Call,
    param: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    grad: np.ndarray,
    rate: np.ndarray,
    counter: np.ndarray,
) -> list[np.ndarray]:
    if call.arg("enableRAdam"):
        call.fail("argument 'enableRAdam' is not supported", "leave it out to train with Adam")
    b1, b2, t = call.arg("beta1"), call.arg("beta2"), int(counter.reshape(-1)[0]) + 1
    correction = np.float32(math.sqrt(1 - b2**t) / (1 - b1**t))
    first = np.float32(b1) * moment1 + np.float32(1 - b1) * grad
    second = np.float32(b2) * moment2 + np.float32(1 - b2) * grad * grad
    direction = correction * first / (np.sqrt(second) + np.float32(call.arg("epsilon")))
    return [param + rate.reshape(-1)[0] * direction, first, second, direction]


op(
    "Adam",
    _adam_types,
    inputs="param moment1 moment2 grad lr iter",
    outputs="param moment1 moment2 adjusted_grad?",
    args=(
        Arg("beta1", "float", 0.9),
        Arg("beta2", "float", 0.999),
        Arg("epsilon", "float", 1e-5),
        Arg("enableRAdam", "int", 0),
    ),
    reference=_adam,
    inplace=((0, 0), (1, 1), (2, 2)),
    doc="param + lr * corrected moment1 / (sqrt(moment2) + epsilon); lr is negative to descend",
)
