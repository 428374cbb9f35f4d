"""Nets without gradients: which blobs share, by hand, and what is refused or left alone, with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from memonger_nets import lines, net, renamings

from graphc.caffe2 import memonger
from graphc.caffe2.proto import caffe2_pb2

CHAIN = "FC x w b -> a\nRelu a -> a\nFC a w b -> c\nRelu c -> d\nSoftmax d -> y"
BRANCHES = """
FC x w1 b1 -> a
FC a w2 b2 -> b
FC b w3 b3 -> c
FC c w4 b4 -> d
FC b v3 c3 -> e
FC e v4 c4 -> f
Sum d f -> g
Softmax g -> y
"""


def optimised_for_dag(message: Any) -> Any:
    return memonger.optimize_inference_for_dag(message, ["x"])


def optimised_fast(message: Any) -> Any:
    return memonger.optimize_inference_fast(message, ["x"])


BOTH = pytest.mark.parametrize("optimised", [optimised_for_dag, optimised_fast])


def test_fast() -> None:
    """``a`` is read last by the second FC; ``c``, made there, needs storage of its own, ``d`` takes over ``a``'s."""
    found = memonger.optimize_inference_fast(net(CHAIN, "x w b", "y"), [])
    assert lines(found) == [
        "FC x w b -> __m0_shared",
        "Relu __m0_shared -> __m0_shared",
        "FC __m0_shared w b -> __m1_shared",
        "Relu __m1_shared -> __m0_shared",
        "Softmax __m0_shared -> y",
    ]


def test_fast_makes_no_operator_write_one_blob_twice() -> None:
    text = "Copy x -> a\nCopy a -> b\nCopy b -> c\nSplit c -> d e\nSum d e -> f\nSum f f -> g\nRelu g -> y"
    found = memonger.optimize_inference_fast(net(text, "x", "y"), [])
    assert all(len(set(op.output)) == len(op.output) for op in found.op)


def test_for_dag() -> None:
    """``c`` takes over ``a``, which is over when the branches begin. They run at the same time, so ``d`` and ``f`` need
    storage of their own: what the other branch leaves is not theirs. The sum comes after both.
    """
    before = net(BRANCHES, "x w1 w2 w3 w4 v3 v4 b1 b2 b3 b4 c3 c4", "y", "dag")
    found = memonger.optimize_inference_for_dag(before, ["x"], "s/")
    assert dict(renamings(before, found)) == dict.fromkeys("acg", "s/__m0_shared")


def test_the_net_given_is_not_changed() -> None:
    before = net(CHAIN, "x w b", "y")
    text = before.SerializeToString()
    for found in (optimised_fast(before), optimised_for_dag(before), memonger.release_blobs_when_used(before, set())):
        assert found is not before
    assert before.SerializeToString() == text


@BOTH
def test_objects_with_a_message_serve_as_nets(optimised: Callable[[Any], Any]) -> None:
    class CoreNet:
        def Proto(self) -> Any:
            return net(CHAIN, "x w b", "y")

    assert lines(optimised(CoreNet())) == lines(optimised(net(CHAIN, "x w b", "y")))


@BOTH
@pytest.mark.parametrize("wrong", ["net.pb", b"", None, 3, caffe2_pb2.OperatorDef()])
def test_what_is_no_net_is_refused(optimised: Callable[[Any], Any], wrong: object) -> None:
    with pytest.raises(memonger.MemongerError, match="is not a net"):
        optimised(wrong)


@BOTH
def test_declared_outputs_keep_their_blobs(optimised: Callable[[Any], Any]) -> None:
    found = optimised(net(CHAIN + "\nRelu y -> z\nRelu z -> q\nRelu q -> p", "x w b", "d y p"))
    assert {"d", "y", "p"} <= {b for op in found.op for b in op.output}


@BOTH
def test_without_declared_outputs_what_nobody_reads_is_kept(optimised: Callable[[Any], Any]) -> None:
    text = "Copy x -> a\nCopy a -> b\nCopy b -> c\nCopy b -> loss\nCopy c -> d\nRelu d -> d"
    kept = {b for op in optimised(net(text, "x")).op for b in op.output}
    assert {"loss", "d"} <= kept
    assert len(kept) < 6


