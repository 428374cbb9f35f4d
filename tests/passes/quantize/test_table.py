"""Tables of scales: printed, read again, and assigned."""

from __future__ import annotations

import pytest
from small_quantized_nets import branching_net, observed

from graphc.ir import GraphcError, Quant
from graphc.passes.quantize import QuantTable, assign, choose_layers, find_layers, parse_table
from graphc.passes.quantize.scales import affine
from graphc.passes.quantize.table import tied


def test_tables_parse_back() -> None:
    table = QuantTable({"a": Quant(0.1, 3), 'with "quotes" \\ and space': Quant(1e-38, 255)}, ["conv 1"])
    assert parse_table(str(table)) == table
    assert str(table).splitlines()[1] == '"a"  scale 0.1  zero 3'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a scale 1 zero 3", "line 1 of the table is"),
        ('"a" scale x zero 3', "has the scale 'x'"),
        ('"a" scale 0 zero 3', "scale 0 and zero point 3"),
        ('"a" scale nan zero 3', "scale nan and zero point 3"),
        ('"a" scale 1 zero 256', "scale 1 and zero point 256"),
    ],
)
def test_wrong_lines_are_named(line: str, said: str) -> None:
    with pytest.raises(GraphcError, match=said):
        parse_table(line)


def test_ties_follow_what_moves_numbers() -> None:
    layers = find_layers(branching_net())
    found = {frozenset(group) for group in tied(layers)}
    assert frozenset({"left", "right", "joined", "pooled"}) in found
    assert {frozenset({n}) for n in ("data", "one", "two", "added", "mean", "scores")} <= found


def test_scales_cover_all_tied_values() -> None:
    graph = branching_net()
    layers = find_layers(graph)
    seen, _ = observed(graph, layers)
    table = assign(layers, seen, "min-max")
    joined = affine(min(seen[n].low for n in ("left", "right")), max(seen[n].high for n in ("left", "right")))
    assert table.of("left") == table.of("pooled") == joined
    assert table.of("scores") == affine(seen["scores"].low, seen["scores"].high)
    with pytest.raises(GraphcError, match="no row for 'prob'"):
        table.of("prob")
    with pytest.raises(GraphcError, match="was never observed"):
        assign(layers, {}, "min-max")


def test_what_lies_between_floats_stays_in_float() -> None:
    layers = find_layers(branching_net())
    names = [layer.name for layer in layers]
    assert names == ["one", "left", "right", "joined", "pooled", "two", "added", "mean", "scores"]
    assert [n.name for n in choose_layers(layers)] == names
    assert [n.name for n in choose_layers(layers, ["scores"])] == names[:6]
    assert [n.name for n in choose_layers(layers, ["left"])] == ["one", "right", "two", "scores"]
    assert choose_layers(layers, ["one", "left", "right", "two", "scores"]) == []
