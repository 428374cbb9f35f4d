"""Layers: the operators that they add to each kind of net, and what these compute, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import interpreted_nets
import numpy as np
import pytest
from layer_nets import Arrays, evaluated, net_of, new_model, record, types

from graphc.caffe2 import core, schema, workspace
from graphc.caffe2.helpers.arg_scope import arg_scope
from graphc.caffe2.layers.fc import get_fc_predictor_version
from graphc.caffe2.layers.layers import InstantiationContext

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(size=(6, 4)).astype(np.float32)
LABEL = np.array([0, 1, 1, 0, 1, 0], np.float32)
LOGIT = RANDOM.normal(size=(6, 1)).astype(np.float32)
WEIGHT = RANDOM.uniform(0.5, 2, size=6).astype(np.float32)


# ---- layers with parameters ------------------------------------------------------------------------------------------


def test_fully_connected() -> None:
    model = new_model()
    output = model.FC(model.input_feature_schema.x, 3)
    found, initial = evaluated(model, output, {"x": X})
    w, b = initial["fc/w"], initial["fc/b"]
    np.testing.assert_allclose(found["fc/output"], X @ w.T + b, rtol=1e-5, atol=1e-6)
    assert output == schema.Scalar((np.float32, (3,)), core.BlobReference("fc/output"))
    assert max(abs(w).max(), abs(b).max()) <= 0.5  # 1 over the root of 4
    assert [str(p) for p in model.params] == ["fc/w", "fc/b"]
    second = model.FC(output, 2, transposed=True, name="fc")
    assert second() == "fc_auto_0/output"
    assert model.layers[1].params[0].shape == [3, 2]


def test_fully_connected_in_parts() -> None:
    model = new_model()
    output = model.FC(model.input_feature_schema.x, 5, max_fc_size=8)
    found, initial = evaluated(model, output, {"x": X})
    parts = [X @ initial[f"fc/w_sub_{i}"].T + initial[f"fc/b_sub_{i}"] for i in range(3)]
    assert [part.shape[1] for part in parts] == [2, 2, 1]
    np.testing.assert_allclose(found["fc/output"], np.hstack(parts), rtol=1e-5, atol=1e-6)
    assert model.layers[0].get_fp16_compatible_parameters() == ["fc/w_sub_0", "fc/w_sub_1", "fc/w_sub_2"]


def test_fully_connected_clipped() -> None:
    model = new_model()
    output = model.FC(model.input_feature_schema.x, 3, clip_param=(None, 0.1))
    found, initial = evaluated(model, output, {"x": X})
    w, b = (np.minimum(initial[name], 0.1) for name in ("fc/w", "fc/b"))
    np.testing.assert_allclose(found["fc/output"], X @ w.T + b, rtol=1e-5, atol=1e-6)


def test_fully_connected_of_float16() -> None:
    model = new_model()
    model.FC(model.input_feature_schema.x, 3)
    with arg_scope([get_fc_predictor_version], fc_version="fp16"):
        assert types(net_of(model, InstantiationContext.PREDICTION)) == ["FbFCPacked"]
        assert types(net_of(model, InstantiationContext.TRAINING)) == ["FC"]


def test_bootstrap() -> None:
    """In training each layer has the rows that it drew."""
    model = new_model()
    output = model.FCWithBootstrap(model.input_feature_schema.x, 2, num_bootstrap=2)
    found, initial = evaluated(model, output, {"x": X})
    for i in range(2):
        name = f"fc_with_bootstrap/bootstrap_iteration_{i}"
        rows = found[f"{name}/indices"]
        assert rows.shape == (6,)
        want = X[rows] @ initial[f"{name}/w"].T + initial[f"{name}/b"]
        np.testing.assert_allclose(found[f"{name}/preds"], want, rtol=1e-5, atol=1e-6)
    found, initial = evaluated(model, output, {"x": X}, InstantiationContext.PREDICTION)
    want = X @ initial[f"{name}/w"].T + initial[f"{name}/b"]
    np.testing.assert_allclose(found[f"{name}/preds"], want, rtol=1e-5, atol=1e-6)


NORMALISED = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-4)
STANDARD = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)


@pytest.mark.parametrize(
    ("layer", "arguments", "want"),
    [
        ("AddBias", {}, lambda p: X + p["add_bias/b"]),
        ("FCWithoutBias", {"output_dims": 3}, lambda p: X @ p["fc_without_bias/w"].T),
        ("LayerNormalization", {"scale_init_value": 2.0}, lambda p: 2 * NORMALISED),
        ("LayerNormalization", {"use_layer_norm_op": False}, lambda p: NORMALISED),
        ("BatchNormalization", {}, lambda p: STANDARD),
        (
            "RandomFourierFeatures",
            {"output_dims": 8, "sigma": 2.0},
            lambda p: 0.5 * np.cos(X @ p["random_fourier_features/w"].T + p["random_fourier_features/b"]),
        ),
        (
            "ArcCosineFeatureMap",
            {"output_dims": 3, "s": 2},
            lambda p: np.maximum(_projected(p, "arc_cosine_feature_map/random"), 0) ** 2,
        ),
        (
            "ArcCosineFeatureMap",
            {"output_dims": 3, "s": 0, "set_weight_as_global_constant": True},
            lambda p: np.maximum(_softsign(_projected(p, "arc_cosine_feature_map_fixed_rand", "W")), 0),
        ),
    ],
)
def test_layers_of_rows(layer: str, arguments: dict[str, Any], want: Callable[[Arrays], np.ndarray]) -> None:
    model = new_model()
    output = getattr(model, layer)(model.input_feature_schema.x, **arguments)
    found, initial = evaluated(model, output, {"x": X})
    (blob,) = output.field_blobs()
    np.testing.assert_allclose(found[str(blob)], want(initial), rtol=1e-3, atol=1e-4)


def _projected(initial: Arrays, name: str, weight: str = "w") -> np.ndarray:
    return X @ initial[f"{name}_{weight}"].T + initial[f"{name}_b"]


def _softsign(x: np.ndarray) -> np.ndarray:
    return x / (1 + abs(x))


def test_semi_random_features() -> None:
    model = new_model()
    first = model.SemiRandomFeatures(model.input_feature_schema.x, 3)
    second = model.SemiRandomFeatures(first, 2)
    assert second.field_blobs() == [
        "semi_random_features_full_output_auto_0",
        "semi_random_features_random_output_auto_0",
    ]
    found, initial = evaluated(model, first, {"x": X})
    random = np.maximum(_projected(initial, "semi_random_features/random"), 0)
    np.testing.assert_allclose(found["semi_random_features_random_output"], random, rtol=1e-4, atol=1e-5)
    learned = X @ initial["semi_random_features/learned_w"].T + initial["semi_random_features/learned_b"]
    np.testing.assert_allclose(found["semi_random_features_full_output"], random * learned, rtol=1e-4, atol=1e-5)
    not_learned = [name for name, optimizer in model.param_to_optim.items() if optimizer == model.NoOptim]
    assert "semi_random_features/random_w" in not_learned


def test_dropout_passes_in_evaluation() -> None:
    model = new_model()
    output = model.Dropout(model.input_feature_schema.x, ratio=0.5)
    found, _ = evaluated(model, output, {"x": X}, InstantiationContext.EVAL)
    np.testing.assert_array_equal(found["dropout/output"], X)
    (op,) = net_of(model, InstantiationContext.TRAINING).Proto().op
    assert {arg.name: arg.i or arg.f for arg in op.arg} == {"ratio": 0.5, "is_test": 0}


def test_concat_and_split() -> None:
    model = new_model()
    fields = record(model, a=(np.float32, (2,)), b=(np.float32, (3,)))
    whole = model.Concat(fields)
    assert whole.field_type().shape == (5,)
    parts = model.Split(whole, split=[1, 4])
    assert [field.field_type().shape for field in parts] == [(1,), (4,)]
    fed = {"a": X[:, :2], "b": X[:, 1:]}
    found, _ = evaluated(model, parts, fed)
    np.testing.assert_array_equal(found["split/output_1"], np.hstack([X[:, 1:2], X[:, 1:]]))
    with pytest.raises(AssertionError, match="do not make up 5"):
        model.Split(whole, num_splits=2)
    stacked = model.Concat(record(model, c=(np.float32, (2,)), d=(np.float32, (2,))), axis=1, add_axis=1)
    assert stacked.field_type().shape == (2, 2)
    with pytest.raises(AssertionError, match="not compatible"):
        model.Concat(fields, axis=1, add_axis=1)


def test_convolution() -> None:
    model = new_model()
    pictures = record(model, picture=(np.float32, (5, 5, 3)))
    output = model.Conv(pictures.picture, 2, 3, 3, 1, 1)
    assert model.layers[0].params[0].shape == [2, 3, 3, 3]
    (op,) = net_of(model, InstantiationContext.PREDICTION).Proto().op
    assert {arg.name: arg.i for arg in op.arg if arg.name != "order"} == {
        **dict.fromkeys(["kernel_h", "kernel_w"], 3),
        **dict.fromkeys(["stride_h", "stride_w", "pad_t", "pad_l", "pad_b", "pad_r"], 1),
    }
    assert output.field_type().shape == (2,)


# ---- losses ----------------------------------------------------------------------------------------------------------

SIGMOID = 1 / (1 + np.exp(-LOGIT[:, 0]))
ENTROPY = -(LABEL * np.log(SIGMOID) + (1 - LABEL) * np.log(1 - SIGMOID))
ERROR = LABEL - LOGIT[:, 0]
HUBER = np.where(abs(ERROR) < 0.5, ERROR**2 / 2, 0.5 * (abs(ERROR) - 0.25))
WRONG = LABEL + SIGMOID - 2 * LABEL * SIGMOID
VARIANCE = np.array([0.1, -0.2, 0.3, 0.0, 0.5, -0.4], np.float32)
SOFT = np.where(LABEL > 0.5, 0.9, 0.1)
SMOOTH = -(SOFT * np.log(SIGMOID) + (1 - SOFT) * np.log(1 - SIGMOID))
MIXED = (LABEL + SIGMOID) / 2


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-20, 1 - 1e-7).astype(np.float64)
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


DIVERGENCE = _binary_entropy(MIXED) - (_binary_entropy(LABEL) + _binary_entropy(SIGMOID)) / 2


@pytest.mark.parametrize(
    ("layer", "arguments", "has_weight", "want"),
    [
        ("BatchMSELoss", {}, False, (ERROR**2 / 2).mean()),
        ("BatchMSELoss", {}, True, (WEIGHT * ERROR**2 / 2).mean()),
        ("BatchHuberLoss", {"delta": 0.5}, False, HUBER.mean()),
        ("BatchHuberLoss", {"delta": 0.5}, True, (WEIGHT * HUBER).mean()),
        ("BatchLRLoss", {}, False, ENTROPY.mean()),
        ("BatchLRLoss", {"average_loss": False}, True, (WEIGHT * ENTROPY).sum()),
        ("BatchLRLoss", {"pos_label_target": 0.9, "neg_label_target": 0.1}, False, SMOOTH.mean()),
        (
            "BatchLRLoss",
            {"focal_gamma": 2.0, "stop_grad_in_focal_factor": True},
            False,
            (WRONG**2).mean() * ENTROPY.mean(),
        ),
        ("BatchLRLoss", {"task_gamma": 0.5}, False, 0.5 * ENTROPY.mean()),
        ("BatchLRLoss", {"jsd_weight": 0.25}, False, (0.75 * ENTROPY + 0.25 * DIVERGENCE).mean()),
    ],
)
def test_losses(layer: str, arguments: dict[str, Any], has_weight: bool, want: float) -> None:
    model = new_model()
    fields: dict[str, Any] = {"label": np.float32, "logit": (np.float32, (1,)), "prediction": (np.float32, (1,))}
    if has_weight:
        fields["weight"] = np.float32
    output = getattr(model, layer)(record(model, **fields), **arguments)
    fed = {"label": LABEL, "logit": LOGIT, "weight": WEIGHT}
    fed["prediction"] = SIGMOID[:, None] if layer == "BatchLRLoss" else LOGIT
    found, _ = evaluated(model, output, {name: array for name, array in fed.items() if name in fields})
    (loss,) = found.values()
    np.testing.assert_allclose(loss, want, rtol=1e-4)
    assert "exclude_from_prediction" in model.layers[0].tags


def test_loss_with_variances() -> None:
    model = new_model()
    fields = record(model, label=np.float32, logit=(np.float32, (1,)), log_variance=np.float32)
    output = model.BatchLRLoss(fields, uncertainty_penalty=2.0)
    found, _ = evaluated(model, output, {"label": LABEL, "logit": LOGIT, "log_variance": VARIANCE})
    want = ((np.exp(-VARIANCE) * ENTROPY.mean() + 2 * VARIANCE) / 2).mean()
    np.testing.assert_allclose(found["batch_lr_loss/output"], want, rtol=1e-5)


def test_losses_of_classes() -> None:
    model = new_model()
    scores = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    labels = np.array([0, 1, 2, 3, 0, 1], np.int64)
    fields = record(model, label=np.int64, prediction=(np.float32, (4,)), weight=np.float32)
    output = model.BatchSoftmaxLoss(fields)
    found, _ = evaluated(model, output, {"label": labels, "prediction": X, "weight": WEIGHT})
    np.testing.assert_allclose(found["batch_softmax_loss/softmax"], scores, rtol=1e-5)
    logs = -np.log(scores[np.arange(6), labels])
    np.testing.assert_allclose(found["batch_softmax_loss/loss"], (WEIGHT * logs).sum() / WEIGHT.sum(), rtol=1e-5)
    matrix = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    model = new_model()
    fields = record(model, label=np.int64, prediction=(np.float32, (4,)))
    output = model.BatchSoftmaxLoss(fields, label_smoothing_matrix=matrix)
    found, _ = evaluated(model, output, {"label": labels, "prediction": X})
    want = -(matrix[labels] * np.log(scores)).sum(1).mean()
    np.testing.assert_allclose(found["batch_softmax_loss/loss"], want, rtol=1e-5)


def test_losses_of_ranks() -> None:
    positive = np.array([1.0, -0.5], np.float32)
    negative, lengths = np.array([0.2, 1.5, -1.0], np.float32), np.array([2, 1], np.int32)
    difference = negative - np.repeat(positive, lengths)
    wants = {"BPRLoss": np.log1p(np.exp(difference)).sum(), "MarginRankLoss": np.maximum(difference + 0.1, 0).sum()}
    for layer, want in wants.items():
        model = new_model()
        fields = record(model, pos_prediction=np.float32, neg_prediction=schema.List(np.float32))
        output = getattr(model, layer)(fields)
        blobs = fields.neg_prediction.field_blobs()
        fed = {"pos_prediction": positive, str(blobs[0]): lengths, str(blobs[1]): negative}
        (loss,) = evaluated(model, output, fed)[0].values()
        np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_sigmoid_cross_entropy() -> None:
    model = new_model()
    fields = record(model, label=(np.float32, (4,)), prediction=(np.float32, (4,)))
    output = model.BatchSigmoidCrossEntropyLoss(fields)
    labels = (X > 0.3).astype(np.float32)
    found, _ = evaluated(model, output, {"label": labels, "prediction": X})
    want = (np.log1p(np.exp(-abs(X))) + np.maximum(X, 0) - labels * X).mean()
    np.testing.assert_allclose(found["batch_sigmoid_cross_entropy_loss/loss"], want, rtol=1e-5)


# ---- weights of losses -----------------------------------------------------------------------------------------------

LOSSES = np.array([0.5, 2.0, 3.0], np.float32)


@pytest.mark.parametrize(
    ("layer", "arguments", "want"),
    [
        ("ConstantWeight", {}, LOSSES.mean()),
        ("ConstantWeight", {"weights": [1.0, 2.0, 3.0]}, LOSSES @ [1, 2, 3]),
        ("AdaptiveWeight", {"weights": [0.2, 0.3, 0.5]}, LOSSES @ [0.2, 0.3, 0.5] - np.log([0.4, 0.6, 1.0]).sum() / 2),
        (
            "AdaptiveWeight",
            {"weights": [0.2, 0.3, 0.5], "estimation_method": "inv_var"},
            LOSSES @ [0.2, 0.3, 0.5] - np.log([0.4, 0.6, 1.0]).sum() / 2,
        ),
        ("BlobWeightedSum", {"init_weights": [1.0, 2.0, 3.0]}, LOSSES @ [1, 2, 3]),
    ],
)
def test_weights_of_losses(layer: str, arguments: dict[str, Any], want: float) -> None:
    model = new_model()
    fields = record(model, **{f"loss_{i}": (np.float32, (1,)) for i in range(3)})
    output = getattr(model, layer)(fields, **arguments)
    found, _ = evaluated(model, output, {f"loss_{i}": LOSSES[i : i + 1] for i in range(3)})
    (total,) = found.values()
    np.testing.assert_allclose(total.ravel(), [want], rtol=1e-5)


def test_sums_of_single_numbers() -> None:
    """Losses have no dimensions, their weights have one: the compiled sum takes both."""
    net = core.Net("net")
    net.AddExternalInputs("a", "v", "b", "w")
    net.WeightedSum(["a", "v", "b", "w"], "y")
    for name, value in {"a": 2.0, "v": [3.0], "b": 5.0, "w": [7.0]}.items():
        workspace.FeedBlob(name, np.array(value, np.float32))
    workspace.RunNetOnce(net)
    assert workspace.FetchBlob("y") == 41
    assert workspace.FetchBlob("y").shape == ()


def test_homotopy() -> None:
    """Half of the fall is left at the half life, about a quarter at the quad life."""
    model = new_model()
    fields = record(model, x=np.float32, y=np.float32)
    output = model.HomotopyWeight(fields, half_life=10, quad_life=30, min_weight=1.0, max_weight=3.0)
    layer = model.layers[0]
    for steps, left in ((10, 0.5), (30, 0.25)):
        assert (1 + layer.gamma * steps) ** -layer.power == pytest.approx(left, abs=0.02)
    init_net = model.create_init_net("init")
    net = net_of(model, InstantiationContext.TRAINING, init_net)
    initial = interpreted_nets.initial(init_net)
    initial["homotopy_weight/homotopy_weight_atomic_iter"] = np.array([9], np.int64)
    blobs = {str(fields.x()): np.array([1.0], np.float32), str(fields.y()): np.array([10.0], np.float32)}
    found = interpreted_nets.run(net, {**initial, **blobs}, [output()])[str(output())]
    np.testing.assert_allclose(found, [2 * 1 + 2 * 10], rtol=1e-5)  # both weights in the middle of [1, 3]


# ---- operators as layers ---------------------------------------------------------------------------------------------


def test_operators_as_layers() -> None:
    model = new_model()
    x = model.input_feature_schema.x
    output = model.Relu(x, 1)
    assert output == schema.Scalar((np.float32, (4,)), core.BlobReference("Relu/field_0"))
    parts = model.FunctionalLayerSplit(x, 2)
    assert [field.field_type().shape for field in parts] == [(2,), (2,)]
    named = model.TopK(x, ["values", "indices"], k=2)
    assert named.field_blobs() == ["TopK/values", "TopK/indices"]
    typed = model.AveragedLoss(x, 1, output_dtypes=np.float64)
    assert typed.field_type() == np.float64
    assert not hasattr(model, "NoSuchLayer")
    found, _ = evaluated(model, output, {"x": X})
    np.testing.assert_array_equal(found["Relu/field_0"], np.maximum(X, 0))


def test_functions_as_layers() -> None:
    model = new_model()

    def halved(net: core.Net, inputs: Any, outputs: Any) -> None:
        net.Scale(inputs.x(), outputs.half(), scale=0.5)

    output = model.Functional(model.input_feature_schema, ["half"], halved, name="halved")
    found, _ = evaluated(model, output, {"x": X})
    np.testing.assert_array_equal(found["halved/half"], X / 2)
    assert output.half.field_type().shape == (4,)


def test_metrics_of_layers() -> None:
    model = new_model()
    model.FC(model.input_feature_schema.x, 2, output_to_metrics=True, params_to_metrics=True)
    assert model.metrics_schema.field_names() == ["fc/output", "fc/w", "fc/b"]
    assert types(net_of(model, InstantiationContext.EVAL)) == ["FC", "Copy", "Copy"]
    assert types(net_of(model, InstantiationContext.PREDICTION)) == ["FC"]
    model.filter_metrics_schema({"fc/w"})
    assert model.metrics_schema.field_names() == ["fc/w"]
    assert not workspace.Blobs()