@BOTH
def test_with_declared_outputs_what_nobody_reads_may_share(optimised: Callable[[Any], Any]) -> None:
    text = "Split x -> a b\nSum a b -> c\nDropout c -> d mask\nCopy d -> y"
    assert "mask" not in {b for op in optimised(net(text, "x", "y")).op for b in op.output}


@BOTH
def test_blobs_with_state_or_shared_storage_stay(optimised: Callable[[Any], Any]) -> None:
    text = "Copy x -> a\nAlias a -> b\nCopy b -> c\nAccumulate c -> acc\nCopy acc -> d\nCopy d -> e\nCopy e -> y"
    new = dict(renamings(net(text, "x", "y"), optimised(net(text, "x", "y"))))
    assert not {"a", "b", "acc"}.intersection(new)


@BOTH
def test_what_nested_nets_read_stays(optimised: Callable[[Any], Any]) -> None:
    message = net("Copy x -> a\nCopy a -> b\nCopy b -> c\nIf c -> d\nCopy d -> e\nCopy e -> y", "x", "y")
    body = message.op[3].arg.add(name="then_net").n
    body.CopyFrom(net("Copy a -> d"))
    new = dict(renamings(message, optimised(message)))
    assert "a" not in new
    assert "d" not in new


def test_fast_leaves_a_weight_alone_that_the_net_writes() -> None:
    text = "Copy x -> a\nCopy a -> b\nSum b w -> c\nCopy c -> w\nCopy w -> d\nCopy d -> y"
    found = memonger.optimize_inference_fast(net(text, "x", "y"), [])
    assert "w" not in dict(renamings(net(text), found))


