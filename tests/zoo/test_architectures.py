"""Architectures: shapes as their papers have them, the nets that are written, seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from graphc.caffe2 import workspace
from graphc.caffe2.models.installed import nets
from graphc.cli.models import models
from graphc.frontends.netdef import parse_netdef, read_net
from graphc.ir import FileError
from graphc.zoo import ARCHITECTURES, ZOO_NAMES, architecture, write_model, write_nets

WEIGHTS = {
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "resnet18": 11_689_512,
    "mobilenetv2": 3_504_872,
    "densenet121": 7_978_856,
    "lenet": 431_080,
}
"""Parameters as published (torchvision's documentation; LeNet's by hand), without the statistics of normalisation."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_published_numbers_of_parameters(name: str) -> None:
    net = architecture(name)
    statistics = sum(w.size for k, w in net.weights.items() if k.startswith("batch_norm") and k[-1] in "mv")
    assert sum(w.size for w in net.weights.values()) - statistics == WEIGHTS[name]


def test_names() -> None:
    assert set(ZOO_NAMES.values()) <= set(ARCHITECTURES)
    assert architecture("squeezenet").name == "squeezenet1_1"
    with pytest.raises(FileError, match=r"did you mean resnet50\? architectures: squeezenet1_0"):
        architecture("resnet5O")


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2", "densenet121", "lenet"])
def test_shapes_of_the_written_net(name: str, tmp_path: Path) -> None:
    net = architecture(name)
    write_nets(net, tmp_path / "predict_net.pb", tmp_path / "init_net.pb")
    predict = parse_netdef(tmp_path / "predict_net.pb")
    given = {"data": net.shapes["data"], **{k: w.shape for k, w in net.weights.items()}}
    shapes, _ = workspace.InferShapesAndTypes([predict], {k: list(v) for k, v in given.items()})
    assert {k: tuple(shapes[k]) for k in net.shapes} == net.shapes
    assert net.shapes[net.output] == (1, 10 if name == "lenet" else 1000)


def test_a_written_net_runs(tmp_path: Path) -> None:
    net = architecture("mlp")
    write_model(net, tmp_path)
    init, predict = nets(tmp_path)
    x = np.random.default_rng(0).random((2, 784), np.float32)
    (found,) = workspace.Predictor(init, predict).run([x])
    h, weights = x.astype(float), list(net.weights.values())
    for k in range(0, 6, 2):
        h = h @ weights[k].T + weights[k + 1]
        h = np.maximum(h, 0) if k < 4 else np.exp(h) / np.exp(h).sum(1, keepdims=True)
    assert np.allclose(found, h, atol=1e-5)
    assert json.loads((tmp_path / "value_info.json").read_text()) == {"data": [1, [1, 784]]}
    assert list(predict.external_input) == ["data", *net.weights]


def test_the_command(tmp_path: Path) -> None:
    def build(*arguments: str) -> str:
        run = CliRunner().invoke(models, ["build", "mlp", "-o", str(tmp_path), *arguments], catch_exceptions=False)
        assert run.exit_code == 0, run.output
        return run.output

    assert build() == f"{tmp_path / 'mlp'}: 6 operators, 1,863,690 weights, data [1, 784]\n"
    first = (tmp_path / "mlp" / "init_net.pb").read_bytes()
    with pytest.raises(FileError, match="exists already"):
        build()
    build("-f")
    assert (tmp_path / "mlp" / "init_net.pb").read_bytes() == first
    build("-f", "--seed", "1")
    assert (tmp_path / "mlp" / "init_net.pb").read_bytes() != first
    assert read_net(tmp_path / "mlp" / "predict_net.pb").name == "mlp"
