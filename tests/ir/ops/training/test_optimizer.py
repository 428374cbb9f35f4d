"""Parameter updates by hand and by NumPy, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, call, f32, refusal, types

from graphc.ir.errors import RunError, VerifyError
from graphc.ir.reference import evaluate_node

RATE = f32([0.5])
COUNT = np.array([3], np.int64)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape).astype(np.float32)


def test_adadelta() -> None:
    w, h, d, g = (numbers(2, 3, seed=s) for s in range(4))
    new, moment, delta = answers("Adadelta", w, h, d, g, RATE, outputs=3, decay=0.9, epsilon=0.01)
    mean = 0.9 * h + 0.1 * g * g
    step = np.sqrt(d + 0.01) / np.sqrt(mean + 0.01) * g
    np.testing.assert_allclose(new, w + 0.5 * step, rtol=1e-5)
    np.testing.assert_allclose(moment, mean, rtol=1e-5)
    np.testing.assert_allclose(delta, 0.9 * d + 0.1 * step * step, rtol=1e-5)
    assert "decay" in refusal("Adadelta", *["float[2]"] * 4, "float[1]", outputs=3, decay=1.0)


def test_a_gradient_counts_by_its_elements() -> None:
    """Caffe2 compares numbers of elements, not shapes."""
    w, h, g = numbers(2, 3), numbers(6), numbers(3, 2)
    new, moment = answers("Adagrad", w, h, g, RATE, outputs=2, epsilon=1.0)
    assert (new.shape, moment.shape) == ((2, 3), (6,))
    flat = g.reshape(2, 3)
    np.testing.assert_allclose(new, w + 0.5 * flat / (np.sqrt(h.reshape(2, 3) + flat * flat) + 1), rtol=1e-5)
    assert "elements" in refusal("Adagrad", "float[2,3]", "float[5]", "float[6]", "float[1]", outputs=2)
    assert "elements" in refusal("Adagrad", "float[2]", "float[2]", "float[2]", "float[2]", outputs=2)


@pytest.mark.parametrize(
    "op", ["Adagrad", "Adam", "MomentumSGD", "MomentumSGDUpdate", "WeightedSumGradient", "RmsProp", "Wngrad", "Storm"]
)
def test_integers_are_no_parameters(op: str) -> None:
    n = len(call(op).opdef.inputs) if op != "WeightedSumGradient" else 3
    assert "int32" in refusal(op, *["int32[1]"] * n, outputs=3)


@pytest.mark.parametrize(("op", "state"), [("MomentumSGDUpdate", 3), ("Adam", 3), ("Adagrad", 2)])
def test_the_loop_says_what_numpy_says(op: str, state: int) -> None:
    """Of operators that have both."""
    w, m, v, g = (numbers(3, 2, seed=s) for s in range(4))
    inputs = {"MomentumSGDUpdate": [g, m, RATE, w], "Adam": [w, m, v, g, RATE, COUNT], "Adagrad": [w, v, g, RATE]}[op]
    made = call(op, *inputs, outputs=state)
    loop = made.opdef.loop
    assert loop is not None
    want = evaluate_node(made.node, inputs)
    got = [np.zeros_like(x) for x in want]
    absent = [np.zeros(0, np.float32)] * (len(made.opdef.outputs) - state)
    loop(*inputs, *got, *absent, *made.opdef.loop_arguments(made))
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_ftrl_leaves_small_weights_at_zero() -> None:
    w, state, g = f32(1.0, 1.0), f32([1.0, 0.0], [1.0, 5.0]), f32(0.1, 0.1)
    new, after = answers("Ftrl", w, state, g, outputs=2, alpha=1.0, beta=0.0, lambda1=1.0, lambda2=0.0)
    n = 1 + 0.1 * 0.1
    z = 5 + 0.1 - (np.sqrt(n) - 1)
    np.testing.assert_allclose(new, [0, (1 - z) / np.sqrt(n)], rtol=1e-5)
    np.testing.assert_allclose(after[1], [n, z], rtol=1e-5)
    assert "two for each" in refusal("Ftrl", "float[2]", "float[2]", "float[2]", outputs=2)


def test_rows_that_occur_twice_are_updated_twice() -> None:
    w, h = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    g, at = f32([[1, 1], [1, 1]]), np.array([2, 2], np.int64)
    new, moment = answers("SparseAdagrad", w, h, at, g, f32([1.0]), outputs=2, epsilon=0.0)
    np.testing.assert_allclose(moment, [[0, 0], [0, 0], [2, 2]])
    np.testing.assert_allclose(new[2], 1 + 1 / np.sqrt(2), rtol=1e-6)


SPARSE = {
    "SparseAdagrad": "param moment indices grad lr",
    "RowWiseSparseAdagrad": "param rows indices grad lr",
    "SparseAdadelta": "param moment moment indices grad lr",
    "SparseMomentumSGDUpdate": "grad moment lr param indices",
    "SparseStorm": "param moment lr grad indices lr",
    "SparseWngrad": "param lr indices grad lr",
    "SparseAdam": "param moment moment indices grad lr iter",
    "RowWiseSparseAdam": "param moment rows indices grad lr iter",
    "SmartDecaySparseAdam": "param moment moment seen indices grad lr iter",
}


def sparse_inputs(op: str, *indices: int) -> list[np.ndarray]:
    made = {
        "param": numbers(3, 2),
        "moment": numbers(3, 2),
        "rows": numbers(3),
        "indices": np.array(indices, np.int64),
        "grad": numbers(len(indices), 2),
        "lr": RATE,
        "iter": COUNT,
        "seen": np.zeros(3, np.int64),
    }
    return [made[name] for name in SPARSE[op].split()]


@pytest.mark.parametrize("op", SPARSE)
def test_rows_outside_the_parameter_are_refused(op: str) -> None:
    n = len(call(op).opdef.outputs) - (op.endswith("SparseAdam") and not op.startswith("Smart"))
    for bad in (3, -1):
        with pytest.raises(RunError, match="INDICES has a row"):
            answers(op, *sparse_inputs(op, 0, bad), outputs=n)
    untouched = answers(op, *sparse_inputs(op), outputs=n)
    names = SPARSE[op].split()
    at = {"SparseMomentumSGDUpdate": 2}.get(op, 0)
    np.testing.assert_array_equal(untouched[at], sparse_inputs(op)[names.index("param")])


def test_sparse_adam_of_all_rows_is_adam() -> None:
    w, m, v, g = (numbers(3, 2, seed=s) for s in range(4))
    dense = answers("Adam", w, m, v, g, RATE, COUNT, outputs=3)
    sparse = answers("SparseAdam", w, m, v, np.arange(3), g, RATE, COUNT, outputs=3)
    for a, b in zip(dense, sparse):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_rectified_adam() -> None:
    """In early iterations the moment alone, later Adam's step by a factor (arXiv 1908.03265)."""
    w, m, v, g = (numbers(1, 2, seed=s) for s in range(4))
    at = np.array([0])
    for t, late in ((1, False), (100, True)):
        count = np.array([t - 1], np.int64)
        new, first, second = answers(
            "SparseAdam", w, m, v, at, g, RATE, count, outputs=3, beta2=0.99, epsilon=0.0, enableRAdam=1
        )
        longest = 2 / (1 - 0.99) - 1
        length = longest - 2 * t * 0.99**t / (1 - 0.99**t)
        assert (length >= 5) is late
        step = first / (1 - 0.9**t)
        if late:
            top = (length - 4) * (length - 2) * longest
            step = (
                step * np.sqrt(top / ((longest - 4) * (longest - 2) * length)) * np.sqrt(1 - 0.99**t) / np.sqrt(second)
            )
        np.testing.assert_allclose(new, w + 0.5 * step, rtol=1e-4)