@pytest.mark.parametrize("kind", ["dag", "async_scheduling"])
def test_fast_says_why_it_does_nothing_for_nets_without_order(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    found = memonger.optimize_inference_fast(net(CHAIN, "x w b", "y", kind), [])
    assert lines(found) == lines(net(CHAIN))
    assert f"cannot optimize memory for nets of type {kind}" in caplog.text


def test_fast_says_why_it_does_nothing_for_recurrent_nets(caplog: pytest.LogCaptureFixture) -> None:
    text = "Copy x -> a\nRecurrentNetwork a -> b\nCopy b -> c\nCopy c -> y"
    assert lines(memonger.optimize_inference_fast(net(text, "x", "y"), [])) == lines(net(text))
    assert "does not support RecurrentNetwork" in caplog.text


def test_fast_says_why_it_does_nothing_the_second_time(caplog: pytest.LogCaptureFixture) -> None:
    once = memonger.optimize_inference_fast(net(CHAIN, "x w b", "y"), [])
    assert not caplog.text
    assert lines(memonger.optimize_inference_fast(once, [])) == lines(once)
    assert "already memongered" in caplog.text


def test_fast_says_why_it_does_nothing_where_nothing_may_share(caplog: pytest.LogCaptureFixture) -> None:
    memonger.optimize_inference_fast(net("Relu x -> y", "x", "y"), [])
    assert "no blob may share" in caplog.text


def test_static_blobs_stay() -> None:
    found = memonger.optimize_inference_fast(net(CHAIN, "x w b", "y"), ["d"])
    assert "d" in {b for op in found.op for b in op.output}


def test_for_dag_twice_takes_other_names() -> None:
    text = "Copy x -> a\nCopy a -> b\nCopy b -> c\nSum b c -> d\nCopy d -> e\nCopy e -> y"
    once = memonger.optimize_inference_for_dag(net(text, "x", "y"), ["x"])
    twice = memonger.optimize_inference_for_dag(once, ["x"])
    assert memonger.verify_graph_equality(net(text), twice)


def test_for_dag_refuses_inputs_that_are_not_declared() -> None:
    with pytest.raises(AssertionError, match="w not in external input"):
        memonger.optimize_inference_for_dag(net(CHAIN, "x b", "y"), ["x"])


def test_for_dag_refuses_gradients() -> None:
    message = net(CHAIN, "x w b", "y")
    message.op[1].is_gradient_op = True
    with pytest.raises(AssertionError, match="inference-only nets"):
        memonger.optimize_inference_for_dag(message, ["x"])


def test_for_dag_refuses_what_has_to_be_in_place() -> None:
    with pytest.raises(RuntimeError, match="'A' and writes 'B', which have to be one blob"):
        memonger.optimize_inference_for_dag(net("IndexFreeze A -> B\nSum B B -> C", "A", "C"), ["A"])


@pytest.mark.parametrize(
    ("text", "heads", "reason"),
    [
        (CHAIN, ["nothing"], "no operator in question reads one of nothing"),
        ("Relu x -> y", ["x"], "no blob may share"),
        ("Relu x -> a\nSum x a -> y", ["x"], "no blob begins its life after another's is over"),
    ],
)
def test_for_dag_says_why_nothing_is_shared(
    text: str, heads: list[str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = memonger.optimize_inference_for_dag(net(text, "x w b", "y"), heads)
    assert lines(found) == lines(net(text))
    assert reason in caplog.text


def test_for_dag_says_how_much(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "memonger")
    memonger.optimize_inference_for_dag(net(CHAIN, "x w b", "y"), ["x"])
    assert "Remapping 2 using 1 shared blobs." in caplog.text
    assert "Blobs: 6 of 7 are left (86 %)." in caplog.text


def test_operators_that_heads_do_not_reach_keep_their_blobs() -> None:
    text = "Copy x -> a\nCopy a -> b\nCopy b -> c\nCopy z -> p\nCopy p -> q\nCopy q -> r\nSum c r -> y"
    new = dict(renamings(net(text, "x z", "y"), memonger.optimize_inference_for_dag(net(text, "x z", "y"), ["x"])))
    assert set(new) == {"a", "c"}


def test_devices_do_not_mix() -> None:
    """``b`` is on the GPU, the copy of it on the CPU though a GPU's operator makes it; ``e`` may be where ``a`` was."""
    text = """
    Copy x -> a
    CopyCPUToGPU a -> b
    Relu b -> c
    CopyGPUToCPU c -> d
    Copy d -> e
    CopyCPUToGPU e -> f
    Copy f -> y
    """
    message = net(text, "x", "y")
    for i in (1, 2, 3, 5):
        message.op[i].device_option.device_type = caffe2_pb2.CUDA
    new = dict(renamings(message, memonger.optimize_inference_for_dag(message, ["x"])))
    assert new["a"] == new["d"]
    assert new["b"] == new["f"]
    assert new["a"] != new["b"]


@pytest.mark.parametrize(("sizes", "taken"), [((9, 4, 6), "c"), ((9, 4, 5), "c"), ((5, 4, 2), "a"), ((3, 4, 2), "b")])
def test_best_fit(sizes: tuple[int, int, int], taken: str) -> None:
    """``d`` has 5 elements: it takes the smallest storage that is large enough, else the largest."""
    message = net("Split x -> a b c\nSum a b c -> e\nCopy e -> d\nCopy d -> y", "x", "y")
    shapes = {"a": [sizes[0]], "b": [sizes[1], 1], "c": [sizes[2]], "d": [5], "e": [1]}
    found = memonger.compute_blob_recycling_for_dag(message, ["x"], range(4), set("abcde"), "", set(), shapes)
    new = dict(renamings(message, found))
    assert {old for old, name in new.items() if name == new["d"]} == {taken, "d"}


def test_positions_that_the_net_does_not_have() -> None:
    with pytest.raises(memonger.MemongerError, match="the net has 5 operators"):
        memonger.compute_blob_recycling_for_dag(net(CHAIN), ["x"], [7], {"a"}, "", set(), {})


def test_a_shareable_blob_that_is_read_first() -> None:
    message = net("Copy a -> b\nCopy x -> a\nCopy a -> c", "x")
    found = memonger.compute_blob_recycling_for_dag(message, ["x"], range(3), {"a", "b", "c"}, "", set(), {})
    assert lines(found) == lines(message)


def test_operators_out_of_scope_that_still_read() -> None:
    """``a`` may not be taken over by ``d``: an operator that is not among those in question reads it, at any time."""
    message = net("Copy x -> a\nCopy a -> b\nCopy b -> c\nCopy c -> d\nCopy d -> y\nCopy a -> late", "x", "y late")
    found = memonger.compute_blob_recycling_for_dag(message, ["x"], range(5), set("abcd"), "", set(), {})
    assert "a" not in dict(renamings(message, found))
