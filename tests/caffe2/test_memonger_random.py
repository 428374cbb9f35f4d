"""Properties of memonger's rewrites on random nets: run on blobs that are overwritten, every operator still gets the
same inputs, in every order that the original net allows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from memonger_nets import Trace, count_blobs, last_values, must_follow, random_net, random_order

from graphc.caffe2 import memonger

SEEDS = range(40)


def same_in_order(before: Any, after: Any) -> bool:
    return Trace(before).inputs == Trace(after).inputs


def same_in_every_order(r: random.Random, before: Any, after: Any) -> None:
    want, waits, waits_after = Trace(before).inputs, must_follow(before), must_follow(after)
    for _ in range(8):
        order = random_order(r, waits)
        assert Trace(before, order).inputs == want
        assert Trace(after, order).inputs == want, order
        assert Trace(after, random_order(r, waits_after)).inputs == want


@pytest.mark.parametrize("seed", SEEDS)
def test_for_dag(seed: int) -> None:
    r = random.Random(seed)
    net = random_net(r, r.randint(2, 40), "dag")
    found = memonger.optimize_inference_for_dag(net, ["in0", "in1"], "scope/")
    same_in_every_order(r, net, found)
    wanted = [*net.external_output, *net.external_input]
    assert last_values(found, wanted) == last_values(net, wanted)
    assert memonger.verify_graph_equality(net, found)
    assert memonger.verify_inplace_blobs(net, found)


@pytest.mark.parametrize("seed", SEEDS)
def test_for_dag_with_shapes_and_a_part_of_the_operators(seed: int) -> None:
    r = random.Random(seed)
    net = random_net(r, r.randint(2, 40))
    blobs = sorted({b for op in net.op for b in op.output} - set(net.external_output))
    first = r.randrange(len(net.op))
    heads = sorted({b for op in net.op[first:] for b in op.input} - {b for op in net.op[first:] for b in op.output})
    shapes = {b: [r.randint(1, 9)] for b in blobs}
    kept = set(r.sample(blobs, len(blobs) // 5))
    scope = range(first, len(net.op))
    found = memonger.compute_blob_recycling_for_dag(net, heads, scope, set(blobs) - set(heads), "", kept, shapes)
    same_in_every_order(r, net, found)
    assert last_values(found, kept) == last_values(net, kept)


@pytest.mark.parametrize("seed", SEEDS)
def test_fast(seed: int) -> None:
    r = random.Random(seed)
    net = random_net(r, r.randint(2, 40))
    static = [f"b{i}" for i in range(len(net.op)) if r.random() < 0.1]
    found = memonger.optimize_inference_fast(net, static)
    assert same_in_order(net, found)
    wanted = [*net.external_output, *net.external_input, *static]
    assert last_values(found, wanted) == last_values(net, wanted)


@pytest.mark.parametrize(
    "order", [memonger.topological_sort_traversal, memonger.topological_sort_traversal_longest_path]
)
@pytest.mark.parametrize("seed", SEEDS[:20])
def test_interference(seed: int, order: Callable[[Any], list[int]]) -> None:
    pytest.importorskip("networkx")
    r = random.Random(seed)
    net = random_net(r, r.randint(2, 25))
    blobs = {b for op in net.op for b in (*op.input, *op.output)}
    sizes = {b: r.randint(1, 100) for b in blobs} if r.random() < 0.5 else None
    algo = r.choice(list(memonger.AssignmentAlgorithm))
    found = memonger.optimize_interference(net, ["in0"], order, sizes, algo)
    positions = order(memonger.compute_interference_graph(net.op))
    assert sorted(positions) == list(range(len(net.op)))
    assert all(positions.index(i) < positions.index(j) for j, waits in enumerate(must_follow(net)) for i in waits)
    reordered = type(net)()
    reordered.op.extend(net.op[i] for i in positions)
    assert same_in_order(reordered, found.net)
    wanted = [*net.external_output, *net.external_input]
    assert last_values(found.net, wanted) == last_values(reordered, wanted)
    memonger.verify_assignments(found.assignments)
    assert sorted(name for a in found.assignments for name, _ in a) == sorted(blobs)
    assert count_blobs(found.net) == len(found.assignments)


@pytest.mark.parametrize("seed", SEEDS)
def test_release(seed: int) -> None:
    r = random.Random(seed)
    net = random_net(r, r.randint(2, 40))
    found = memonger.release_blobs_when_used(net, {"b0"})
    kept = [op for op in found.op if op.type != "Free"]
    assert [op.SerializeToString() for op in kept] == [op.SerializeToString() for op in net.op]
    assert all(b != "b0" for op in found.op if op.type == "Free" for b in op.input)
    trace, positions = Trace(found), [i for i, op in enumerate(found.op) if op.type != "Free"]
    freed_early = {hash(("freed", b)) for op in net.op for b in (*op.input, *op.output)}
    assert not any(freed_early.intersection(trace.inputs[i]) for i in positions)
    assert not freed_early.intersection(trace.blobs[b] for b in net.external_output)
    assert len({op.input[0] for op in found.op if op.type == "Free"}) == len(found.op) - len(net.op)
