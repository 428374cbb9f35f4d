"""The text format: every graph comes back from its text, with its names, its numbers and its bits."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from random_graphs import random_graph

from graphc.ir import Builder, Graph, ParseError, TensorType, Value, constant_arrays, parse, print_graph
from graphc.ir.attrs import as_float32, format_scalar, parse_float


@pytest.mark.parametrize("seed", range(150))
def test_a_graph_comes_back_from_its_text(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    text = print_graph(graph)
    again = parse(text, constant_arrays(graph))
    assert print_graph(again) == text
    assert again == graph
    same_values(graph, again)


def same_values(a: Graph, b: Graph) -> None:
    """What the text could hide: hints, the weights' elements, the use lists, graphs inside."""
    assert [v.name for v in a.values()] == [v.name for v in b.values()]
    assert [v.type for v in a.values()] == [v.type for v in b.values()]
    assert [len(v.uses) for v in a.values()] == [len(v.uses) for v in b.values()]
    for v, w in zip(a.constants, b.constants):
        assert v.constant is not None
        assert w.constant is not None
        assert v.constant.name == w.constant.name
        assert v.data is not None
        assert w.data is not None
        assert v.data.dtype == w.data.dtype
        assert v.data.tolist() == w.data.tolist() if v.data.dtype == object else v.data.tobytes() == w.data.tobytes()
    assert len({v.constant for v in a.constants}) == len({v.constant for v in b.constants})
    for m, n in zip(a.nodes, b.nodes):
        assert (m.op, m.location, m.engine, m.device, list(m.attrs)) == (
            n.op,
            n.location,
            n.engine,
            n.device,
            list(n.attrs),
        )
        for inner, other in zip(m.subgraphs(), n.subgraphs()):
            same_values(inner, other)


@pytest.mark.parametrize("seed", range(50))
def test_a_clone_prints_the_same_and_shares_no_value(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    clone = graph.clone()
    same_values(graph, clone)
    assert clone == graph
    assert not set(clone.values()) & set(graph.values())


def test_weights_without_arrays_have_no_storage() -> None:
    graph = parse('graph "g" { constant %w : float[99] = @w }')
    assert graph.constants[0].data is None
    array = np.zeros(99, np.float32)
    assert parse(str(graph), {"w": array}).constants[0].data is array


def test_weights_of_one_name_keep_their_own_arrays() -> None:
    graph = Graph("g")
    for k in range(3):
        graph.add_constant("w", np.full(20, k, np.float32))
    arrays = constant_arrays(graph)
    assert sorted(arrays) == ["w", "w#1", "w#2"]
    again = parse(str(graph), arrays)
    assert [float(v.data[0]) for v in again.constants if v.data is not None] == [0, 1, 2]
    assert [v.name for v in again.constants] == ["w"] * 3


def test_floats_are_float32_unless_marked() -> None:
    assert format_scalar(as_float32(0.1)) == "0.1"
    assert format_scalar(0.1) == "0.1d"
    for x in (0.1, as_float32(0.1), 1e300, 5e-324, 16777216.0, as_float32(1e-45), -0.0):
        assert parse_float(format_scalar(x)) == x
    rng = np.random.default_rng(0)
    for bits in rng.integers(0, 2**32, 20000, dtype=np.uint32):
        x = float(bits.view(np.float32))
        assert x != x or parse_float(format_scalar(x)) == x


def test_comments_and_spacing_are_free() -> None:
    graph = parse('// head\ngraph "g"stage=typed{input %x:float[2]// x\n\n%y=Relu(%x){}output %y}\n')
    assert graph == parse('graph "g" stage=typed {\n  input %x : float[2]\n  %y = Relu(%x)\n  output %y\n}')


@pytest.mark.parametrize("seed", range(40))
def test_damaged_text_is_a_parse_error_or_another_graph(seed: int) -> None:
    r = random.Random(seed)
    text = print_graph(random_graph(r))
    for _ in range(10):
        at = r.randrange(len(text))
        damaged = text[:at] + r.choice(("", "%", '"', "}", "graph", "9", "\n")) + text[at + r.randrange(3) :]
        error = parse_error(damaged)
        assert error is None or ("line " in error.message and "^" in error.excerpt)


def parse_error(text: str) -> ParseError | None:
    try:
        parse(text)
    except ParseError as error:
        return error
    return None


def test_three_thousand_nodes_take_less_than_a_second() -> None:
    b = Builder(Graph("deep"))
    x = b.input("x", TensorType.parse("float[N,64,56,56]"))
    for i in range(3000):
        x = b.op("LeakyRelu", [x], {"alpha": 0.1}, f"layer{i}/out")
    b.output(x)
    text = str(b.graph)
    start = time.process_time()  # other processes do not count
    parse(text)
    assert time.process_time() - start < 1


def test_a_value_outside_the_graph_still_prints() -> None:
    """The verifier shows broken graphs."""
    graph = parse('graph "g" { input %x %y = Relu(%x) }')
    graph.nodes[0].set_operand(0, Value(TensorType(), "x"))
    assert "%y = Relu(%x#1)" in str(graph)
