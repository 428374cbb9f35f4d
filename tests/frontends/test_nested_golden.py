"""Operators with nets inside, imported and evaluated, against real Caffe2's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import operator_cases
import pytest

from graphc.frontends.netdef import import_net, message_class, read_net
from graphc.ir import Graph, UnsupportedError, evaluate, infer_types
from graphc.ir.types import TensorType


def _graph_of(case: Any) -> Graph:
    """A net of the one operator, with the types of the case's inputs."""
    net = message_class("NetDef")(name="case")
    net.op.add().ParseFromString(case.op)
    names = list(dict.fromkeys(n for n, _ in case.inputs))
    net.external_input.extend(names)
    made = [n for n, v in case.outputs if not (isinstance(v, tuple) and v[0] == "opaque")]
    net.external_output.extend(dict.fromkeys(made))
    return import_net(read_net(net.SerializeToString()))


@pytest.mark.parametrize(("name", "least"), [("If", 3), ("While", 1), ("RecurrentNetwork", 3)])
def test_evaluation_equals_caffe2(name: str, least: int, shared: Path) -> None:
    """``least``: how many cases there are without operators that graphc lacks (decoders with attention have some)."""
    golden = operator_cases.golden_io(shared)
    checked = 0
    for case in golden.cases(shared / "golden" / f"{name}.npz"):
        try:
            graph = _graph_of(case)
        except UnsupportedError:
            continue
        inputs = {n: v for n, v in case.inputs if any(n == i.name for i in graph.inputs)}
        for value in graph.inputs:
            value.type = operator_cases.type_of(inputs[value.name])
        infer_types(graph)
        outputs = evaluate(graph, inputs)
        for blob, want in case.outputs:
            if blob in outputs:
                assert golden.close(outputs[blob], want), f"{name} case {case.index} output {blob}"
        assert outputs
        checked += 1
    assert checked >= least


def test_loop_widens_what_grows() -> None:
    """A carried value that gets longer has no known length."""
    text = """
    name: "grow" external_input: "more" external_input: "x" external_output: "x"
    op { type: "While" input: "more" output: "x"
      arg { name: "loop_net" n { name: "body" external_input: "x"
        op { type: "Concat" input: "x" input: "x" output: "xx" output: "split" arg { name: "axis" i: 0 } }
        op { type: "Copy" input: "xx" output: "x" } } }
      arg { name: "cond_net" n { name: "test" op { type: "IsEmpty" input: "x" output: "more" } } } }
    """
    graph = import_net(read_net(text.encode()), inputs={"x": TensorType.parse("float[2,3]")})
    infer_types(graph)
    assert str(graph.outputs[0].type) == "float[?,3]"
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(evaluate(graph, {"x": x, "more": np.array(False)})["x"], x)
