"""Embedding tables: weights whose rows indices choose, as fused rows of 8 or 4 bits with Caffe2's operators for them.

No data is needed: scale and bias of a row are those of its own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir import Call, DType, Graph, GraphcError, Node, Value
from graphc.ir.builder import Builder
from graphc.passes.matching import fresh_constant, is_output
from graphc.passes.quantize.fused_rows import packed

SUMS = ("SparseLengthsSum", "SparseLengthsWeightedSum", "SparseLengthsMean")
LOOKUPS = (*SUMS, "Gather")
LEAST_COLUMNS = 8
"""Shorter rows stay in float: with scale and bias they save less than half (Caffe2's SparseLookup.support_8bit)."""
LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class EmbeddingTable:
    """A table that can be stored in few bits.

    name: of the constant. readers: the kinds of operators that look rows up, in order. rows: the fused rows, uint8.
    values: the float32 numbers (R, C).
    """

    name: str
    readers: tuple[str, ...]
    bits: int
    rows: np.ndarray
    values: np.ndarray


def find_tables(graph: Graph, bits: int) -> tuple[list[EmbeddingTable], list[str]]:
    """The tables of a typed graph, packed, and notes on those that stay in float or get 8 bits instead of 4.

    A table is a float32 matrix of constants that only SparseLengthsSum, SparseLengthsWeightedSum, SparseLengthsMean and
    Gather (along the first dimension) read, as their first operand, with rows of 8 numbers or more. bits: 8 or 4; a
    table gets 8 for 4 where its rows are odd or beyond what half can hold. Raises ``GraphcError`` for NaN and
    infinities in it.
    """
    tables, notes = [], []
    for value in graph.constants:
        if not _is_looked_up(value):
            continue
        obstacle = _obstacle(graph, value)
        if obstacle:
            notes.append(f"table '{value.name}' stays in float: {obstacle}")
            continue
        data = np.asarray(value.data)
        _require_finite(value.name, data)
        own, why = _fitting_bits(data, bits)
        notes += [f"table '{value.name}' gets 8 bits: {why}"] if why else []
        readers = tuple(dict.fromkeys(node.op for node, _ in value.uses))
        tables.append(EmbeddingTable(value.name, readers, own, packed(data, own), data))
    return tables, notes


def rewrite_tables(graph: Graph, tables: Sequence[EmbeddingTable]) -> None:
    """Let a graph, or a copy of it, read these tables in few bits, in place; results keep their names.

    Sums become SparseLengths...Fused8BitRowwise or ...Fused4BitRowwise, a Gather of 8 bits by a vector of indices
    GatherFused8BitRowwise. Any other Gather takes fused rows, which Fused8BitRowwiseQuantizedToFloat or
    Fused4BitRowwiseQuantizedToFloat decodes.
    """
    constants = {v.name: v for v in graph.constants}
    for table in tables:
        old = constants[table.name]
        new = fresh_constant(graph, f"{table.name}_int{table.bits}", table.rows)
        for node in old.users:
            graph.replace(node.results[0], _lookup(graph, node, new, table.bits))
            graph.erase(node)


def _lookup(graph: Graph, node: Node, rows: Value, bits: int) -> Value:
    """What looks up fused rows instead of a node; its result, of the same name."""
    build, name = Builder(graph, node, node.location), node.results[0].name
    operands = [rows, *node.operands[1:]]
    if node.op != "Gather":
        return build.op(f"{node.op}Fused{bits}BitRowwise", operands, name=name)
    if bits == 8 and Call(node).type(1).rank == 1 and not Call(node).arg("wrap_indices"):
        return build.op("GatherFused8BitRowwise", operands, name=name)
    chosen = build.op("Gather", operands, node.attrs, name=f"{name}_rows")
    return build.op(f"Fused{bits}BitRowwiseQuantizedToFloat", [chosen], name=name)


def _is_looked_up(value: Value) -> bool:
    """A weight of float or half, of two dimensions or more, whose rows indices choose."""
    is_table = value.type.dtype in (DType.FLOAT, DType.FLOAT16) and len(value.type.shape or ()) > 1
    return is_table and value.data is not None and any(node.op in LOOKUPS and i == 0 for node, i in value.uses)


def _obstacle(graph: Graph, value: Value) -> str:
    """Why a constant that is looked up stays in float; nothing if it does not."""
    type = value.type
    if type.dtype is not DType.FLOAT or type.rank != 2:
        return f"it is {type}, no matrix of float32"
    if sum(c.name == value.name for c in graph.constants) > 1:
        return "another weight has its name"
    if type.static_shape[1] < LEAST_COLUMNS:
        return f"its rows of {type.static_shape[1]} numbers are shorter than {LEAST_COLUMNS}"
    if is_output(graph, value):
        return "it is an output"
    other = next((node for node, i in value.uses if i or not _has_counterpart(node)), None)
    return f"{other.op} reads it, which has no counterpart for packed rows" if other else ""


def _has_counterpart(node: Node) -> bool:
    """Caffe2 has an operator, or two, that do the same with fused rows."""
    if node.op != "Gather":
        return node.op in SUMS
    return Call(node).arg("axis") == 0 and not Call(node).arg("match_outer")


def _fitting_bits(data: np.ndarray, bits: int) -> tuple[int, str]:
    """The bits of a table's numbers, and why these are more than asked for."""
    if bits == 8:
        return 8, ""
    if data.shape[1] % 2:
        return 8, f"its rows of {data.shape[1]} numbers do not fill bytes with 4 each"
    if max(data.max(initial=0.0), -data.min(initial=0.0)) > LARGEST_HALF / 2:
        return 8, f"its numbers are beyond {LARGEST_HALF / 2:g}, and 4-bit rows have scale and bias in half precision"
    return 4, ""


def _require_finite(name: str, data: np.ndarray) -> None:
    if data.size and not (np.isfinite(data.min()) and np.isfinite(data.max())):
        raise GraphcError(
            f"table '{name}' has NaN or infinite elements",
            "repair the init net, or leave all tables in float (--embeddings float)",
        )
