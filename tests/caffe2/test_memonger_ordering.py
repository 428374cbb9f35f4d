"""The graph of what waits for what, and orders through it."""

from __future__ import annotations

from typing import Any

import pytest
from memonger_nets import lines, net

from graphc.caffe2 import memonger
from graphc.caffe2.memonger import ordering
from graphc.ir import GraphcError

pytest.importorskip("networkx")


def graph(text: str) -> Any:
    return memonger.compute_interference_graph(net(text).op)


def test_in_place_operators_in_a_row() -> None:
    assert list(graph("Copy b -> b\nCopy b -> b\nCopy b -> b").edges()) == [(0, 1), (0, 2), (1, 2)]


def test_nodes_and_edges_say_what_they_stand_for() -> None:
    g = graph("Split x -> a b\nSum a b -> c")
    assert g.nodes[0]["op"].type == "Split"
    assert g.edges[0, 1]["deps"] == {"a", "b"}


def test_a_write_waits_for_reads_and_writes_before_it() -> None:
    g = graph("Copy x -> a\nCopy a -> b\nCopy y -> a\nCopy z -> a")
    assert set(g.edges()) == {(0, 1), (0, 2), (1, 2), (2, 3)}
    assert g.edges[1, 2]["deps"] == {"a"}


def test_random_numbers_and_effects_keep_their_turn() -> None:
    g = graph("GaussianFill -> a\nCopy x -> y\nXavierFill -> b\nPrint x ->")
    assert set(g.edges()) == {(0, 2), (2, 3)}


def test_what_became_ready_last_comes_first() -> None:
    """As in Caffe2's own tests, which know the order of networkx 2.0."""
    g = graph("Copy x -> a\nCopy a -> b\nCopy y -> c\nSum b c -> d")
    assert memonger.topological_sort_traversal(g) == [2, 0, 1, 3]
    g = graph("Copy w0_ -> w0\nConv d w0 b0 -> c0\nCopy w2 -> w2\nConv c0 w2 b2 -> c2\nCopy d1 -> d2\nCopy d2 -> d3")
    assert memonger.topological_sort_traversal(g) == [4, 5, 2, 0, 1, 3]


def test_the_long_way_comes_first() -> None:
    """As in Caffe2's own tests: the short ways wait until they are needed."""
    two = "Copy w0_ -> w0\nConv data w0 b0 -> c0\nCopy w2 -> w2\nConv c0 w2 b2 -> c2"
    assert memonger.topological_sort_traversal_longest_path(graph(two)) == [0, 1, 2, 3]
    assert memonger.topological_sort_traversal_longest_path(graph(two + "\nCopy d1 -> d2\nCopy d2 -> d3")) == [
        *range(6)
    ]
    assert memonger.topological_sort_traversal_longest_path(graph("Copy a -> b")) == [0]


def test_ways_that_meet_early_come_together() -> None:
    text = """
    Copy x -> a1
    Copy y -> b1
    Copy a1 -> a2
    Copy z -> a3
    Sum a2 a3 -> a4
    Copy a4 -> a5
    Copy b1 -> b2
    Sum a5 b2 -> out
    """
    assert memonger.topological_sort_traversal_longest_path(graph(text)) == [0, 2, 3, 4, 5, 1, 6, 7]


def test_interference_by_hand() -> None:
    """a (0 to 1), b (1 to 2), c (2 to 3): c takes over a, and the result takes over b."""
    found = memonger.optimize_interference(net("Relu x -> a\nRelu a -> b\nRelu b -> c\nRelu c -> y", "x"), ["x"])
    assert found.blob_assignments == {"a": "c", "c": "c", "b": "y", "y": "y"}
    assert lines(found.net) == ["Relu x -> c", "Relu c -> y", "Relu y -> c", "Relu c -> y"]
    assert [[name for name, _ in a] for a in found.assignments] == [["a", "c"], ["b", "y"], ["x"]]


def test_interference_protects_what_comes_and_goes() -> None:
    """Neither the input nor the output that is read again was named as static."""
    before = net("Relu x -> y\nRelu y -> a\nRelu a -> b\nRelu b -> c\nRelu c -> z", "x", "y z")
    found = memonger.optimize_interference(before, [])
    assert found.blob_assignments == {"a": "c", "c": "c", "b": "z", "z": "z"}
    assert lines(before)[2] == "Relu a -> b", "the net given is not changed"


@pytest.mark.parametrize("order", [[1, 0], [0], [0, 0], [0, 1, 2]])
def test_an_order_that_is_none(order: list[int]) -> None:
    with pytest.raises(memonger.MemongerError, match="gives no order"):
        memonger.optimize_interference(net("Relu x -> a\nRelu a -> b"), [], lambda g: order)


def test_an_order_of_ones_own() -> None:
    found = memonger.optimize_interference(net("Relu x -> a\nRelu x -> b\nSum a b -> c"), [], lambda g: [1, 0, 2])
    assert lines(found.net) == ["Relu x -> b", "Relu x -> a", "Sum a b -> c"]


def test_a_bad_algorithm() -> None:
    with pytest.raises(memonger.MemongerError):
        memonger.optimize_interference(net("Relu x -> a"), [], algo="GREEDY")  # type: ignore[arg-type]


def test_without_networkx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "networkx", None)
    with pytest.raises(GraphcError, match="needs networkx"):
        graph("Copy x -> a")
