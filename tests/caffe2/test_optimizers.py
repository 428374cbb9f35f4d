"""Optimizers step by step against their formulas in NumPy, on the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import brew, core, optimizer, workspace
from graphc.caffe2.model_helper import ModelHelper
from graphc.caffe2.modeling.initializers import PseudoFP16Initializer
from graphc.caffe2.optimizer_context import UseOptimizer

STEPS = 4
ROWS = np.array([[0, 3], [1, 3], [4, 0], [2, 3]])
"""Rows of the table that each step reads; without duplicates within a step."""
Array = np.ndarray
Rule = Callable[[dict[str, Any], Array, Array, int], Array]
"""``rule(state, parameter, gradient, step)``: the new parameter; the state is the parameter's own, empty at first."""


@pytest.fixture(autouse=True)
def count_from_zero() -> None:
    optimizer.reset_optimizer_instance_count()


# ---- models ----------------------------------------------------------------------------------------------------------


def dense_model() -> ModelHelper:
    """A linear layer with half the squared distance as its loss."""
    model = ModelHelper(name="dense")
    brew.fc(model, "data", "fc", 3, 2)
    model.net.SquaredL2Distance(["fc", "label"], "distance").AveragedLoss([], ["loss"])
    model.AddGradientOperators(["loss"])
    return model


def sparse_model() -> ModelHelper:
    """Rows of a table that come close to the labels."""
    model = ModelHelper(name="sparse")
    table = model.param_init_net.GaussianFill([], "table", shape=[5, 3], std=1.0)
    model.AddParameter(table)
    model.net.Gather([table, "rows"], "picked")
    model.net.SquaredL2Distance(["picked", "label"], "distance").AveragedLoss([], ["loss"])
    model.AddGradientOperators(["loss"])
    return model


def dense_batches() -> list[dict[str, Array]]:
    rng = np.random.default_rng(5)
    return [
        {"data": rng.standard_normal((4, 3), np.float32), "label": rng.standard_normal((4, 2), np.float32)}
        for _ in range(STEPS)
    ]


def sparse_batches() -> list[dict[str, Array]]:
    rng = np.random.default_rng(6)
    return [{"rows": rows, "label": rng.standard_normal((2, 3), np.float32)} for rows in ROWS]


def dense_gradients(parameters: dict[str, Array], batch: dict[str, Array]) -> dict[str, Array]:
    error = batch["data"] @ parameters["fc_w"].T + parameters["fc_b"] - batch["label"]
    return {"fc_w": error.T @ batch["data"] / 4, "fc_b": error.mean(0)}


def check(build: Callable[[ModelHelper], Any], rule: Rule, model: ModelHelper | None = None) -> ModelHelper:
    """Every step of the net agrees with the rule, for a dense model."""
    model = model or dense_model()
    build(model)
    state = interpreted_nets.initial(model.param_init_net)
    parameters = {name: state[name].astype(np.float64) for name in ("fc_w", "fc_b")}
    rules: dict[str, dict[str, Any]] = {"fc_w": {}, "fc_b": {}}
    batches = dense_batches()
    for t, (batch, found) in enumerate(zip(batches, interpreted_nets.steps(model.net, state, batches))):
        gradients = dense_gradients(parameters, batch)
        parameters = {n: rule(rules[n], parameters[n], gradients[n], t) for n in parameters}
        for name, want in parameters.items():
            np.testing.assert_allclose(found[name], want, rtol=2e-4, atol=1e-6, err_msg=f"{name} after step {t}")
    return model


def check_sparse(build: Callable[[ModelHelper], Any], rule: Rule) -> ModelHelper:
    """Every step agrees with the rule, which is told the rows' state and values only."""
    model = sparse_model()
    build(model)
    state = interpreted_nets.initial(model.param_init_net)
    table, held = state["table"].astype(np.float64), [dict[str, Any]() for _ in range(5)]
    batches = sparse_batches()
    for t, (batch, found) in enumerate(zip(batches, interpreted_nets.steps(model.net, state, batches))):
        for row, label in zip(batch["rows"], batch["label"]):
            table[row] = rule(held[row], table[row], (table[row] - label) / 2, t)
        np.testing.assert_allclose(found["table"], table, rtol=2e-4, atol=1e-6, err_msg=f"after step {t}")
    return model


