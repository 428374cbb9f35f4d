"""An LSTM that attends to an encoder: forward against a loop in NumPy, gradients against differences."""

from __future__ import annotations

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import rnn_cell
from graphc.caffe2.attention import AttentionType
from graphc.caffe2.model_helper import ModelHelper

STEPS, BATCH, INPUTS, UNITS, ENCODER, SIZE = 3, 2, 4, 2, 5, 3
KINDS = {
    "Regular": AttentionType.Regular,
    "Recurrent": AttentionType.Recurrent,
    "Dot": AttentionType.Dot,
    "SoftCoverage": AttentionType.SoftCoverage,
}
LENGTHS = np.array([3, 2], np.int32)
ENCODER_LENGTHS = np.array([5, 3], np.int32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def build(kind: str, **kwargs: bool) -> tuple[ModelHelper, list[str]]:
    model = ModelHelper(name="m")
    names = ("data", "lengths", "h", "c", "context", "encoder", "encoder_lengths")
    data, lengths, h, c, context, encoder, ends = model.net.AddScopedExternalInputs(*names)
    found = rnn_cell.LSTMWithAttention(
        model, data, lengths, h, c, context, SIZE, encoder, ends, INPUTS, UNITS, "a", KINDS[kind], **kwargs
    )  # fmt: skip
    return model, [str(blob) for blob in found]


def feeds(model: ModelHelper) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = {
        "data": (STEPS, BATCH, INPUTS),
        "h": (1, BATCH, UNITS),
        "c": (1, BATCH, UNITS),
        "context": (1, BATCH, SIZE),
        "encoder": (ENCODER, BATCH, SIZE),
    }
    made = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    ends = {"lengths": LENGTHS, "encoder_lengths": ENCODER_LENGTHS}
    return {**made, **ends, **interpreted_nets.initial(model.param_init_net)}


def reference(b: dict[str, np.ndarray], kind: str) -> np.ndarray:
    """Contexts of all steps."""
    h, c, context, found = b["h"][0], b["c"][0], b["context"][0], []
    coverage = np.zeros((ENCODER, BATCH))
    layer = lambda name, x: x @ b[f"a/{name}_w"].T + b[f"a/{name}_b"]
    for t in range(STEPS):
        gates = layer("decoder/i2h", b["data"][t]) + layer("decoder/gates_t", np.concatenate([h, context], 1))
        i, f, o, z = np.split(gates, 4, 1)
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(z)
        runs = (t < LENGTHS)[:, None]
        h, c = np.where(runs, sigmoid(o) * np.tanh(new_c), h), np.where(runs, new_c, c)
        state = layer("weighted_decoder_hidden_state", h)
        if kind == "Dot":
            logits = np.einsum("ebs,bs->eb", b["encoder"], state)
        else:
            before = layer("weighted_prev_attention_context", context) if kind == "Recurrent" else 0
            if kind == "SoftCoverage":
                before = layer("coverage_weights", b["encoder"]) * coverage[..., None]
            match = np.tanh(layer("weighted_encoder_outputs", b["encoder"]) + state + before)
            logits = layer("attention_logits", match)[..., 0]
        logits = np.where(np.arange(ENCODER)[:, None] < ENCODER_LENGTHS, logits, -np.inf)
        weights = np.exp(logits - logits.max(0))
        weights = weights / weights.sum(0)
        coverage = coverage + weights
        context = np.einsum("eb,ebs->bs", weights, b["encoder"])
        found.append(context)
    return np.array(found)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_gradients(kind: str) -> None:
    model, outputs = build(kind, attention_memory_optimization=kind == "Recurrent")
    assert outputs[:4:2] == ["a/hidden_t_external_all", "a/decoder/cell_state_all"]
    squares = [model.net.Sqr(outputs[i], f"squares_{i}") for i in (0, 4)]
    loss = model.net.Add([model.net.SumElements(blob) for blob in squares], "loss")
    gradients = model.AddGradientOperators([loss])
    given = feeds(model)
    blobs = [*(str(p) for p in model.params), "data"]
    found = interpreted_nets.run(model.net, given, [loss, outputs[4], *(gradients[b] for b in blobs)])
    np.testing.assert_allclose(found[outputs[4]], reference(given, kind), atol=1e-5)
    rng, size = np.random.default_rng(4), 5e-3
    for blob in blobs:
        direction = rng.standard_normal(given[blob].shape).astype(np.float32)
        ends = [
            interpreted_nets.run(model.net, {**given, blob: given[blob] + sign * size * direction}, [loss])["loss"]
            for sign in (1, -1)
        ]
        along = float((found[str(gradients[blob])] * direction).sum())
        assert along == pytest.approx(float(ends[0] - ends[1]) / 2 / size, rel=2e-2, abs=3e-3)


def test_refusals() -> None:
    with pytest.raises(AssertionError, match="Attention type 7"):
        rnn_cell.LSTMWithAttentionCell(3, "e", None, 4, 2, "a", 7, None, 0.0, False, False)
