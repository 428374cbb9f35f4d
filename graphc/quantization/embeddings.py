"""Embedding tables in quantised nets: what each loses and saves, and nets of which they are all that is quantised."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.input_shapes import assume_input_shapes
from graphc.ir import Graph, GraphcError
from graphc.passes.dce import Dce
from graphc.passes.quantize import Kind, find_layers, prepare
from graphc.passes.quantize.embeddings import EmbeddingTable, find_tables, rewrite_tables
from graphc.passes.quantize.fused_rows import pieces, unpacked
from graphc.quantization.measure import Difference
from graphc.quantization.method import Method
from graphc.quantization.report import LayerReport


def table_report(table: EmbeddingTable, in_float: bool, alone: float | None) -> LayerReport:
    """A row of the report. Its ratios are those of the table's numbers, the range is theirs."""
    values, difference = table.values, Difference()
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    operator = " ".join(table.readers)
    if in_float:
        return LayerReport(table.name, operator, "float", low, high, alone=alone, float_bytes=values.nbytes)
    for rows in pieces(*values.shape):
        difference.add(values[rows], unpacked(table.rows[rows], table.bits))
    return LayerReport(
        table.name,
        operator,
        f"int{table.bits}",
        low,
        high,
        sqnr=difference.sqnr,
        weight_sqnr=difference.sqnr,
        alone=alone,
        float_bytes=values.nbytes,
        int8_bytes=table.rows.nbytes,
    )


def require_choices(names: Sequence[str], method: Method) -> None:
    """There is something to quantise, and what shall stay in float is among it; raises ``GraphcError``.

    names: of the products and tables.
    """
    if not names:
        raise GraphcError(
            "the net has no layer and no embedding table that could be quantised",
            "convolutions, FC and the tables of look-ups can, if their weights are in the init net",
        )
    unknown = sorted(set(method.in_float) - set(names))
    if unknown:
        raise GraphcError(f"there is no layer '{unknown[0]}' to keep in float", f"layers: {', '.join(names[:40])}")


def tables_alone(graph: Graph, method: Method) -> tuple[Graph, Graph, list[EmbeddingTable]]:
    """Of an imported graph: it, prepared, with notes on tables that stay in float; with others in few bits; these.

    It takes no data. Raises ``GraphcError`` where something else was to be quantised, and for options that need data.
    """
    products = _products_in_float(graph.clone(), method)
    prepare(graph)
    tables, notes = ([], []) if method.embeddings is None else find_tables(graph, method.embeddings)
    graph.notes += notes
    require_choices([*(table.name for table in tables), *products] if tables else [], method)
    after = graph.clone()
    rewrite_tables(after, [table for table in tables if table.name not in method.in_float])
    Dce().run(after)
    return graph, after, tables


def _products_in_float(graph: Graph, method: Method) -> list[str]:
    """The products that a user keeps in float; raises ``GraphcError`` for others, and what else depends on data.

    The graph is typed for the shapes that fit its weights.
    """
    assume_input_shapes(graph)
    prepare(graph)
    layers = [] if method.tables_only else find_layers(graph)
    products = [layer.name for layer in layers if layer.kind is Kind.PRODUCT]
    names = [name for name in products if name not in method.in_float]
    what = f"the ranges of {len(names)} layers ('{names[0]}', ...)" if names else ""
    what = what or ("the loss" if method.max_loss is not None or method.attribute else "")
    if what:
        raise GraphcError(
            f"{what} cannot be measured: there is no calibration data",
            "give it (--calibrate, calibrate=), or quantise embedding tables alone (--tables-only, tables_only=True)",
        )
    return products
