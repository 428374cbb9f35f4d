"""ONNXWhile by hand; scopes."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.frontends.netdef import import_net, read_net
from graphc.ir import Graph, NetError, TensorType, VerifyError, evaluate, infer_types

BODY = """
arg { name: "body" n { name: "body" external_input: "i" external_input: "c" external_input: "v"
  external_output: "more" external_output: "w" external_output: "part"
  op { type: "Add" input: "v" input: "step" output: "w" }
  op { type: "Mul" input: "w" input: "w" output: "part" }
  op { type: "ReduceMax" input: "w" output: "top" }
  op { type: "ConstantFill" output: "ten" arg { name: "shape" ints: 1 ints: 1 } arg { name: "value" f: 10.0 } }
  op { type: "LT" input: "top" input: "ten" output: "more" } } }
"""
TYPES = {"n": "int64[1]", "go": "bool[1]", "x": "float[1,2]", "step": "float[1,2]"}


def loop(flags: str = "has_trip_count has_cond", further: str = "") -> Graph:
    """x grows by step, until its greatest element is 10; its squares are collected."""
    given = " ".join(f'arg {{ name: "{name}" i: 1 }}' for name in flags.split())
    text = f"""name: "net" external_input: "n" external_input: "go" external_input: "x" external_input: "step"
      external_output: "last" external_output: "all"
      op {{ type: "ONNXWhile" input: "n" input: "go" input: "x" {further} output: "last" output: "all" {given} {BODY} }}
      """
    return import_net(read_net(text.encode()), inputs={n: TensorType.parse(t) for n, t in TYPES.items()})


@pytest.mark.parametrize("target", ["reference", "cpu"])
@pytest.mark.parametrize(("n", "go", "rounds"), [(2, True, 2), (100, True, 3), (0, True, 0), (5, False, 0)])
def test_it_ends_by_number_or_condition(n: int, go: bool, rounds: int, target: str) -> None:
    graph, x, step = loop(), np.array([[1, 2]], np.float32), np.array([[1, 3]], np.float32)
    inputs = {"n": np.array([n]), "go": np.array([go]), "x": x, "step": step}
    if target == "cpu":
        got = graphc.compile_graph(graph, threads=1).run(inputs)
    else:
        infer_types(graph)
        got = evaluate(graph, inputs)
    values = [x + k * step for k in range(rounds + 1)]
    assert (got["last"] == values[-1]).all()
    assert got["all"].shape == ((rounds, 2) if rounds else (0,))
    assert got["all"].tolist() == [(v * v).tolist()[0] for v in values[1:]]


def test_a_loop_has_to_end() -> None:
    with pytest.raises(VerifyError, match="never ends"):
        infer_types(loop(""))


def test_its_net_takes_what_it_carries() -> None:
    with pytest.raises(NetError, match="carries 2 values"):
        loop(further='input: "step"')


def test_a_new_scope_is_empty_and_a_used_one_refused() -> None:
    fresh = b"""name: "n" external_output: "has" op { type: "CreateScope" output: "s" }
      op { type: "HasScope" input: "s" output: "has" }"""
    graph = import_net(read_net(fresh))
    infer_types(graph)
    assert evaluate(graph, {})["has"].tolist() == [False]
    used = b"""name: "n" external_input: "x" external_output: "has" op { type: "CreateScope" output: "s" }
      op { type: "Do" input: "x" input: "s" output: "y" output: "s"
        arg { name: "inner_blobs" strings: "a" strings: "b" }
        arg { name: "outer_blobs_idx" ints: 0 ints: 1 }
        arg { name: "net" n { name: "inner" op { type: "Relu" input: "a" output: "b" } } } }
      op { type: "HasScope" input: "s" output: "has" }"""
    with pytest.raises(VerifyError, match="workspaces that Do left"):
        infer_types(import_net(read_net(used), inputs={"x": TensorType.parse("float[2]")}))
