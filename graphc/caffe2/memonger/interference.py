"""Share the blobs of a net after putting its operators in an order that suits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from graphc.caffe2.memonger.apply import apply_assignments
from graphc.caffe2.memonger.assignments import (
    AssignmentAlgorithm,
    compute_assignments,
    compute_blob_assignments,
    verify_assignments,
)
from graphc.caffe2.memonger.nets import Net, copy_of, message_of, names
from graphc.caffe2.memonger.order import dependencies
from graphc.caffe2.memonger.ordering import Graph, compute_interference_graph, topological_sort_traversal
from graphc.caffe2.memonger.protected import external_inputs, fixed_names, results
from graphc.caffe2.memonger.ranges import Assignment, compute_ranges
from graphc.caffe2.memonger.report import MemongerError
from graphc.caffe2.memonger.verify import require_same
from graphc.frontends.netdef.schema import Message


class Optimization(NamedTuple):
    """The rewritten net, which blobs share in the order in which they live, and the new names of those that do."""

    net: Message
    assignments: list[Assignment]
    blob_assignments: dict[str, str]


def optimize_interference(
    net: Net,
    static_blobs: Iterable[str],
    ordering_function: Callable[[Graph], Iterable[int]] = topological_sort_traversal,
    blob_sizes: Mapping[str, int] | None = None,
    algo: AssignmentAlgorithm = AssignmentAlgorithm.GREEDY,
) -> Optimization:
    """Put the operators in order, find the blobs' live ranges, assign them to each other, rename.

    Each blob that shares gets the name of the last that does, so that what the net leaves behind is found under its
    name. static_blobs: blobs that do not share. Besides, what comes from outside does not, nor what nested nets or
    other storage depend on, and nothing comes after a declared output. ordering_function: gives the operators'
    positions in an order that keeps the edges of the graph (``compute_interference_graph``), for instance
    ``topological_sort_traversal_longest_path``. blob_sizes: bytes by name, of all blobs.

    The net given is not changed; the result runs in order only. Raises ``MemongerError`` for an order that does not
    keep the edges, an unknown ``algo``, sizes that lack a blob.
    """
    found = copy_of(message_of(net))
    order = list(ordering_function(compute_interference_graph(found.op)))
    _require_order(found, order)
    ordered = [copy_of(found.op[i]) for i in order]
    del found.op[:]
    found.op.extend(ordered)
    wanted = results(found)
    ranges = compute_ranges(found.op, blob_sizes)
    ranges.update({b: ranges[b]._replace(used=None) for b in wanted if b in ranges})
    static = {*names(static_blobs), *external_inputs(found), *fixed_names(found)}
    assignments = compute_assignments(ranges, static, algo)
    verify_assignments(assignments)
    blob_assignments = compute_blob_assignments(assignments)
    before = copy_of(found)
    apply_assignments(found, blob_assignments)
    require_same(before, found, static | wanted)
    return Optimization(found, assignments, blob_assignments)


def _require_order(net: Message, order: list[int]) -> None:
    place = {node: i for i, node in enumerate(order)}
    complete = sorted(order) == list(range(len(net.op)))
    if not complete or any(place[parent] > place[i] for i, w in enumerate(dependencies(net.op)) for parent in w):
        raise MemongerError(
            "the ordering function gives no order in which the net computes the same",
            "give each operator's position once, after those of the operators from which its edges come",
        )
