"""The digits example is what its README says: nets, weights, pictures and answers belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import graphc
from graphc.frontends.netdef import read_net
from graphc.ir.infer import infer_types
from graphc.ir.reference import evaluate

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "digits"

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights() -> Arrays:
    net = read_net(FOLDER / "init_net.pb")
    return {op.outputs[0]: np.reshape(op.args["values"], op.args["shape"]) for op in net.ops}


@pytest.fixture(scope="module")
def test_set() -> Arrays:
    with np.load(FOLDER / "test_images.npz") as file:
        return dict(file)


def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """3x3 convolution with a border of one, as nine shifted products."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    parts = [np.einsum("nchw,mc->nmhw", padded[:, :, i : i + height, j : j + width], w[:, :, i, j]) for i, j in taps]
    return np.sum(parts, axis=0) + b[:, None, None]


def pool(x: np.ndarray) -> np.ndarray:
    return np.maximum.reduce([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])


def by_hand(w: Arrays, images: np.ndarray) -> np.ndarray:
    """The net's probabilities in double precision, written down a second time."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    x = (images[:, None] / np.float32(255)).astype(np.float64)
    x = pool(np.maximum(conv(x, w["conv1_w"], w["conv1_b"]), 0))
    x = np.maximum(conv(x, w["conv2_w"], w["conv2_b"]), 0)
    x = pool(np.maximum(conv(x, w["conv3_w"], w["conv3_b"]), 0))
    scores = np.einsum("nd,md->nm", x.reshape(len(x), -1), w["fc4_w"]) + w["fc4_b"]
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_every_input_of_the_net_has_a_fill(weights: Arrays) -> None:
    net = read_net(FOLDER / "predict_net.pb")
    assert net.external_inputs[0] == "data"
    assert set(net.external_inputs) == set(weights)
    assert net.external_outputs == ["softmax"]
    assert " ".join(op.type for op in net.ops) == "Conv Relu MaxPool Conv Relu Conv Relu MaxPool FC Softmax"


def test_the_fill_of_the_true_input_is_the_placeholder(weights: Arrays) -> None:
    assert weights["data"].shape == (1, 1)
    assert sum(w.size for name, w in weights.items() if name != "data") == 20602


def test_the_stored_answers_are_those_of_the_weights(weights: Arrays, test_set: Arrays) -> None:
    assert test_set["expected"].shape == (360, 10)
    np.testing.assert_allclose(by_hand(weights, test_set["images"]), test_set["expected"], atol=1e-12)


def test_the_net_reads_the_test_pictures(test_set: Arrays) -> None:
    assert (test_set["expected"].argmax(axis=1) == test_set["labels"]).sum() == 357


def test_the_reference_interpreter_gives_the_stored_answers(test_set: Arrays) -> None:
    """float32 against float64: sums of at most 288 products of magnitude one or so."""
    data = (test_set["images"][:, None] / np.float32(255)).astype(np.float32)
    graph = graphc.import_model(FOLDER / "predict_net.pb", FOLDER / "init_net.pb", {"data": data})
    infer_types(graph)
    np.testing.assert_allclose(evaluate(graph, {"data": data})["softmax"], test_set["expected"], atol=5e-6)


def test_the_pictures_are_of_the_test_set(test_set: Arrays) -> None:
    words = (FOLDER / "labels.txt").read_text(encoding="utf-8").split()
    assert len(words) == test_set["expected"].shape[1]
    for digit in range(10):
        first = np.flatnonzero(test_set["labels"] == digit)[0]
        picture = np.asarray(Image.open(FOLDER / f"{digit}.png"))
        np.testing.assert_array_equal(picture, test_set["images"][first])
        assert test_set["expected"][first].argmax() == digit
