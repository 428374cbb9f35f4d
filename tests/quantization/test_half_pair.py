"""NetDef pairs with weights in float16: every number comes back as float16 rounds it, and files are half as large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import graphc
from graphc.cli.app import graphc as command
from graphc.frontends.netdef import Net, Operator, import_net, read_net, write_net
from graphc.frontends.netdef.half_fills import with_half_weights
from graphc.ir import Graph, GraphcError
from graphc.passes import FoldConstants, InferTypes, run_pipeline
from graphc.quantization.half import half_pair

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")


def fill(name: str, values: np.ndarray) -> Operator:
    return Operator("GivenTensorFill", [], [name], {"shape": values.shape, "values": values.reshape(-1)})


def weights_of(graph: Graph) -> dict[str, np.ndarray]:
    run_pipeline(graph, (InferTypes(), FoldConstants()))
    return {v.name: np.asarray(v.data) for v in graph.constants if v.uses or v in graph.outputs}


def test_every_float16_number_comes_back() -> None:
    bits = np.arange(65536, dtype=np.uint16).reshape(64, 1024)
    values = bits.view(np.float16).astype(np.float32)
    init = Net("i", [fill("w", values), fill("w_lower", values[:1, :8])], [], ["w"])
    half = read_net(write_net(with_half_weights(init)))
    blobs = ("x", "w", "w_lower")
    predict = Net("p", [Operator("Copy", [b], [f"{b}_copy"]) for b in blobs], list(blobs))
    found = weights_of(import_net(predict, half))
    (got,) = (w for w in found.values() if w.size == values.size)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(got.view(np.uint32)[known], values.view(np.uint32)[known])
    assert np.isnan(got[~known]).all()
    assert any(np.array_equal(w, values[:1, :8]) for w in found.values())  # another's blob of a name that was wanted


def test_the_digits_net_is_half_as_large_and_answers_the_same(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["quantize", NET, "--init", INIT, "--half", "-o", str(tmp_path / "half")])
    assert done.exit_code == 0, done.output
    assert "3 weights in float16" in done.output
    files = [str(tmp_path / "half" / f"{name}_net.pb") for name in ("predict", "init")]
    assert Path(files[1]).stat().st_size < 0.6 * Path(INIT).stat().st_size  # tables of 2 kB, small weights
    floats = weights_of(import_net(read_net(NET), read_net(INIT)))
    halves = weights_of(import_net(read_net(files[0]), read_net(files[1])))
    for name in ("conv2_w", "conv3_w", "fc4_w"):
        np.testing.assert_array_equal(halves[name], floats[name].astype(np.float16).astype(np.float32))
    for name in ("conv1_w", "conv3_b"):
        np.testing.assert_array_equal(halves[name], floats[name])
    x = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    (want,) = graphc.compile(NET, INIT, inputs={"data": x}).run({"data": x}).values()
    plan = graphc.compile(*files, inputs={"data": x})
    (got,) = plan.run({"data": x}).values()
    assert not {n.op for n in plan.graph.nodes} & {"Cast", "Gather", "Mul", "Add"}
    assert np.abs(got - want).max() <= 2e-3


def test_what_cannot_be_halved(tmp_path: Path) -> None:
    large = np.full((32, 32), 7e4, np.float32)
    net = write_net(Net("i", [fill("w", large)], [], ["w"]))
    with pytest.raises(GraphcError, match="'w' has the number 70000, beyond float16"):
        half_pair(NET, net)
    with pytest.raises(GraphcError, match="no float32 weights"):
        half_pair(NET)
    arguments = ["quantize", NET, "--init", INIT, "--half", "-o"]
    for more in ([str(tmp_path / "x.pkl")], [str(tmp_path / "x"), "--calibrate", NET]):
        done = CliRunner().invoke(command, arguments + more)
        assert done.exit_code == 2
        assert "half" in done.output
