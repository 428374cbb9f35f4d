"""Parameter updates of training nets, the common ones: iteration counter, weighted sums, SGD, Adagrad, Adam, RmsProp.

Rules: ``caffe2/sgd/*.h``; what these compute in float32 is float32 here. Outputs that Caffe2 writes over their inputs
are values of their own. The dense updates that whole training nets are made of keep a NumPy form beside their loop:
the interpreter would take minutes for the loop on the weights of a real net.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.opdef import EACH, Arg, Call, Trait, op
from graphc.ir.ops._updates import blend, equal_counts, floats, iteration, one_element, root
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import Dim, DType, TensorType


def _counter_type(call: Call) -> list[TensorType]:
    """iter: int64, one more. Scripts fill it with int32, too; the operator turns the blob into int64."""
    if call.n_inputs == 0:
        return [TensorType(DType.INT64, (1,))]
    last = call.n_inputs - 1
    if call.type(last).dtype is not DType.INT32:
        iteration(call, last)
    return [TensorType(DType.INT64, call.type(last).shape)]


def _iter(counter: np.ndarray, output: np.ndarray) -> None:
    for i in range(output.size):
        output.flat[i] = counter.flat[i] if i < counter.size else 0
    output.flat[0] += 1


op(
    "Iter",
    _counter_type,
    inputs="iter?",
    outputs="iter",
    loop=_iter,
    enforced=((0, 0),),
    family=__name__,
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
    traits=Trait.HOST,
    enforced=((1, 0),),
    doc="Iter under a mutex that other threads share; a plan runs in one",
)


def _weighted_sum_type(call: Call) -> list[TensorType]:
    """Y: X0; every weight has one element."""
    if call.n_inputs == 0 or call.n_inputs % 2:
        call.fail(f"{call.n_inputs} inputs, but tensors and weights come in pairs")
    for i in range(0, call.n_inputs, 2):
        floats(call, i)
        equal_counts(call, 0, i)
        one_element(call, i + 1)
    return [call.type(0)]


def _weighted_sum_align(call: Call, i: int) -> tuple[Dim, ...]:
    """Weights count for all elements, tensors of other shapes by their elements in row-major order."""
    shape = call.type(0).shape
    if shape == ():
        return ()
    return (1,) if i % 2 or shape is None else shape


def _weighted_sum(o: ScalarOps, call: Call, *pairs: Expr) -> Expr:
    total = pairs[0] * pairs[1]
    for x, w in zip(pairs[2::2], pairs[3::2]):
        total = total + x * w
    return total


op(
    "WeightedSum",
    _weighted_sum_type,
    inputs="X_and_weight*",
    outputs="Y",
    args=(Arg("grad_on_w", "int", 0, "the gradient covers the weights too"),),
    scalar=_weighted_sum,
    align=_weighted_sum_align,
    traits=Trait.POINTWISE,
    inplace=((0, 0),),
    doc="X0 * w0 + X1 * w1 + ... with weights of one element",
)


def _weighted_sum_gradient_type(call: Call) -> list[TensorType]:
    """dX: as dY for every tensor; with ``grad_on_w`` a gradient of one element for every weight."""
    n = (call.n_inputs - 1) // 2
    if call.n_inputs < 3 or call.n_inputs % 2 == 0:
        call.fail(f"{call.n_inputs} inputs, but after dY tensors and weights come in pairs")
    for i in range(1, call.n_inputs, 2):
        floats(call, 0, i)
        equal_counts(call, 0, i)
        one_element(call, i + 1)
    weights = [TensorType(DType.FLOAT, (1,))] * (n if call.arg("grad_on_w") else 0)
    if call.n_outputs != n + len(weights):
        call.fail(f"{call.n_outputs} outputs, but there are {n + len(weights)} gradients")
    return [call.type(0)] * n + weights


def _scaled(dy: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    for i in range(dy.size):
        dx.flat[i] = dy.flat[i] * w.flat[0]


def _dot(dy: np.ndarray, x: np.ndarray, dw: np.ndarray) -> None:
    total = np.float32(0)
    for i in range(dy.size):
        total += dy.flat[i] * x.flat[i]
    dw.flat[0] = total


def _weighted_sum_gradient(dy: np.ndarray, pairs: Any, outputs: Any, grad_on_w: int) -> None:
    n = len(pairs) // 2
    for k in range(n):
        _scaled(dy, pairs[2 * k + 1], outputs[k])
        if grad_on_w:
            _dot(dy, pairs[2 * k], outputs[n + k])


op(
    "WeightedSumGradient",
    _weighted_sum_gradient_type,
    inputs="dY X_and_weight*",
    outputs="dX*",
    args=(Arg("grad_on_w", "int", 0),),
    loop=_weighted_sum_gradient,
    doc="gradient of WeightedSum; with grad_on_w the gradients of the weights follow",
)

_MOMENTUM_ARGS = (
    Arg("momentum", "float", 0.0, "what stays of the last step"),
    Arg("nesterov", "int", 0, "the gradient is taken ahead of the parameter"),
)


def _momentum_types(call: Call) -> list[TensorType]:
    """adjusted_grad, momentum, param: as the inputs of these names."""
    floats(call, 0, 1)
    one_element(call, 2)
    equal_counts(call, 0, 1)
    if not call.has(3):
        return [call.type(0), call.type(1)]
    floats(call, 3)
    equal_counts(call, 0, 3)
    return [call.type(0), call.type(1), call.type(3)]


def _momentum(call: Call, grad: np.ndarray, velocity: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
    mu, lr = np.float32(call.arg("momentum")), rate.reshape(-1)[0]
    moved = mu * velocity + lr * grad.reshape(velocity.shape)
    adjusted = (1 + mu) * moved - mu * velocity if call.arg("nesterov") else moved
    return [adjusted.reshape(grad.shape), moved]


def _momentum_update(
    call: Call, grad: np.ndarray, velocity: np.ndarray, rate: np.ndarray, *param: np.ndarray
) -> list[np.ndarray]:
    adjusted, moved = _momentum(call, grad, velocity, rate)
    return [adjusted, moved, *(p - adjusted.reshape(p.shape) for p in param)]


def momentum_step(velocity: Any, moved: Any, momentum: Any, nesterov: int) -> Any:
    """Part of a loop: what is taken from the parameter."""
    if nesterov:
        return (np.float32(1) + np.float32(momentum)) * moved - np.float32(momentum) * velocity
    return moved


def _momentum_loop(
    grad: np.ndarray,
    velocity: np.ndarray,
    lr: np.ndarray,
    param: np.ndarray,
    adjusted: np.ndarray,
    moved: np.ndarray,
    new: np.ndarray,
    momentum: float,
    nesterov: int,
) -> None:
    rate, mu = lr.flat[0], np.float32(momentum)
    for i in range(grad.size):
        v = velocity.flat[i]
        m = mu * v + rate * grad.flat[i]
        step = momentum_step(v, m, momentum, nesterov)
        moved.flat[i] = m
        adjusted.flat[i] = step
        if new.size:
            new.flat[i] = param.flat[i] - step


op(
    "MomentumSGD",
    _momentum_types,
    inputs="grad momentum lr param?",
    outputs="adjusted_grad momentum param?",
    args=_MOMENTUM_ARGS,
    loop=_momentum_loop,
    reference=_momentum_update,
    inplace=((0, 0), (1, 1)),
    doc="the gradient after momentum; the parameter is left to the caller",
)
op(
    "MomentumSGDUpdate",
    _momentum_types,
    inputs="grad momentum lr param",
    outputs="adjusted_grad momentum param",
    args=_MOMENTUM_ARGS,
    loop=_momentum_loop,
    reference=_momentum_update,
    inplace=((0, 0), (1, 1), (3, 2)),
    doc="momentum, and param minus the result",
)


def _adagrad_types(call: Call) -> list[TensorType]:
    """param, moment as the inputs; effective_lr, update: as the gradient."""
    floats(call, 0, 1, 2)
    one_element(call, 3)
    equal_counts(call, 2, 0, 1)
    types = [call.type(0), call.type(1), call.type(2), call.type(2)]
    return types[: max(2, call.n_outputs)]


def _adagrad(call: Call, param: np.ndarray, moment: np.ndarray, grad: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
    decayed = grad.reshape(param.shape) + np.float32(call.arg("weight_decay")) * param
    moved = np.float32(call.arg("decay")) * moment + (decayed * decayed).reshape(moment.shape)
    effective = rate.reshape(-1)[0] / (np.sqrt(moved) + np.float32(call.arg("epsilon")))
    update = effective.reshape(param.shape) * decayed
    return [param + update, moved, effective.reshape(grad.shape), update.reshape(grad.shape)]


def _adagrad_loop(
    param: np.ndarray,
    moment: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    new: np.ndarray,
    moved: np.ndarray,
    effective: np.ndarray,
    update: np.ndarray,
    epsilon: float,
    decay: float,
    weight_decay: float,
) -> None:
    rate = lr.flat[0]
    for i in range(param.size):
        g = grad.flat[i] + np.float32(weight_decay) * param.flat[i]
        h = np.float32(decay) * moment.flat[i] + g * g
        step = rate / (root(h) + np.float32(epsilon))
        moved.flat[i] = h
        new.flat[i] = param.flat[i] + step * g
        if effective.size:
            effective.flat[i] = step
        if update.size:
            update.flat[i] = step * g


def _adagrad_constants(call: Call) -> list[float]:
    return [call.arg(name) for name in ("epsilon", "decay", "weight_decay")]


op(
    "Adagrad",
    _adagrad_types,
    inputs="param moment grad lr",
    outputs="param moment effective_lr? update?",
    args=(
        Arg("epsilon", "float", 1e-5, "keeps the divisor from 0"),
        Arg("decay", "float", 1.0, "of the moment"),
        Arg("weight_decay", "float", 0.0, "of the parameter, which it adds to the gradient"),
        Arg("counter_halflife", "int", -1, "counts in RowWiseSparseAdagrad alone"),
    ),
    loop=_adagrad_loop,
    constants=_adagrad_constants,
    reference=_adagrad,
    inplace=((0, 0), (1, 1)),
    doc="param + lr * grad / (sqrt(moment) + epsilon); moment sums the squared gradients",
)


def _adam_types(call: Call) -> list[TensorType]:
    """param, moment1, moment2 as the inputs; adjusted_grad: as the gradient."""
    floats(call, 0, 1, 2, 3)
    one_element(call, 4)
    iteration(call, 5)
    equal_counts(call, 3, 0, 1, 2)
    return [call.type(0), call.type(1), call.type(2), call.type(3)][: max(3, call.n_outputs)]


def adam_correction(t: Any, beta1: Any, beta2: Any) -> Any:
    """Part of a loop: what makes up for moments that began with 0, in iteration ``t`` from 1 on."""
    return np.float32(np.sqrt(1.0 - np.float64(beta2) ** t) / (1.0 - np.float64(beta1) ** t))


def _adam(
    call: Call,
    param: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    grad: np.ndarray,
    rate: np.ndarray,
    counter: np.ndarray,
) -> list[np.ndarray]:
    b1, b2, t = call.arg("beta1"), call.arg("beta2"), int(counter.reshape(-1)[0]) + 1
    flat = grad.reshape(-1)
    first = blend(moment1.reshape(-1), flat, b1)
    second = blend(moment2.reshape(-1), flat * flat, b2)
    direction = adam_correction(t, b1, b2) * first / (np.sqrt(second) + np.float32(call.arg("epsilon")))
    new = param + (rate.reshape(-1)[0] * direction).reshape(param.shape)
    return [new, first.reshape(moment1.shape), second.reshape(moment2.shape), direction.reshape(grad.shape)]


def _adam_loop(
    param: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    grad: np.ndarray,
    lr: np.ndarray,
    counter: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    adjusted: np.ndarray,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    rate, correction = lr.flat[0], adam_correction(np.float64(counter.flat[0]) + 1.0, beta1, beta2)
    for i in range(param.size):
        g = grad.flat[i]
        m = blend(moment1.flat[i], g, beta1)
        v = blend(moment2.flat[i], g * g, beta2)
        direction = correction * m / (root(v) + np.float32(epsilon))
        first.flat[i] = m
        second.flat[i] = v
        new.flat[i] = param.flat[i] + rate * direction
        if adjusted.size:
            adjusted.flat[i] = direction


def adam_constants(call: Call) -> list[float]:
    """beta1, beta2, epsilon."""
    return [call.arg(name) for name in ("beta1", "beta2", "epsilon")]


ADAM_ARGS = (
    Arg("beta1", "float", 0.9, "what stays of the mean"),
    Arg("beta2", "float", 0.999, "what stays of the mean square"),
    Arg("epsilon", "float", 1e-5, "keeps the divisor from 0"),
)
op(
    "Adam",
    _adam_types,
    inputs="param moment1 moment2 grad lr iter",
    outputs="param moment1 moment2 adjusted_grad?",
    args=(*ADAM_ARGS, Arg("enableRAdam", "int", 0, "counts in SparseAdam alone")),
    loop=_adam_loop,
    constants=adam_constants,
    reference=_adam,
    inplace=((0, 0), (1, 1), (2, 2)),
    doc="param + lr * corrected moment1 / (sqrt(moment2) + epsilon); lr is negative to descend",
)


def _rmsprop_types(call: Call) -> list[TensorType]:
    """grad, mean_squares, mom: as the inputs."""
    floats(call, 0, 1, 2)
    one_element(call, 3)
    equal_counts(call, 0, 1, 2)
    return [call.type(0), call.type(1), call.type(2)]


def _rmsprop(
    grad: np.ndarray,
    mean: np.ndarray,
    mom: np.ndarray,
    lr: np.ndarray,
    output: np.ndarray,
    new_mean: np.ndarray,
    new_mom: np.ndarray,
    decay: float,
    momentum: float,
    epsilon: float,
) -> None:
    rate = lr.flat[0]
    for i in range(grad.size):
        g = grad.flat[i]
        ms = mean.flat[i] + (np.float32(1) - np.float32(decay)) * (g * g - mean.flat[i])
        m = mom.flat[i] * np.float32(momentum) + rate * g / root(np.float32(epsilon) + ms)
        new_mean.flat[i] = ms
        new_mom.flat[i] = m
        output.flat[i] = m


op(
    "RmsProp",
    _rmsprop_types,
    inputs="grad mean_squares mom lr",
    outputs="grad mean_squares mom",
    args=(Arg("decay", "float", 0.9), Arg("momentum", "float", 0.0), Arg("epsilon", "float", 1e-5)),
    loop=_rmsprop,
    inplace=((0, 0), (1, 1), (2, 2)),
    doc="the gradient by its mean square, with momentum; the parameter is left to the caller",
)


def _scale_types(call: Call) -> list[TensorType]:
    """Every output: as the input in its place."""
    if call.n_outputs != call.n_inputs:
        call.fail(f"{call.n_inputs} inputs and {call.n_outputs} outputs, as many are needed")
    floats(call, *range(call.n_inputs))
    return [call.type(i) for i in range(call.n_inputs)]


def _scale_blobs(inputs: Any, outputs: Any, scale: float) -> None:
    for k in range(len(inputs)):
        x, y = inputs[k], outputs[k]
        for i in range(x.size):
            y.flat[i] = x.flat[i] * np.float32(scale)


op(
    "ScaleBlobs",
    _scale_types,
    inputs="X*",
    outputs="Y*",
    args=(Arg("scale", "float", 1.0),),
    loop=_scale_blobs,
    inplace=EACH,
    doc="every input times scale",
)