# ---- rules -----------------------------------------------------------------------------------------------------------


def sgd(rate: Callable[[int], float]) -> Rule:
    return lambda s, w, g, t: w - rate(t) * g


def momentum(rate: float, m: float, nesterov: bool) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        before = s.get("v", np.zeros_like(g))
        s["v"] = m * before + rate * g
        return w - ((1 + m) * s["v"] - m * before if nesterov else s["v"])

    return rule


def adagrad(rate: float, epsilon: float, decay: float = 1.0, row_wise: bool = False, weight_decay: float = 0) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        g = g + weight_decay * w * (w.ndim > 1)
        square = np.mean(g * g) if row_wise else g * g
        s["h"] = decay * s.get("h", np.zeros_like(square)) + square
        return w - rate * g / (np.sqrt(s["h"]) + epsilon)

    return rule


def adam(rate: float, epsilon: float, row_wise: bool = False) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        square = np.mean(g * g) if row_wise else g * g
        s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
        s["v"] = 0.999 * s.get("v", 0) + 0.001 * square
        count = t + 2  # the counter has counted this step already, and the operator counts it again
        correction = np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        return w - rate * correction * s["m"] / (np.sqrt(s["v"]) + epsilon)

    return rule


def adadelta(rate: float, epsilon: float, decay: float) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        s["g"] = decay * s.get("g", 0) + (1 - decay) * g * g
        step = np.sqrt(s.get("d", 0) + epsilon) / np.sqrt(s["g"] + epsilon) * g
        s["d"] = decay * s.get("d", 0) + (1 - decay) * step * step
        return w - rate * step

    return rule


def ftrl(alpha: float, beta: float, lambda1: float, lambda2: float) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        n = s.get("n", 0) + g * g
        s["z"] = s.get("z", 0) + g - (np.sqrt(n) - np.sqrt(s.get("n", 0))) / alpha * w
        s["n"] = n
        z = s["z"]
        return np.where(abs(z) > lambda1, (lambda1 * np.sign(z) - z) / ((beta + np.sqrt(n)) / alpha + lambda2), 0)

    return rule


def rms_prop(rate: float, decay: float, epsilon: float, m: float) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        s["s"] = decay * s.get("s", 0) + (1 - decay) * g * g
        step = m * s.get("m", 0) + g / np.sqrt(s["s"] + epsilon)
        s["m"] = rate * step  # the update behind it keeps its own step in the same blob
        return w - rate * step

    return rule


def wngrad(rate: float, epsilon: float, h: float) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        before = s.get("h", h)
        s["h"] = before + (g * g).sum() / before
        return w - rate * g / (before + epsilon)

    return rule


def storm(rate: float, m: float, beta: float, squares: float) -> Rule:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        s["s"] = s.get("s", squares) + (g * g).sum()
        step = -rate * (beta + s["s"]) ** (-1 / 3)
        s["m"] = g + (1 - m * step * step) * (s.get("m", 0) - g)
        return w + step * s["m"]

    return rule


# ---- dense -----------------------------------------------------------------------------------------------------------


