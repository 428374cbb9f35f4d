"""A net in TF32, alone and mixed with halves, in the emulator beside the reference interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated import TARGET, on_emulated_card

import graphc
from graphc.ir import evaluate
from graphc.plan import Plan

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
BLOBS = ("conv2", "conv3")


def digits(images: int, precision: graphc.compiler.Precision) -> Plan:
    """The digits net, with the results of its convolutions."""
    shape = {"data": (images, 1, 8, 8)}
    graph = graphc.import_model(DIGITS / "predict_net.pb", DIGITS / "init_net.pb", shape)
    return graphc.compile_graph(graph, target=TARGET, precision=precision, outputs=BLOBS, prepare=False)


def images(count: int) -> np.ndarray:
    with np.load(DIGITS / "test_images.npz") as data:
        return (data["images"][:count, None] / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize(
    ("precision", "near", "far"),
    [
        ("tf32", 1e-4, 3e-3),
        ({"conv3": "tf32"}, 1e-4, 3e-3),
        ({"*": "float16", "conv2": "tf32"}, 2e-3, 3e-3),
        ({"*": "tf32", "conv3": "bf16"}, 1e-2, 2e-2),
    ],
)
def test_precisions_side_by_side(precision: graphc.compiler.Precision, near: float, far: float) -> None:
    """near: where sums in another order round to the next number of a precision, once."""
    plan, x = digits(3, precision), {"data": images(3)}
    on_emulated_card(plan)
    got, floats = plan.run(x), evaluate(digits(3, "float").graph, x)
    for name, want in evaluate(plan.graph, x).items():
        assert np.abs(got[name] - want).max() <= near * np.abs(want).max(), name
        assert np.abs(got[name] - floats[name]).max() <= far * np.abs(floats[name]).max(), name
    assert np.abs(got["conv3"] - floats["conv3"]).max() > 2e-5 * np.abs(floats["conv3"]).max()


def test_other_sizes() -> None:
    plan, x = digits(1, "tf32"), {"data": images(5)}
    on_emulated_card(plan)
    got = plan.run(x)
    for name, want in evaluate(digits(5, "tf32").graph, x).items():
        assert np.abs(got[name] - want).max() <= 1e-4 * np.abs(want).max(), name
