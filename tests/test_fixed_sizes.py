"""A plan that holds sizes of its inputs as constants refuses other sizes; one that holds none takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.frontends.netdef import Net, Operator, write_net

X = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)


def compiled(*ops: Operator, output: str) -> graphc.Plan:
    net = Net("n", list(ops), ["x"], [output])
    return graphc.compile(write_net(net), inputs={"x": X.shape})


def shaped_like_another_blob() -> graphc.Plan:
    return compiled(
        Operator("Transpose", ["x"], ["t"]),
        Operator("Shape", ["t"], ["shape"]),
        Operator("Relu", ["x"], ["r"]),
        Operator("Reshape", ["r", "shape"], ["y", "old"]),
        output="y",
    )


def test_a_shape_in_the_plan_fixes_the_sizes() -> None:
    plan = shaped_like_another_blob()
    np.testing.assert_array_equal(plan.run({"x": X})["y"], [[0, 0], [0, 0], [1, 2]])
    with pytest.raises(graphc.RunError, match="'shape' \\(Shape\\)") as caught:
        plan.run({"x": X[:1]})
    assert caught.value.help == "compile for these sizes: inputs={'x': (1, 3)}"


def test_a_saved_plan_remembers(tmp_path: Path) -> None:
    shaped_like_another_blob().save(tmp_path / "plan.pkl")
    with pytest.raises(graphc.RunError, match="compiled for"):
        graphc.load(tmp_path / "plan.pkl").run({"x": X[:1]})


def test_blobs_can_still_be_fetched() -> None:
    out = shaped_like_another_blob().run({"x": X}, fetch=["y"])
    assert list(out) == ["y"]


def test_a_plan_without_sizes_takes_others() -> None:
    plan = compiled(Operator("Relu", ["x"], ["y"]), output="y")
    np.testing.assert_array_equal(plan.run({"x": X[:1]})["y"], [[0, 0, 0]])