def test_counters_weigh_the_decay_of_rare_rows() -> None:
    w, h, g = np.ones((2, 1), np.float32), np.zeros(2, np.float32), np.zeros((2, 1), np.float32)
    at, seen = np.arange(2), np.array([10.0, 0.0])
    _, moment = answers(
        "RowWiseSparseAdagrad", w, h, at, g, RATE, seen, outputs=2, weight_decay=1.0, counter_halflife=5
    )
    np.testing.assert_allclose(moment, [0.25, 1.0])
    with pytest.raises(Exception, match="counter"):
        answers("RowWiseSparseAdagrad", w, h, at, g, RATE, outputs=2, counter_halflife=5)


def test_fused_adagrad_takes_a_row_for_a_segment() -> None:
    w, h = numbers(4, 2), numbers(4, 2, seed=1)
    at, lengths, g = np.array([1, 3, 1]), np.array([2, 1], np.int32), numbers(2, 2, seed=2)
    fused = answers("SparseAdagradFusedWithSparseLengthsMeanGradient", w, h, at, g, RATE, lengths, outputs=2)
    rows = np.stack([g[0] / 2, g[0] / 2, g[1]])
    for a, b in zip(fused, answers("SparseAdagrad", w, h, at, rows, RATE, outputs=2)):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    for wrong in ([2, 2], [4, -1]):
        with pytest.raises(RunError, match="LENGTHS"):
            answers(
                "SparseAdagradFusedWithSparseLengthsSumGradient",
                *(w, h, at, g, RATE, np.array(wrong, np.int32)),
                outputs=2,
            )


