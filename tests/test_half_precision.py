"""Nets in half precision from end to end: the digits net against its float form, plans, requests, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.ir import GraphcError, evaluate

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2}
"""Relative to the largest magnitude: about ten roundings of 11 and 8 bits."""


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(DIGITS / "test_images.npz") as data:
        return (data["images"][:, None] / np.float32(255)).astype(np.float32), data["labels"]


@pytest.fixture(scope="module")
def plans(digits: tuple[np.ndarray, np.ndarray]) -> dict[str, graphc.Plan]:
    shape = {"data": (1, *digits[0].shape[1:])}
    return {k: graphc.compile(NET, INIT, inputs=shape, precision=k) for k in ("float", *TOLERANCE)}


@pytest.mark.parametrize("kind", TOLERANCE)
def test_answers_are_near_those_of_float(
    plans: dict[str, graphc.Plan], digits: tuple[np.ndarray, np.ndarray], kind: str
) -> None:
    images, labels = digits
    found = graphc.compare(plans["float"], plans[kind], {"data": images}, tolerance=5 * TOLERANCE[kind])
    assert found.ok, str(found)
    (scores,) = plans[kind].run({"data": images}).values()
    (floats,) = plans["float"].run({"data": images}).values()
    assert scores.dtype == np.float32
    assert np.abs(scores - floats).max() <= TOLERANCE[kind] * np.abs(floats).max()
    assert abs((scores.argmax(1) == labels).mean() - (floats.argmax(1) == labels).mean()) <= 0.005


@pytest.mark.parametrize("kind", TOLERANCE)
def test_the_reference_computes_the_same(
    plans: dict[str, graphc.Plan], digits: tuple[np.ndarray, np.ndarray], kind: str
) -> None:
    images = digits[0][:1]
    (got,) = plans[kind].run({"data": images}).values()
    (want,) = evaluate(plans[kind].graph, {"data": images}).values()
    assert np.abs(got - want).max() <= TOLERANCE[kind] * np.abs(want).max()


def test_a_deep_narrow_net_beside_caffe2s_answers(shared: Path) -> None:
    """Nine convolutions of 16 maps on noise: of the shared nets the one that bfloat16 harms most."""
    folder = shared / "models" / "tiny_yolo_a_small"
    inputs = {name: array[:1] for name, array in np.load(folder / "inputs.npz").items()}
    plan = graphc.compile(folder / "predict_net.pb", folder / "init_net.pb", inputs=inputs, precision="bfloat16")
    found, known = plan.run(inputs), np.load(folder / "outputs.npz")
    assert sum("precision" in n.attrs for n in plan.graph.nodes if n.op == "Conv") == 8
    for name, array in found.items():
        assert np.abs(array - known[name][:1]).max() <= TOLERANCE["bfloat16"] * np.abs(known[name]).max()


@pytest.mark.parametrize("kind", TOLERANCE)
def test_plans_are_half_as_large_and_come_back(
    plans: dict[str, graphc.Plan], digits: tuple[np.ndarray, np.ndarray], kind: str, tmp_path: Path
) -> None:
    weights = {k: [v.type.nbytes for v in plans[k].graph.constants] for k in ("float", kind)}
    assert sum(weights["float"]) > 1.8 * sum(weights[kind])  # the last product is small and stays float32
    # as kernels hold them, transformed for Winograd's algorithm where that is chosen
    assert sum(a.nbytes for a in plans["float"].weights) > sum(a.nbytes for a in plans[kind].weights)
    plans[kind].save(tmp_path / "half.pkl")
    again = graphc.load(tmp_path / "half.pkl")
    for batch in (1, 5):
        images = digits[0][:batch]
        (got,) = again.run({"data": images}).values()
        (want,) = plans[kind].run({"data": images}).values()
        np.testing.assert_array_equal(got, want)


def test_blobs_that_are_fetched(plans: dict[str, graphc.Plan], digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = digits[0][:2]
    for kind, dtype in (("float16", np.float16), ("bfloat16", np.float32)):
        halves = [n.results[0] for n in plans[kind].graph.nodes if n.results[0].type.dtype.text == kind]
        name = halves[0].name
        blob = plans[kind].run({"data": images}, fetch=[name])[name]
        floats = plans["float"].run({"data": images}, fetch=[name])[name]
        assert blob.dtype == dtype
        assert np.abs(blob - floats).max() <= TOLERANCE[kind] * np.abs(floats).max()


def test_requests_of_single_operators() -> None:
    first = graphc.compile(NET, INIT, precision={"*": "bf16", "fc4": "float"}).graph
    weights = {v.name: v.type.dtype.text for v in first.constants if v.type.dtype and (v.type.rank or 0) > 1}
    kinds = {"conv1_w": "float", "conv2_w_bfloat16": "bfloat16", "conv3_w_bfloat16": "bfloat16", "fc4_w": "float"}
    assert weights == kinds  # the first convolution reads the float32 image


@pytest.mark.parametrize("precision", ["int8", {"*": "fp8"}, {"a;b": "half"}])
def test_what_is_no_precision(precision: object) -> None:
    with pytest.raises(GraphcError, match="the precision of"):
        graphc.compile(NET, INIT, precision=precision)


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "graphc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_command_line(tmp_path: Path) -> None:
    plan = str(tmp_path / "b.pkl")
    run("compile", NET, "--init", INIT, "--bf16", "--precision", "fc4=float", "-o", plan)
    texts = ("compare", f"{NET}+{INIT}@reference", plan, "--random", "3", "--json")
    found = json.loads(run(*texts, "--tolerance", "0.05").stdout)
    assert found["ok"]
    assert {"float", "bfloat16"} <= {e["dtypes"][1] for e in found["blobs"]}
    strict = run(*texts, "--tolerance", "1e-7", code=1)
    assert json.loads(strict.stdout)["first"] == found["blobs"][0]["name"]
    assert "no option of a net" in run("compare", plan, f"{NET}@int3", "--random", code=2).stderr
    wrong = run("compile", NET, "--init", INIT, "--half", "--precision", "q=float", "-o", plan, code=2)
    assert "which no operator computes" in wrong.stderr
