"""Lowering: values that share memory with the values made of them, and who else reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from one_net import imported, nets, operator

import graphc
from graphc.frontends.netdef import Operator
from graphc.ir import evaluate

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.uniform(-0.2, 0.2, (32, 32, 1, 1)).astype(np.float32),
    "v": RNG.uniform(-0.1, 0.1, (32, 32, 3, 3)).astype(np.float32),
}
CONV = operator("Conv", "x w", "a", kernel=1)


def reshape(source: str, target: str, *shape: int) -> Operator:
    return operator("Reshape", source, f"{target} {target}_old", shape=list(shape))


def concat(sources: str, target: str, axis: int = 1) -> Operator:
    return operator("Concat", sources, f"{target} {target}_info", axis=axis)


CASES: dict[str, tuple[list[Operator], tuple[int, ...], str]] = {
    "a view is overwritten, what it views is read later": (
        [
            operator("Sigmoid", "x", "a"),
            reshape("a", "b", 1, -1),
            operator("Softsign", "b", "c"),
            operator("Softmax", "a", "d"),
        ],
        (1, 32, 6, 6),
        "c d",
    ),
    "joined values are overwritten, one of them is read later": (
        [
            CONV,
            operator("Conv", "x v", "b", kernel=3, pad=1),
            concat("a b", "c"),
            concat("b a", "d"),
            operator("Sum", "c d", "e"),
            operator("Relu", "a", "f"),
        ],
        (1, 32, 6, 6),
        "e f c",
    ),
    "a view of an input is joined": (
        [
            reshape("x", "a", 1, -1),
            operator("Tanh", "a", "b"),
            reshape("x", "c", 1, -1),
            concat("c b", "d"),
            operator("Softmax", "d", "e"),
        ],
        (1, 4, 4),
        "e",
    ),
    "joined to a value without gaps, one with a halo": (
        [
            operator("Softmax", "x", "b"),
            CONV,
            operator("Conv", "a v", "e", kernel=3, pad=1),
            concat("b a", "c"),
            operator("MaxPool", "c", "d", kernel=2, stride=2),
        ],
        (1, 32, 6, 6),
        "d e",
    ),
    "images become channels": (
        [operator("Softmax", "x", "a"), reshape("a", "b", 1, 32, 4, 4), operator("Softmax", "b", "c")],
        (2, 16, 4, 4),
        "c",
    ),
    "channels become images": ([reshape("x", "a", 2, 16, 4, 4), operator("Softmax", "a", "c")], (1, 32, 4, 4), "c"),
}


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("case", CASES)
def test_values_keep_their_elements(case: str, level: int) -> None:
    ops, shape, outputs = CASES[case]
    x = RNG.uniform(-1, 1, shape).astype(np.float32)
    compare(ops, x, outputs, level, ())


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("name", ["a", "b", "c", "e", "f"])
def test_a_blob_can_be_fetched_though_its_memory_is_wanted(name: str, level: int) -> None:
    """By the operator that would overwrite it, or by the output that it is part of."""
    ops = [
        CONV,
        operator("Relu", "a", "b"),
        operator("Tanh", "b", "c"),
        concat("c b", "d"),
        operator("Softmax", "d", "e"),
        reshape("e", "f", 1, -1),
        concat("f f", "o"),
    ]
    if level and name == "a":
        pytest.skip("fused with what follows")
    compare(ops, RNG.uniform(-1, 1, (1, 32, 3, 3)).astype(np.float32), "o", level, (name,))


def test_of_a_name_that_is_written_twice_the_last_value_is_fetched() -> None:
    ops = [CONV, operator("Sigmoid", "a", "a"), operator("MaxPool", "a", "o", kernel=2)]
    compare(ops, RNG.uniform(-1, 1, (1, 32, 6, 6)).astype(np.float32), "o", 0, ("a",))


def compare(ops: list[Operator], x: np.ndarray, outputs: str, level: int, fetch: tuple[str, ...]) -> None:
    """The compiled net gives the reference's outputs and kept blobs, before and after its memory was used."""
    weights = {n: w for n, w in WEIGHTS.items() if any(n in op.inputs for op in ops)}
    predict, init = nets(ops, {"x": x}, outputs, weights)
    options: dict[str, Any] = {"inputs": {"x": x}, "level": level, "threads": 2}
    plan = graphc.compile(predict, init if weights else None, **options)
    want = evaluate(imported(ops, {"x": x}, outputs, weights), {"x": x}, keep_all=True)
    for _ in range(2):
        got = plan.run({"x": x}, fetch=fetch)
        for name in (*outputs.split(), *fetch):
            np.testing.assert_allclose(
                got[name], want[name], rtol=0, atol=1e-5 * np.abs(want[name]).max(), err_msg=name
            )
