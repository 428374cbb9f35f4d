"""Whether calibration data fits the tables that a net looks rows up in: said before the net runs, with the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir import Call, Graph, GraphcError, Node
from graphc.passes.quantize.embeddings import LOOKUPS
from graphc.quantization.calibration import Batch


def check_lookups(graph: Graph, batches: Sequence[Batch]) -> None:
    """Indices among the inputs name rows of the constants that they are looked up in, and lengths add up to them.

    Raises ``GraphcError`` naming batch, blob and table. Indices and lengths that the net computes are left to its
    operators.
    """
    for node in graph.nodes:
        if node.op in LOOKUPS:
            for i, batch in enumerate(batches):
                _check(node, batch, f"calibration data, batch {i + 1} of {len(batches)}")


def _check(node: Node, batch: Batch, where: str) -> None:
    names = ["" if v is None else v.name for v in node.operands]
    is_gather = node.op == "Gather"
    indices = batch.get(names[1 if is_gather else -2])
    if indices is None:
        return
    if not is_gather:
        _check_lengths(names, indices, batch.get(names[-1]), where)
    table, rows = names[0], _rows(node)
    if rows is not None and indices.size and not 0 <= (worst := _worst(indices, rows)) < rows:
        raise GraphcError(
            f"{where}: '{names[1 if is_gather else -2]}' has the index {worst}, the table '{table}' has {rows} rows",
            f"indices are from 0 to {rows - 1}: prepare them as for the net itself",
        )


def _check_lengths(names: Sequence[str], indices: np.ndarray, lengths: np.ndarray | None, where: str) -> None:
    if lengths is not None and int(lengths.sum()) != indices.size:
        raise GraphcError(
            f"{where}: '{names[-1]}' adds up to {int(lengths.sum())}, '{names[-2]}' has {indices.size} indices",
            "a length says how many of the indices belong to a sample",
        )


def _rows(node: Node) -> int | None:
    """Rows of a constant table; None where another dimension is indexed, or negative indices are allowed."""
    call, table = Call(node), node.operands[0]
    if table is None or not table.is_constant or not table.type.shape:
        return None
    if node.op == "Gather" and (call.arg("axis") or call.arg("match_outer") or call.arg("wrap_indices")):
        return None
    return int(table.type.static_shape[0])


def _worst(indices: np.ndarray, rows: int) -> int:
    """The index that is furthest outside, or any inside."""
    low, high = int(indices.min()), int(indices.max())
    return low if low < 0 else high
