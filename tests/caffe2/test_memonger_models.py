"""Memonger on real Caffe2's nets: rewritten, they compute the same bits, in order and in the orders of a dag net."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memonger_nets import Trace, bits, count_blobs, last_values, lines, must_follow, random_order, run
from whole_nets import whole_nets_but

from graphc.caffe2 import memonger
from graphc.frontends.netdef import parse_netdef

MODELS = [
    *whole_nets_but("squeezenet_v1.0"),
    "without_weights/detectron_faster_rcnn_R50_C4_1x/predict_net.pbtxt",
    "without_weights/mask_rcnn_2go_fp32/model.pb",
    "without_weights/mobilenet_v2_quantized",
    "without_weights/resnet50_quantized",
    "without_weights/shufflenet",
    "without_weights/char_lstm/lstm_predict_net.pbtxt",
]
COMPUTED = ["mnist", "mtcnn_pnet", "alexnet_small", "squeezenet_v1.1"]


@cache
def load(shared: Path, name: str, file: str = "predict_net.pb") -> Any:
    path = shared / "models" / name
    return parse_netdef(path if path.suffix.startswith(".pb") else path / file)


def rewritten(message: Any) -> dict[str, Any]:
    """The net as each function that shares blobs for inference gives it; operators in the order of the net."""
    inputs = list(message.external_input)
    return {
        "fast": memonger.optimize_inference_fast(message, []),
        "dag": memonger.optimize_inference_for_dag(message, inputs),
        "interference": memonger.optimize_interference(message, [], lambda g: range(len(message.op))).net,
        "release": memonger.release_blobs_when_used(message, set()),
    }


@pytest.mark.parametrize("name", MODELS)
def test_operators_get_the_same_inputs(shared: Path, name: str) -> None:
    pytest.importorskip("networkx")
    net, r = load(shared, name), random.Random(5)
    want, waits = Trace(net).inputs, must_follow(net)
    found = rewritten(net)
    for how in ("fast", "dag", "interference"):
        assert Trace(found[how]).inputs == want, how
        assert last_values(found[how], net.external_output) == last_values(net, net.external_output), how
        assert memonger.verify_graph_equality(net, found[how])
        assert memonger.verify_inplace_blobs(net, found[how])
    for _ in range(5):
        assert Trace(found["dag"], random_order(r, waits)).inputs == want


@pytest.mark.parametrize("name", MODELS[:12])
def test_blobs_are_shared(shared: Path, name: str) -> None:
    """No more than half of the blobs that operators write is left, but for a net that lists them among its inputs."""
    net = load(shared, name)
    written = {b for op in net.op for b in op.output}
    found = memonger.optimize_inference_for_dag(net, net.external_input)
    left = count_blobs(found) - (count_blobs(net) - len(written))
    listed = written.intersection(net.external_input)
    assert left <= max(len(written) / 2, len(listed) + 8)


@pytest.mark.parametrize("name", COMPUTED)
def test_outputs_are_equal_bit_by_bit(shared: Path, name: str) -> None:
    pytest.importorskip("networkx")
    net, r = load(shared, name), random.Random(9)
    blobs = run(load(shared, name, "init_net.pb"), {}) | inputs(shared, name)
    want = run(net, blobs)
    for how, found in rewritten(net).items():
        got = run(found, blobs)
        assert all(bits(got[b]) == bits(want[b]) for b in net.external_output), how
        assert how == "release" or len(got) < len(want)
    got = run(memonger.optimize_inference_for_dag(net, net.external_input), blobs, random_order(r, must_follow(net)))
    assert all(bits(got[b]) == bits(want[b]) for b in net.external_output)


def inputs(shared: Path, name: str) -> dict[str, np.ndarray]:
    """One picture; a small one where the net takes every size."""
    with np.load(shared / "models" / name / "inputs.npz") as file:
        first = {key: file[key][:1] for key in file.files}
    return {k: a[..., :67, :67] for k, a in first.items()} if name.startswith("squeezenet") else first


TRAINING = ["lenet_sgd", "mlp_adagrad", "resblock_sgd"]


def parameter_gradients(net: Any) -> set[str]:
    """Gradients that the optimiser reads."""
    updates = [op for op in net.op if op.type in ("MomentumSGDUpdate", "Adagrad")]
    return {b for op in updates for b in op.input if b.endswith("_grad")}


@pytest.mark.parametrize("share_activations", [False, True])
@pytest.mark.parametrize("name", TRAINING)
def test_training_gives_equal_losses(shared: Path, name: str, share_activations: bool) -> None:
    folder, r = shared / "training" / name, random.Random(2)
    net = parse_netdef(folder / "train_net.pb")
    found = memonger.share_grad_blobs(net, ["loss"], parameter_gradients(net), "", share_activations=share_activations)
    assert len({b for op in found.op for b in op.output if "__m" in b}) == 2, lines(found)
    assert count_blobs(found) <= count_blobs(net) - 3
    blobs = dict(np.load(folder / "initial.npz")) | {"iteration_mutex": np.zeros((), np.int32)}
    data, recorded = dict(np.load(folder / "data.npz")), np.load(folder / "run.npz")["loss"]
    states = [dict(blobs) for _ in range(3)]
    for step in range(3):
        batch = {key: a[step] for key, a in data.items()}
        orders = [None, None, random_order(r, must_follow(net))]
        states = [run(m, s | batch, o) for m, s, o in zip((net, found, found), states, orders)]
        assert states[0]["loss"] == pytest.approx(recorded[step], rel=1e-5)
        for state in states[1:]:
            assert all(bits(state[b]) == bits(states[0][b]) for b in ("loss", "accuracy", *blobs))