def test_fused_weights_are_those_of_positions() -> None:
    w, h, weights = numbers(4, 2), numbers(4), f32(2.0, 3.0)
    at, lengths, g = np.array([1, 3, 1]), np.array([2, 1], np.int32), numbers(2, 2, seed=2)
    op = "RowWiseSparseAdagradFusedWithSparseLengthsWeightedSumGradient"
    new, moment, slope = answers(op, w, h, weights, at, g, RATE, lengths, outputs=3)
    np.testing.assert_allclose(slope, [g[0] @ w[1], g[0] @ w[3], g[1] @ w[1]], rtol=1e-6)
    rows = np.stack([2 * g[0], 3 * g[0], 2 * g[1]])
    for a, b in zip((new, moment), answers("RowWiseSparseAdagrad", w, h, at, rows, RATE, outputs=2)):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    with pytest.raises(RunError, match="AUX_PARAM"):
        answers(op, w, h, weights[:1], at, g, RATE, lengths, outputs=3)


def test_yellowfin_starts_with_momentum_sgd() -> None:
    one = f32([0.5])
    state = [
        numbers(2),
        numbers(2),
        one,
        one,
        np.zeros(3, np.float32),
        *[np.zeros(2, np.float32)] * 2,
        np.zeros(5, np.float32),
    ]
    g = f32(1.0, 2.0)
    outs = answers("YellowFin", *state, g, np.array([1], np.int64), outputs=8, curv_win_width=3, beta=0.5)
    np.testing.assert_allclose(outs[1], 0.5 * state[1] + 0.5 * g)
    np.testing.assert_allclose(outs[0], state[0] - outs[1])
    np.testing.assert_allclose(outs[4], [np.log(5), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(outs[7][:2], [np.sqrt(5) / 2, 2.5], rtol=1e-6)
    with pytest.raises(RunError, match="below 1"):
        answers("YellowFin", *state, g, np.array([0], np.int64), outputs=8, curv_win_width=3)


def test_storm_and_wngrad_count_squares() -> None:
    w, m, g = numbers(3), numbers(3, seed=1), f32(1.0, 2.0, 2.0)
    new, moment, total = answers("Storm", w, m, f32([1.0]), g, RATE, outputs=3, beta=17.0, momentum=0.25)
    rate = 0.5 * 27.0 ** (-1 / 3)
    np.testing.assert_allclose(total, [10])
    np.testing.assert_allclose(moment, g + (1 - 0.25 * rate * rate) * (m - g), rtol=1e-5)
    np.testing.assert_allclose(new, w + rate * moment, rtol=1e-5)
    new, b, effective, update = answers("Wngrad", w, f32([2.0]), g, RATE, outputs=4, epsilon=1.0)
    np.testing.assert_allclose([b[0], effective[0]], [2 + 9 / 3, 0.5 / 3], rtol=1e-6)
    np.testing.assert_allclose(new - w, update, atol=1e-6)


def test_weighted_sum_gradient_and_scale_blobs_of_several_shapes() -> None:
    dy, x, w = numbers(2, 3), numbers(6, seed=1), f32([3.0])
    dx, dw = answers("WeightedSumGradient", dy, x, w, outputs=2, grad_on_w=1)
    np.testing.assert_allclose(dx, 3 * dy)
    np.testing.assert_allclose(dw, [(dy.ravel() * x).sum()], rtol=1e-5)
    a, b = answers("ScaleBlobs", numbers(2), numbers(2, 2), outputs=2, scale=2.0)
    assert (a.shape, b.shape) == ((2,), (2, 2))
    np.testing.assert_allclose(b, 2 * numbers(2, 2))


def test_unknown_sizes_stay_unknown() -> None:
    assert types("RmsProp", *["float[N,2]"] * 3, "float[1]", outputs=3) == ["float[N,2]"] * 3
    assert types("SparseFtrl", "float[N,2]", "float[N,2,2]", "int32[?]", "float[?,2]", outputs=2) == [
        "float[N,2]",
        "float[N,2,2]",
    ]


@pytest.mark.parametrize(
    ("args", "iteration", "factor"),
    [
        ({"policy": "fixed"}, 5, 1.0),
        ({"policy": "slope", "num_iter_1": 2, "multiplier_1": 1.0, "num_iter_2": 6, "multiplier_2": 0.2}, 4, 0.6),
        ({"policy": "slope", "num_iter_1": 2, "multiplier_1": 1.0, "num_iter_2": 6, "multiplier_2": 0.2}, 9, 0.2),
        ({"policy": "gate", "num_iter": 3}, 9, 1.0),
        ({"policy": "pieceWarmup", "m1": 0.1, "n1": 2, "m2": 0.2, "n2": 4, "m3": 0.3}, 3, 0.2),
        ({"policy": "pieceWarmup", "m1": 0.1, "n1": 2, "m2": 0.2, "n2": 4, "m3": 0.3}, 4, 0.3),
        ({"policy": "poly", "power": 2.0}, 5, 1.0),
        ({"policy": "cosine", "max_lr": 3.0, "min_lr": 1.0, "period": 4, "lr_shrink": 0.5}, 2, 2.0),
        ({"policy": "cosine", "max_lr": 3.0, "min_lr": 1.0, "period": 4, "lr_shrink": 0.5}, 4, 1.5),
        ({"policy": "cosine", "max_lr": 3.0, "min_lr": 1.0, "period": 2, "t_mult": 2.0, "lr_shrink": 1.0}, 4, 2.0),
        ({"policy": "compositeCosine", "constant_warmup_num_iter": 2, "linear_warmup_num_iter": 2}, 1, 0.1),
        ({"policy": "compositeCosine", "constant_warmup_num_iter": 2, "linear_warmup_num_iter": 2}, 3, 0.55),
        ({"policy": "compositeCosine", "constant_warmup_num_iter": 2, "linear_warmup_num_iter": 2}, 4, 0.5),
        (
            {
                "policy": "compositeCyclical",
                "constant_warmup_num_iter": 2,
                "linear_warmup_num_iter": 2,
                "cyclical_max_lr": 6.0,
                "cyclical_step_size": 2,
            },
            6,
            3.0,
        ),
        ({"policy": "cyclical", "max_lr": 6.0, "stepsize": 2, "decay": 0.5}, 6, 2.0),
        ({"policy": "hill", "num_iter": 2, "gamma": 1.0, "power": 1.0, "end_multiplier": 0.3}, 3, 0.5),
        ({"policy": "hill", "num_iter": 2, "gamma": 1.0, "power": 1.0, "end_multiplier": 0.3}, 9, 0.3),
    ],
)
def test_learning_rate_policies(args: dict[str, object], iteration: int, factor: float) -> None:
    rate = answer("LearningRate", np.array([iteration], np.int64), base_lr=2.0, **args)
    assert rate.shape == ()
    assert rate == pytest.approx(2 * factor, rel=1e-5)


def test_composite_counts_from_one() -> None:
    """Each sub-policy sees the iteration since training began."""
    args = {
        "policy": "composite",
        "sub_policy_num_iters": [2, 3],
        "sub_policy_0_policy": "fixed",
        "sub_policy_0_lr_scale": 0.5,
        "sub_policy_1_policy": "exp",
        "sub_policy_1_gamma": 0.5,
    }
    rates = [float(answer("LearningRate", np.array([i]), base_lr=1.0, **args)) for i in range(6)]
    assert rates == [0.5, 0.5, 0.5, 0.125, 0.0625, 0.03125]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"policy": "cyclical"}, "stepsize"),
        ({"policy": "alter"}, "active_period"),
        ({"policy": "cosine", "period": 0}, "period"),
        ({"policy": "poly", "max_iter": 0}, "max_iter"),
        ({"policy": "composite"}, "sub_policy_num_iters"),
        ({"policy": "composite", "sub_policy_num_iters": [1], "sub_policy_0_policy": "composite"}, "unknown"),
        ({"policy": "composite", "sub_policy_num_iters": [1], "sub_policy_0_policy": "step"}, "sub_policy_0_stepsize"),
    ],
)
def test_learning_rates_that_caffe2_dies_of(args: dict[str, object], message: str) -> None:
    assert message in refusal("LearningRate", "int64[1]", base_lr=1.0, **args)


