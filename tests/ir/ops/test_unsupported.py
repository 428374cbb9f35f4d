"""The table of operators without a place in a plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from graphc.ir import Graph, GraphcError, Node, TensorType, Trait, UnsupportedError, Value, evaluate, lookup, registry
from graphc.ir.ops.unsupported import REFUSALS, refusal, require_runnable


def test_every_refusal_has_a_reason_and_a_remedy() -> None:
    assert all(r.reason and r.remedy for r in REFUSALS.values())
    assert refusal("Conv") is None
    assert refusal("Load") is not None


def test_no_refused_operator_has_a_meaning() -> None:
    for name in REFUSALS.keys() & registry().keys():
        record = lookup(name)
        assert record.reference is None
        assert record.scalar is None
        assert Trait.EFFECT in record.traits


def _loading() -> Graph:
    graph = Graph("net")
    node = graph.append(Node("Load", [], [Value(TensorType(), "w")], {"db": b"weights"}))
    graph.append(Node("Relu", [node.results[0]], [Value(TensorType(), "y")]))
    graph.add_output(graph.nodes[-1].results[0])
    return graph


def test_a_net_with_them_is_refused_as_a_whole() -> None:
    with pytest.raises(UnsupportedError, match="1 of its operators have no place in a plan") as caught:
        require_runnable(_loading())
    (problem,) = caught.value.problems
    assert "Load: it reads weights from a database" in problem
    assert "pass them as an init net of fills" in problem


def test_evaluating_one_is_an_error() -> None:
    with pytest.raises(GraphcError, match="Load"):
        evaluate(_loading(), {})


def test_names_are_those_of_caffe2(shared: Path) -> None:
    """Names that a CPU build registers, but those of other libraries, devices and versions."""
    known = {o["name"] for o in json.loads((shared / "golden" / "operators.json").read_text())["operators"]}
    foreign = ("NCCL", "MPI", "Cuda", "TensorRT", "Torch", "ElementwiseRTC", "SNPE")
    assert np.mean([n in known for n in REFUSALS if not n.startswith(foreign)]) > 0.9


@pytest.mark.parametrize(
    "name", ["OpenGLConvRelu", "CopyFromMPSCNN", "SumFakeFp16", "BatchMatMulFP16Acc16Fake", "Int8QuantizeNNPI"]
)
def test_families_of_other_devices_are_refused_by_name(name: str) -> None:
    assert refusal(name) is not None


def test_no_operator_with_a_meaning_is_refused() -> None:
    assert not [name for name in registry() if refusal(name) and lookup(name).reference]
