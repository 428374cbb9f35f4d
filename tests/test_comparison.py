"""Comparing two forms of a net: the figures against hand calculation, the blobs that are compared, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.comparison import blob_error, compare
from graphc.comparison_sides import Answer, parse_side
from graphc.ir import Builder, DType, Graph, GraphcError, Quant, RunError, TensorType

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")


def answer(*numbers: float, shape: tuple[int, ...] = (-1,), dtype: type = np.float32) -> Answer:
    array = np.array(numbers, dtype).reshape(shape)
    return Answer(array, TensorType(DType.of(array.dtype), array.shape))


def test_figures_by_hand() -> None:
    # differences 0, 1, 0, -1: mean square 0.5; a's mean square 7.5, its span 6
    e = blob_error("x", answer(4, -2, 3, 1), answer(4, -1, 3, 0), False)
    assert (e.max_abs, e.relative) == (1, 0.25)
    assert e.sqnr == pytest.approx(10 * math.log10(7.5 / 0.5))
    assert e.psnr == pytest.approx(10 * math.log10(36 / 0.5))
    assert e.same_top is None


def test_equal_blobs_have_no_error() -> None:
    e = blob_error("x", answer(1, math.nan, math.inf), answer(1, math.nan, math.inf), False)
    assert (e.max_abs, e.relative, e.sqnr, e.psnr) == (0, 0, math.inf, math.inf)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_on_one_side_is_infinitely_far(odd: float) -> None:
    assert blob_error("x", answer(1, 2), answer(1, odd), False).relative == math.inf
    assert blob_error("x", answer(1, odd), answer(1, 2), False).relative == math.inf


def test_nothing_but_zeros() -> None:
    assert blob_error("x", answer(0, 0), answer(0, 0), False).relative == 0
    assert blob_error("x", answer(0, 0), answer(0, 1), False).relative == math.inf
    assert blob_error("x", answer(), answer(), False).relative == 0


def test_agreement_of_the_largest() -> None:
    a = answer(9, 8, 7, 0, 9, 8, 7, 0, shape=(2, 4))
    b = answer(9, 0, 8, 7, 8, 9, 7, 0, shape=(2, 4))
    e = blob_error("x", a, b, True, 2)
    assert (e.same_top, e.same_top_k) == (0.5, 0.75)
    assert blob_error("x", answer(1, 2), answer(1, 2), True).same_top is None


def test_quantised_numbers_are_compared_as_what_they_stand_for() -> None:
    quantised = Answer(np.array([10, 14], np.uint8), TensorType(DType.UINT8, (2,), quant=Quant(0.5, 10)))
    assert blob_error("x", answer(0, 2), quantised, False).relative == 0


def net(factor: float = 1.0, last: str = "Mul", names: tuple[str, str] = ("x", "z")) -> Graph:
    """names[1] = x * factor, or another operator, of y = Relu(x)."""
    graph = Graph("n")
    b = Builder(graph)
    x = b.input(names[0], "float[2,3]")
    y = b.op("Relu", [x], name="y" if names[1] == "z" else "v")
    operands = [y, b.constant("w", [factor])] if last == "Mul" else [y]
    b.output(b.op(last, operands, {"broadcast": 1} if last == "Mul" else {}, names[1]))
    return graph


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    return {"x": np.array([[1, -2, 3], [4, 5, -6]], np.float32)}


def test_blobs_in_order_and_the_first_beyond_the_tolerance(inputs: dict[str, np.ndarray]) -> None:
    found = compare(net(1.0), net(1.5), inputs, tolerance=0.1)
    assert [e.name for e in found.blobs] == ["y", "z"]
    assert not found.ok
    assert found.first is not None
    assert found.first.name == "z"
    assert (found.worst.max_abs, found.worst.relative) == (2.5, 0.5)
    assert compare(net(1.0), net(1.5), inputs, tolerance=0.5).ok
    assert compare(net(1.0), net(1.5), inputs).ok
    assert "first exceeded by z" in str(found)
    assert found.to_dict()["first"] == "z"


def test_wanted_blobs_only(inputs: dict[str, np.ndarray]) -> None:
    assert [e.name for e in compare(net(), net(), inputs, blobs=["y"]).blobs] == ["y"]
    with pytest.raises(GraphcError, match="a has no blob 'q'"):
        compare(net(), net(), inputs, blobs=["q"])


def test_sides_that_do_not_fit(inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(GraphcError, match="the inputs differ: a has x; b has q"):
        compare(net(), net(names=("q", "z")), inputs)
    with pytest.raises(GraphcError, match="have no blob in common"):
        compare(net(), net(names=("x", "w")), inputs)
    with pytest.raises(RunError, match=r"shape \[2, 3\] in a and \[6\] in b"):
        compare(net(), net(last="FlattenToVec"), inputs)
    with pytest.raises(GraphcError, match="cannot be compared"):
        compare(3, net(), inputs)


def test_forms_of_the_digits_net() -> None:
    with np.load(DIGITS / "test_images.npz") as data:
        inputs = {"data": (data["images"][:20, None] / np.float32(255)).astype(np.float32)}
    plan = graphc.compile(NET, INIT, inputs=inputs)
    found = graphc.compare(f"{NET}+{INIT}@reference", plan, inputs, tolerance=1e-5)
    assert found.ok, str(found)  # float32 sums in another order
    folder = graphc.compare(f"{DIGITS}@reference", f"{NET}+{INIT}@reference", inputs, tolerance=0)
    assert folder.ok, str(folder)
    last = found.blobs[-1]
    assert (last.name, last.is_output, last.same_top, last.same_top_k) == ("softmax", True, 1.0, 1.0)
    assert len(found.blobs) > 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no.pb", "there is no file 'no.pb'"),
        (f"{NET}@reference,O1", "takes no other options"),
        (f"{NET}@sse9", "'sse9' is no option"),
        (f"{NET}@half,O1,bf16", "'half' and 'bf16' are both a precision"),
        (f"{NET}@O0,O2", "'O0' and 'O2' are both a level"),
        (f"{NET}+no.pb", "there is no file 'no.pb'"),
        (str(DIGITS.parent), "there is no file .*predict_net.pb"),
    ],
)
def test_sides_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        parse_side(text, INIT, {})