def test_lars_and_adaption() -> None:
    x, g, one = f32(3.0, 4.0), f32(0.0, 10.0), f32([1.0])
    args = {"offset": 0.5, "lr_min": 0.1}
    assert answer("Lars", x, g, one, f32([2.0]), f32([9.0]), **args) == pytest.approx(2 / (10 / 5 + 1 + 0.5))
    assert answer("Lars", x, g, one, f32([2.0]), f32([0.3]), **args) == pytest.approx(0.3)
    assert answer("Lars", x * 0, g, one, one, f32([9.0]), **args) == pytest.approx(1)
    np.testing.assert_allclose(answer("LearningRateAdaption", one, x, x, lr_alpha=0.25), [0.75], rtol=1e-6)
    plain = answer("LearningRateAdaption", one, x, x, lr_alpha=0.25, normalized_lr_adaption=0)
    np.testing.assert_allclose(plain, [1 - 0.25 * 25], rtol=1e-6)


def test_weighted_sum_is_a_step_of_sgd() -> None:
    (w,) = answers("WeightedSum", f32(1, 2), f32(1), f32(10, 20), f32(-0.5))
    assert w.tolist() == [-4, -8]
    with pytest.raises(VerifyError, match="come in pairs"):
        answers("WeightedSum", f32(1), f32(1), f32(1))


def test_counters() -> None:
    assert answers("Iter")[0].tolist() == [1]
    assert answers("Iter", np.array([4], np.int64))[0].tolist() == [5]