def test_sgd_and_its_policies() -> None:
    model = check(lambda m: optimizer.build_sgd(m, 0.1), sgd(lambda t: 0.1))
    assert [op.type for op in model.net.Proto().op][-4:] == ["AtomicIter", "LearningRate", "WeightedSum", "WeightedSum"]
    # the counter is 1 in the first step
    check(
        lambda m: optimizer.build_sgd(m, 0.1, policy="step", stepsize=2, gamma=0.5),
        sgd(lambda t: 0.1 * 0.5 ** ((t + 1) // 2)),
    )
    check(
        lambda m: optimizer.build_sgd(m, 0.1, policy="inv", gamma=0.3, power=0.75),
        sgd(lambda t: 0.1 * (1 + 0.3 * (t + 1)) ** -0.75),
    )
    check(lambda m: optimizer.build_sgd(m, 0.1, policy="exp", gamma=0.5), sgd(lambda t: 0.1 * 0.5 ** (t + 1)))


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum(nesterov: bool) -> None:
    rule = momentum(0.1, 0.9, nesterov)
    model = check(lambda m: optimizer.build_sgd(m, 0.1, momentum=0.9, nesterov=nesterov), rule)
    assert model.param_init_net.BlobIsDefined("fc_w_momentum")


DENSE: dict[str, tuple[Callable[[ModelHelper], Any], Rule]] = {
    "adagrad": (lambda m: optimizer.build_adagrad(m, 0.5), adagrad(0.5, 1e-4)),
    "adagrad with decay": (lambda m: optimizer.build_adagrad(m, 0.5, decay=0.9), adagrad(0.5, 1e-4, 0.9)),
    "adagrad with weight decay": (
        lambda m: optimizer.build_adagrad(m, 0.5, weight_decay=0.1),
        adagrad(0.5, 1e-4, weight_decay=0.1),
    ),
    "adam": (lambda m: optimizer.build_adam(m, 0.1), adam(0.1, 1e-8)),
    "adadelta": (lambda m: optimizer.build_adadelta(m, 1.0, decay=0.9), adadelta(1.0, 1e-4, 0.9)),
    "ftrl": (
        lambda m: optimizer.build_ftrl(m, alpha=0.3, beta=0.2, lambda1=0.05, lambda2=0.1),
        ftrl(0.3, 0.2, 0.05, 0.1),
    ),
    "rms_prop": (
        lambda m: optimizer.build_rms_prop(m, 0.1, decay=0.8, epsilon=0.1, momentum=0.5),
        rms_prop(0.1, 0.8, 0.1, 0.5),
    ),
    "wngrad": (lambda m: optimizer.build_wngrad(m, 5.0, moment_init=10.0), wngrad(5.0, 1e-9, 10.0)),
    "storm": (lambda m: optimizer.build_storm(m, 0.2), storm(0.2, 10.0, 0.1, 0.01)),
}


@pytest.mark.parametrize("name", DENSE)
def test_dense(name: str) -> None:
    build, rule = DENSE[name]
    check(build, rule)


def test_gftrl_is_ftrl_where_there_is_no_penalty_of_norms() -> None:
    def build(model: ModelHelper) -> None:
        model.params.remove("fc_b")  # the operator takes matrices
        del model.param_to_grad["fc_b"]
        optimizer.build_gftrl(model, alpha=0.3, beta=0.2)

    free, model = ftrl(0.3, 0.2, 0, 0), dense_model()
    build(model)
    state = interpreted_nets.initial(model.param_init_net)
    (found, *_) = interpreted_nets.steps(model.net, state, dense_batches())
    gradient = dense_gradients(state, dense_batches()[0])["fc_w"]
    np.testing.assert_allclose(found["fc_w"], free({}, state["fc_w"], gradient, 0), rtol=1e-4)


def test_lars() -> None:
    def rule(s: dict[str, Any], w: Array, g: Array, t: int) -> Array:
        factor = np.linalg.norm(w) / (np.linalg.norm(g) + 0.5 * np.linalg.norm(w)) if w.any() else 0.0
        return w - 0.1 * factor * g

    model = dense_model()
    fill = next(op for op in model.param_init_net.Proto().op if "fc_b" in op.output)
    fill.arg.add(name="value", f=0.25)
    check(lambda m: optimizer.build_sgd(m, 0.1, lars=0.5), rule, model)


# ---- sparse ----------------------------------------------------------------------------------------------------------

SPARSE: dict[str, tuple[Callable[[ModelHelper], Any], Rule]] = {
    "sgd": (lambda m: optimizer.build_sgd(m, 0.1), sgd(lambda t: 0.1)),
    "momentum": (lambda m: optimizer.build_sgd(m, 0.1, momentum=0.9), momentum(0.1, 0.9, True)),
    "adagrad": (lambda m: optimizer.build_adagrad(m, 0.5), adagrad(0.5, 1e-4)),
    "row-wise adagrad": (lambda m: optimizer.build_adagrad(m, 0.5, rowWise=True), adagrad(0.5, 1e-4, row_wise=True)),
    "adam": (lambda m: optimizer.build_adam(m, 0.1), adam(0.1, 1e-8)),
    "row-wise adam": (lambda m: optimizer.build_adam(m, 0.1, rowWise=True), adam(0.1, 1e-8, row_wise=True)),
    "adadelta": (lambda m: optimizer.build_adadelta(m, 1.0, decay=0.9), adadelta(1.0, 1e-4, 0.9)),
    "ftrl": (lambda m: optimizer.build_ftrl(m, alpha=0.3, beta=0.2, lambda1=0.01), ftrl(0.3, 0.2, 0.01, 0)),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse(name: str) -> None:
    build, rule = SPARSE[name]
    check_sparse(build, rule)


def test_rows_that_come_twice_are_one() -> None:
    model = sparse_model()
    optimizer.build_adagrad(model, 0.5, sparse_dedup_aggregator="sum")
    state = interpreted_nets.initial(model.param_init_net)
    batch = {"rows": np.array([3, 1, 3]), "label": np.ones((3, 3), np.float32)}
    (found,) = interpreted_nets.steps(model.net, state, [batch])
    g = (state["table"] - 1) / 3 * np.array([0, 1, 0, 2, 0])[:, None]
    want = state["table"] - 0.5 * g / (abs(g) + 1e-4)
    np.testing.assert_allclose(found["table"], want, rtol=1e-4)


def test_counters_of_rows() -> None:
    model = sparse_model()
    made = optimizer.build_adagrad(model, 0.5, rowWise=True, counter_halflife=5, weight_decay=0.1)
    operators = [(op.type, list(op.output)) for op in model.net.Proto().op][-2:]
    assert operators == [
        ("RowWiseSparseAdagrad", ["table", "table_avg_squared_sum"]),
        ("RowWiseCounter", ["table_prev_update_iter", "table_update_counter"]),
    ]
    assert [str(b) for b in made.get_auxiliary_parameters().shared] == ["optimizer_iteration"]
    assert [str(b) for b in made.get_auxiliary_parameters().local] == [
        "table_avg_squared_sum",
        "table_update_counter",
        "table_prev_update_iter",
    ]


# ---- learning rates of the whole model -------------------------------------------------------------------------------


def test_gradients_are_clipped_by_the_norm_of_all() -> None:
    model = dense_model()
    optimizer.build_sgd(model, 0.1, max_gradient_norm=0.5, allow_lr_injection=True)
    state = interpreted_nets.initial(model.param_init_net)
    batch = dense_batches()[0]
    g = dense_gradients(state, batch)
    ratio = 0.5 / max(0.5, np.sqrt(sum((x * x).sum() for x in g.values())))
    for injected in (1.0, 0.25):
        (found,) = interpreted_nets.steps(model.net, {**state, "lr_injection": np.float32([injected])}, [batch])
        assert ratio < 1
        np.testing.assert_allclose(found["norm_clipped_grad_update/norm_ratio"], ratio, rtol=1e-5)
        np.testing.assert_allclose(found["lr_multiplier"], ratio * injected, rtol=1e-5)
        np.testing.assert_allclose(found["fc_w"], state["fc_w"] - 0.1 * injected * ratio * g["fc_w"], rtol=1e-5)
    assert optimizer.get_lr_injection() == 1
    optimizer.set_lr_injection(0.5)
    assert optimizer.get_lr_injection() == [0.5]


def test_weight_decay_is_for_weights() -> None:
    model = dense_model()
    optimizer.add_weight_decay(model, 0.2)
    check(
        lambda m: optimizer.build_sgd(m, 0.1),
        lambda s, w, g, t: w - 0.1 * (g + (0.2 * w if w.ndim > 1 else 0)),
        model,
    )
    by_brew = dense_model()
    brew.add_weight_decay(by_brew, 0.2)
    assert [list(op.input) for op in by_brew.net.Proto().op][-1] == ["fc_w_grad", "ONE", "fc_w", "wd"]


def test_parameters_may_have_their_own_optimizer() -> None:
    weights, biases, first = (optimizer.SgdOptimizer(rate) for rate in (0.2, 0.1, 0.4))
    model = ModelHelper(name="own")
    with UseOptimizer(first):
        brew.fc(model, "data", "a", 3, 3)
    with UseOptimizer({"WEIGHT": weights, "BIAS": biases}):
        brew.fc(model, "a", "b", 3, 3)
    brew.fc(model, "b", "c", 3, 2)
    model.net.SquaredL2Distance(["c", "label"], "distance").AveragedLoss([], ["loss"])
    model.AddGradientOperators(["loss"])
    optimizer.build_sgd(model, 0.11)
    rates = {op.output[0]: op.arg[0].f for op in model.net.Proto().op if op.type == "LearningRate"}
    assert {name: round(-rate, 3) for name, rate in rates.items()} == {
        "SgdOptimizer_2_lr_cpu": 0.4,
        "SgdOptimizer_0_lr_cpu": 0.2,
        "SgdOptimizer_1_lr_cpu": 0.1,
        "SgdOptimizer_3_lr_cpu": 0.11,
    }
    used = {op.output[0]: op.input[3] for op in model.net.Proto().op if op.type == "WeightedSum"}
    assert used["b_w"] == "SgdOptimizer_0_lr_cpu"
    assert used["b_b"] == "SgdOptimizer_1_lr_cpu"


def test_names_and_counts() -> None:
    assert optimizer._optimizer_instance_count["AdamOptimizer"] == 0
    assert optimizer.AdamOptimizer().make_unique_blob_name("lr") == "AdamOptimizer_0_lr_cpu"
    with core.DeviceScope(core.DeviceOption(1, 2)):
        assert optimizer.AdamOptimizer().make_unique_blob_name("lr") == "AdamOptimizer_1_lr_gpu2"
    optimizer.reset_optimizer_instance_count()
    made = optimizer.AdamOptimizer(alpha=0.5)
    made.scale_learning_rate(0.5)
    assert (made._instance_num, made.alpha, "_instance_num" in made.attributes) == (0, 0.25, False)


def test_an_optimizer_called_by_names() -> None:
    """Two objects have two rates; one object has one for all of its parameters."""
    model = dense_model()
    one, two = optimizer.SgdOptimizer(0.1), optimizer.AdagradOptimizer()
    device = optimizer.get_param_device("fc_w", "fc_w_grad", optimizer._get_param_to_device(model))
    with core.DeviceScope(device):
        one(model.net, model.param_init_net, "fc_w", "fc_w_grad")
        one(model.net, model.param_init_net, "fc_b", "fc_b_grad")
        two(model.net, model.param_init_net, "fc_b", "fc_b_grad")
    operators = model.net.Proto().op
    assert sum(op.type == "LearningRate" for op in operators) == 2
    assert sum(op.type == "AtomicIter" for op in operators) == 1


def test_further_builders() -> None:
    model = dense_model()
    optimizer.build_decay_adagrad(model, 0.5, weight_decay=0.1)
    assert list(model.net.Proto().op[-1].input) == [
        "fc_b", "fc_b_first_mo1ment", "fc_b_second_moment", "fc_b_grad", "DecayAdagradOptimizer_0_lr_cpu",
        "optimizer_iteration",
    ]  # fmt: skip
    interpreted_nets.steps(model.net, interpreted_nets.initial(model.param_init_net), dense_batches()[:1])
    workspace.ResetWorkspace()
    model = dense_model()
    made = optimizer.build_yellowfin(model)
    assert len(made.get_auxiliary_parameters().local) == 14
    (found,) = interpreted_nets.steps(
        model.net, interpreted_nets.initial(model.param_init_net), dense_batches()[:1]
    )  # fmt: skip
    assert np.isfinite(found["fc_w"]).all()
    model = sparse_model()
    optimizer.build_adam(model, 0.1, use_smart_decay=True, beta1=0.0)
    assert model.net.Proto().op[-1].type == "SmartDecaySparseAdam"
    interpreted_nets.steps(model.net, interpreted_nets.initial(model.param_init_net), sparse_batches()[:1])
    scale = SimpleNamespace(stepsize=1, upper_bound_iter=5, scale=0.5, to_aux=True)
    model = dense_model()
    optimizer.build_adagrad(model, 0.1, weight_scale=scale, output_effective_lr_and_update=True)
    assert [op.type for op in model.net.Proto().op][-3:] == ["Adagrad", "WeightScale", "WeightScale"]
    assert model.net.BlobIsDefined("fc_b_update")


def test_dedicated_counter() -> None:
    model = dense_model()
    optimizer.build_adagrad(model, 0.1, use_dedicated_lr_iteration_counter=True)
    state = interpreted_nets.initial(model.param_init_net)
    found = interpreted_nets.steps(model.net, state, dense_batches())[-1]
    assert found["optimizer_iteration"] == found["optimizer_iteration_lr"] == STEPS


def test_half_precision() -> None:
    model = ModelHelper(name="half")
    brew.fc(model, "data", "fc", 3, 2, WeightInitializer=PseudoFP16Initializer, BiasInitializer=PseudoFP16Initializer)
    model.net.HalfToFloat("fc", "full")
    model.net.SquaredL2Distance(["full", "label"], "distance").AveragedLoss([], ["loss"])
    model.AddGradientOperators(["loss"])
    optimizer.build_multi_precision_sgd(model, 0.1, momentum=0.9)
    kinds = [op.type for op in model.net.Proto().op][-3:]
    assert kinds == ["HalfToFloat", "MomentumSGDUpdate", "FloatToHalf"]
    assert list(model.net.Proto().op[-2].input)[-1] == "fc_b_fp32"
    other = dense_model()
    optimizer.build_fp16_sgd(other, 0.1)
    assert other.net.Proto().op[-1].type == "FP32MomentumSGDUpdate"


def refusals() -> Iterator[Any]:
    yield ("rowWise", lambda: optimizer.build_adagrad(dense_model(), 0.1, rowWise=True), AssertionError)
    yield ("needs a sparse", lambda: optimizer.build_adam(dense_model(), 0.1, rowWise=True), AssertionError)
    yield ("positive base", lambda: optimizer.build_sgd(dense_model(), -0.1), AssertionError)
    yield ("nonnegative", lambda: optimizer.build_sgd(dense_model(), 0.1, lars=-1.0), AssertionError)
    yield ("sparse", lambda: optimizer.build_rms_prop(sparse_model(), 0.1), AssertionError)
    yield ("Decay", lambda: optimizer.build_adagrad(sparse_model(), 0.1, decay=0.5), AssertionError)
    yield ("sparse gradients", lambda: optimizer.WeightDecayBuilder(0.1)(*_sparse_call()), ValueError)
    yield ("enableRAdam", lambda: optimizer.AdamOptimizer(use_smart_decay=True, enableRAdam=True), NotImplementedError)
    yield ("operator EMA", lambda: optimizer.AdagradOptimizer(ema_options={"ema_alpha": 0.9}), NotImplementedError)
    yield ("infer device", lambda: optimizer.get_param_device("w", "w_grad", {}), AssertionError)
    yield ("Add", lambda: optimizer.build_sgd(ModelHelper(name="without"), 0.1), RuntimeError)


def _sparse_call() -> tuple[Any, ...]:
    model = sparse_model()
    return model.net, model.param_init_net, "table", core.GradientSlice("a", "b")


@pytest.mark.parametrize(("said", "call", "error"), list(refusals()))
def test_refusals(said: str, call: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=said):
        call()
