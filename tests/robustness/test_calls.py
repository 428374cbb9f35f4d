"""Wrong calls of the Python interface: an error of graphc's own that names what is wrong; strange but sound arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")
IMAGE = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def plan() -> graphc.Plan:
    return graphc.compile(NET, INIT, threads=1)


WRONG_INPUTS = [
    [IMAGE],
    None,
    3,
    IMAGE,
    {},
    {"data": None},
    {"data": "x"},
    {"data": [[1], [1, 2]]},
    {"data": IMAGE.astype(np.float16)},
    {"data": IMAGE.astype(complex)},
    {"data": IMAGE.astype(object)},
    {"data": np.zeros(IMAGE.shape, [("a", np.float32)])},
    {"data": IMAGE[0]},
    {"data": IMAGE[:0]},
    {"data": IMAGE[:, :, :1, :1]},
    {"data": np.broadcast_to(np.float32(0), (10**9, 1, 8, 8))},
    {1: IMAGE},
]


@pytest.mark.parametrize("inputs", WRONG_INPUTS, ids=range(len(WRONG_INPUTS)))
def test_wrong_inputs(plan: graphc.Plan, inputs: object) -> None:
    with pytest.raises(graphc.RunError, match=r"data|mapping"):
        plan.run(inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("fetch", ["pool3", ["zz"], [3]])
def test_wrong_fetch(plan: graphc.Plan, fetch: list[str]) -> None:
    with pytest.raises(graphc.RunError):
        plan.run({"data": IMAGE}, fetch)


def test_inputs_can_be_fetched(plan: graphc.Plan) -> None:
    np.testing.assert_array_equal(plan.run({"data": IMAGE}, ["data"])["data"], IMAGE)


def test_memory_that_the_machine_lacks(plan: graphc.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 16)
    with pytest.raises(graphc.RunError, match="GiB of memory"):
        plan.run({"data": np.zeros((77, 1, 8, 8), np.float32)})


def test_strange_arrays_that_are_sound(plan: graphc.Plan) -> None:
    expected = plan.run({"data": IMAGE})["softmax"]
    raw = np.zeros(IMAGE.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(IMAGE.shape)
    raw[...] = IMAGE
    strided = np.zeros((8, 8, 1, 1), np.float32).transpose(2, 3, 0, 1)
    strided[...] = IMAGE
    for array in (IMAGE.astype(">f4"), raw, strided, np.ma.masked_array(IMAGE)):
        assert np.array_equal(plan.run({"data": array})["softmax"], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_comes_through(plan: graphc.Plan, value: float) -> None:
    """Caffe2 computes on: NaN in, or inf - inf on the way, gives NaN probabilities."""
    assert np.isnan(plan.run({"data": np.full_like(IMAGE, value)})["softmax"]).all()


WRONG_OPTIONS = [
    {"inputs": {"data": "abc"}},
    {"inputs": {"data": 8}},
    {"inputs": {"data": (1, 1, 8.5, 8)}},
    {"inputs": {"data": (1, 1, -8, 8)}},
    {"inputs": {"data": np.zeros((1, 1, 8, 8), complex)}},
    {"inputs": {"data": (2**40, 1, 8, 8)}},
    {"inputs": [("data", (1, 1, 8, 8))]},
    {"outputs": "pool3"},
    {"outputs": ["zz"]},
    {"pipeline": [3]},
    {"pipeline": ["dce"]},
    {"pipeline": []},
    {"level": 7},
    {"target": "pdp11"},
    {"threads": 0},
    {"threads": "2"},
    {"threads": 1.5},
    {"threads": 10**6},
]


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(graphc.GraphcError) as caught:
        graphc.compile(NET, INIT, **options)  # type: ignore[arg-type]
    assert caught.value.help


@pytest.mark.parametrize("net", [None, 3, b"", b"x", "/nowhere", bytearray(10), str(DIGITS)])
def test_what_is_no_net(net: object) -> None:
    with pytest.raises(graphc.FileError):
        graphc.compile(net)  # type: ignore[arg-type]


def test_an_output_that_is_an_input_of_unknown_shape() -> None:
    with pytest.raises(graphc.LoweringError, match="'x'"):
        graphc.compile(b'name: "n" op { type: "Relu" input: "z" output: "y" } external_input: "x" '
                       b'external_input: "z" external_output: "x"', inputs={"z": (1, 2)})  # fmt: skip
