"""What rewritten nets are held against: checks that accept renamings, and notice nets that compute something else."""

from __future__ import annotations

import random
from typing import Any

import pytest
from memonger_nets import Trace, net, random_net

from graphc.caffe2 import memonger
from graphc.caffe2.memonger.verify import require_same
from graphc.caffe2.proto import caffe2_pb2

DIAMOND = "FC data w1 b1 -> x\nFC x w2 b2 -> y\nFC x w3 b3 -> z\nSum y z -> out"
LONG = "FC data w b -> x\nFC x w b -> y\nFC x w b -> z\nFC y w b -> u\nFC z w b -> v\nSum u v -> out"


@pytest.mark.parametrize(
    "other",
    [
        DIAMOND,
        "FC data v1 c1 -> o_x\nFC o_x v2 c2 -> o_y\nFC o_x v3 c3 -> o_z\nSum o_y o_z -> out",
    ],
)
def test_renamed_nets_are_equal(other: str) -> None:
    assert memonger.verify_graph_equality(net(DIAMOND), net(other))


def test_storage_that_is_used_again_is_equal() -> None:
    again = "FC data w b -> x\nFC x w b -> y\nFC x w b -> z\nFC y w b -> y2\nFC z w b -> z2\nSum y2 z2 -> out"
    shared = again.replace("y2", "y").replace("z2", "z")
    assert memonger.verify_graph_equality(net(LONG), net(shared))


@pytest.mark.parametrize(
    "other",
    [
        "FC data w1 b1 -> x\nFC x w2 b2 -> y\nFC x w3 b3 -> y\nSum y y -> out",
        "FC data w1 b1 -> x\nFC x w2 b2 -> y\nFC y w3 b3 -> z\nSum y z -> out",
        "FC data w1 b1 -> x\nFC x w2 b2 -> y\nFC x w3 b3 -> z\nSum z y -> out",
        "FC data w1 b1 -> x\nFC x w2 b2 -> x\nFC x w3 b3 -> z\nSum x z -> out",
        "FC data w1 b1 -> x\nFC x w2 b2 -> y\nFC x w3 b3 -> z\nMul y z -> out",
        "FC data w1 b1 -> x\nFC x w2 b2 -> y\nFC x w3 b3 -> z",
        "",
    ],
)
def test_other_nets_differ(other: str) -> None:
    assert not memonger.verify_graph_equality(net(DIAMOND), net(other))


def test_which_output_counts() -> None:
    assert not memonger.verify_graph_equality(net("Split x -> a b\nCopy a -> c"), net("Split x -> a b\nCopy b -> c"))


@pytest.mark.parametrize("field", ["engine", "device_type"])
def test_engines_and_devices_count(field: str) -> None:
    before, after = net(DIAMOND), net(DIAMOND)
    if field == "engine":
        after.op[1].engine = "CUDNN"
    else:
        after.op[1].device_option.device_type = caffe2_pb2.CUDA
    assert not memonger.verify_graph_equality(before, after)


def test_in_place_blobs() -> None:
    before = net("FC x w b -> y\nRelu y -> y\nSum y x -> z")
    assert memonger.verify_inplace_blobs(before, net("FC x w b -> a\nRelu a -> a\nSum a x -> c"))
    assert not memonger.verify_inplace_blobs(before, net("FC x w b -> y\nRelu y -> y2\nSum y2 x -> z"))
    assert not memonger.verify_inplace_blobs(before, net("FC x w b -> y\nRelu y -> y\nSum y x -> y"))
    assert not memonger.verify_inplace_blobs(before, net("FC x w b -> y\nAbs y -> y\nSum y x -> z"))


def test_what_is_wanted_has_to_survive() -> None:
    before, after = net("Relu x -> a\nRelu a -> b\nRelu b -> c"), net("Relu x -> a\nRelu a -> b\nRelu b -> a")
    require_same(before, after, ["b"])
    with pytest.raises(AssertionError, match="Blobs a, c hold something else"):
        require_same(before, after, ["a", "b", "c"])


def test_broken_rewrites_are_noticed() -> None:
    """One name is changed at a time: the check is right about whether the operators still get the same inputs."""
    r = random.Random(7)
    noticed = 0
    for _ in range(300):
        before = random_net(r, 12)
        after = type(before)()
        after.CopyFrom(before)
        break_one(r, after)
        same = Trace(before).inputs == Trace(after).inputs
        if memonger.verify_graph_equality(before, after):
            assert same or not inside(before, after)
        else:
            noticed += 1
            assert not same
    assert noticed > 100


def inside(before: Any, after: Any) -> bool:
    """All inputs that differ come from operators: what comes from outside may have another name."""
    makers: set[str] = set()
    for a, b in zip(before.op, after.op):
        for x, y in zip(a.input, b.input):
            if x != y and not {x, y} & makers:
                return False
        makers.update([*a.output, *b.output])
    return True


def break_one(r: random.Random, message: Any) -> None:
    op = r.choice(message.op)
    names = sorted({b for o in message.op for b in (*o.input, *o.output)})
    field = r.choice([op.input, op.output])
    field[r.randrange(len(field))] = r.choice(names)
