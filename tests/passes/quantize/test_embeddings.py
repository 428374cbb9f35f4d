"""Which constants are embedding tables, and what reads them afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import Graph, GraphcError, evaluate
from graphc.ir.builder import Builder
from graphc.passes.quantize.embeddings import find_tables, rewrite_tables
from graphc.passes.quantize.fused_rows import unpacked

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(9, 10)).astype(np.float32)
IDS, LENGTHS = np.array([8, 0, 3, 3]), np.array([1, 0, 3], np.int32)
FEEDS = {"ids": IDS, "lengths": LENGTHS, "weights": np.float32([1, 2, -1, 0.5]), "grid": IDS.reshape(2, 2)}


def lookups(data: np.ndarray = TABLE, ops: tuple[str, ...] = ("SparseLengthsSum",), **args: int) -> Graph:
    """A net in which each operator reads one table; ``Gather2`` stands for indices in two dimensions."""
    graph = Graph("net", "typed")
    build = Builder(graph)
    table = build.constant("table", data)
    ids, lengths = build.input("ids", "int64[4]"), build.input("lengths", "int32[3]")
    weights, grid = build.input("weights", "float[4]"), build.input("grid", "int64[2,2]")
    operands = {
        "Gather": [table, ids],
        "Gather2": [table, grid],
        "SparseLengthsWeightedSum": [table, weights, ids, lengths],
    }
    for op in ops:
        given = operands.get(op, [table, ids, lengths])
        build.output(build.op(op.rstrip("2"), given, args, name=f"{op}_out"))
    return graph


ALL = ("SparseLengthsSum", "SparseLengthsWeightedSum", "SparseLengthsMean", "Gather", "Gather2")


@pytest.mark.parametrize("bits", [8, 4])
def test_every_look_up_reads_the_one_packed_table(bits: int) -> None:
    graph = lookups(ops=ALL)
    (table,), notes = find_tables(graph, bits)
    assert (table.name, table.bits, table.readers, notes) == ("table", bits, ALL[:4], [])
    rewrite_tables(graph, [table])
    ops = [f"{op}Fused{bits}BitRowwise" for op in ALL[:3]]
    decoded = ["Gather", f"Fused{bits}BitRowwiseQuantizedToFloat"]
    assert [n.op for n in graph.nodes] == [*ops, *(["GatherFused8BitRowwise"] if bits == 8 else decoded), *decoded]
    assert [c.name for c in graph.constants if c.uses] == [f"table_int{bits}"]
    wanted = evaluate(lookups(unpacked(table.rows, bits), ALL), FEEDS)
    for name, found in evaluate(graph, FEEDS).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5, atol=1e-6)


def test_indices_from_the_end_stay_so() -> None:
    graph = lookups(ops=("Gather",), wrap_indices=1)
    rewrite_tables(graph, find_tables(graph, 8)[0])
    assert [n.op for n in graph.nodes] == ["Gather", "Fused8BitRowwiseQuantizedToFloat"]
    wrapped = evaluate(graph, FEEDS | {"ids": IDS - 9})["Gather_out"]
    np.testing.assert_array_equal(wrapped, evaluate(graph, FEEDS)["Gather_out"])


def test_what_stays_in_float_has_a_note() -> None:
    for graph, said in (
        (lookups(ops=("SparseLengthsSum", "SparseLengthsMax")), "SparseLengthsMax reads it"),
        (lookups(TABLE[:, :7]), "rows of 7 numbers are shorter than 8"),
        (lookups(TABLE.astype(np.float16)), "float16[9,10], no matrix of float32"),
        (lookups(ops=("Gather",), axis=1), "Gather reads it"),
        (lookups(TABLE.reshape(9, 5, 2), ("Gather",)), "float[9,5,2], no matrix"),
    ):
        tables, notes = find_tables(graph, 8)
        assert not tables
        assert len(notes) == 1
        assert notes[0].startswith("table 'table' stays in float: ")
        assert said in notes[0]
    unread = find_tables(lookups(np.arange(9), ("Gather",)), 8)
    assert unread == ([], [])  # indices of indices are no table


def test_eight_bits_where_four_cannot_be() -> None:
    for data, said in ((TABLE[:, :9], "9 numbers do not fill bytes"), (TABLE * 1e5, "beyond 32752")):
        (table,), (note,) = find_tables(lookups(data), 4)
        assert table.bits == 8
        assert said in note


def test_a_damaged_table_is_named() -> None:
    with pytest.raises(GraphcError, match="table 'table' has NaN"):
        find_tables(lookups(np.where(TABLE > 1, np.nan, TABLE)), 8)
