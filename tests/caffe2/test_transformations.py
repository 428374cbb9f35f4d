"""Rewritten nets give the same answers, and nets that must not be rewritten stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from interpreted_net import interpreted

from graphc.caffe2 import core, workspace
from graphc.caffe2.transformations import Transformer, addNNPACK, fuseConvBN, fuseNNPACKConvRelu, optimizeForMKLDNN

STATISTICS = ["scale", "bias", "mean", "var"]


def types(net: core.Net) -> list[str]:
    return [op.type for op in net.Proto().op]


def feed(order: str = "NCHW") -> None:
    rng = np.random.default_rng(1)
    shapes = {"X": (1, 3, 6, 5), "w": (3, 3, 3, 3), "b": (3,), **dict.fromkeys(STATISTICS, (3,))}
    for name, shape in shapes.items():
        array = rng.random(shape, np.float32) + (0.5 if name == "var" else 0.0)
        if order == "NHWC" and array.ndim == 4:
            array = np.moveaxis(array, 1, -1)
        workspace.FeedBlob(name, array.astype(np.float32))


def conv_bn(inputs: list[str], **kwargs: Any) -> core.Net:
    net = core.Net("net")
    order = kwargs.pop("order", "NCHW")
    net.Conv(inputs, ["Y"], kernel=3, order=order)
    settings = {"is_test": 1, "epsilon": 1e-3, "order": order, **kwargs}
    net.SpatialBN(["Y", *STATISTICS], ["Y2"], **settings)
    return net


def test_batch_normalisation_goes_into_the_weights() -> None:
    feed()
    net = conv_bn(["X", "w", "b"])
    (before,) = interpreted(net, "Y2")
    fuseConvBN(net)
    assert types(net) == ["Conv"]
    np.testing.assert_allclose(interpreted(net, "Y2")[0], before, rtol=1e-4, atol=1e-5)


def test_weights_in_the_other_layout_and_a_new_bias() -> None:
    feed("NHWC")
    scale, shift, mean, var, weight = workspace.FetchBlobs([*STATISTICS, "w"])
    workspace.FeedBlob("Y_bias", np.zeros(1))  # taken
    net = conv_bn(["X", "w"], order="NHWC")
    fuseConvBN(net)
    factor = scale / np.sqrt(var + 1e-3)
    np.testing.assert_allclose(workspace.FetchBlob("w"), weight * factor[:, None, None, None], rtol=1e-5)
    bias = net.Proto().op[0].input[2]
    assert bias not in ("Y_bias", "bias")
    assert bias in net.Proto().external_input
    np.testing.assert_allclose(workspace.FetchBlob(bias), shift - mean * factor, rtol=1e-5, atol=1e-6)


def test_batch_normalisation_that_has_to_stay() -> None:
    feed()
    inputs = ["X", "w", "b"]
    nets = [core.Net("trains"), conv_bn(inputs), conv_bn(inputs), conv_bn(inputs), conv_bn(["X", "computed", "b"])]
    nets[0].Conv(inputs, ["Y"], kernel=3)
    nets[0].SpatialBN(["Y", *STATISTICS], ["Y2", "mean", "var", "saved_mean", "saved_var"], is_test=0)
    nets[1].Relu("Y", "other reader")
    nets[2].Proto().external_output.append("Y")
    nets[3].Conv(["Y2", "w", "b"], "Z", kernel=3)  # the same weights once more
    computed = core.CreateOperator("Copy", "w", "computed")
    nets[4].insert_op_at_idx(computed, 0)
    workspace.FeedBlob("computed", workspace.FetchBlob("w"))
    weights = workspace.FetchBlob("w")
    for net in nets:
        before = net.Proto().SerializeToString()
        fuseConvBN(net)
        assert net.Proto().SerializeToString() == before, net
    workspace.RemoveBlob("mean")
    missing = conv_bn(inputs)
    fuseConvBN(missing)
    assert len(types(missing)) == 2
    assert np.array_equal(workspace.FetchBlob("w"), weights)


@pytest.mark.parametrize(("middle", "last"), [("Y", "Y2"), ("Y", "Y"), ("Y", "X")])
def test_relu_becomes_a_part_of_convolutions(middle: str, last: str) -> None:
    feed()
    net = core.Net("net")
    net.Conv(["X", "w", "b"], [middle], kernel=3)
    net.Relu([middle], [last])
    net.Negative([last], ["out"])
    workspace.FeedBlob("b", np.full(3, -8, np.float32))
    plain = net.Clone("plain")
    addNNPACK(net)
    assert net.Proto().op[0].engine == "NNPACK"
    fuseNNPACKConvRelu(net)
    assert types(net) == ["ConvRelu", "Negative"]
    fused = net.Proto().op[0]
    assert [arg.s for arg in fused.arg if arg.name == "activation"] == [b"Relu"]
    assert fused.output[0] not in fused.input
    (found,) = interpreted(net, "out")
    np.testing.assert_allclose(found, interpreted(plain, "out")[0], rtol=1e-5, atol=1e-5)
    assert (found == 0).any()


def test_relu_that_others_do_not_see_past() -> None:
    net = core.Net("net")
    net.Conv(["X", "w", "b"], ["Y"], kernel=3)
    net.Relu(["Y"], ["Y2"])
    net.Relu(["Y"], ["Y3"])
    addNNPACK(net)
    fuseNNPACKConvRelu(net)
    assert types(net) == ["Conv", "Relu", "Relu"]


def test_pools_after_relu() -> None:
    feed()
    net = core.Net("net")
    net.Conv(["X", "w", "b"], ["Y"], kernel=3)
    net.MaxPool(["Y"], ["Y1"], kernel=2)
    net.Relu(["Y1"], ["Y1"])
    workspace.FeedBlob("b", np.full(3, -6, np.float32))
    (before,) = interpreted(net, "Y1")
    Transformer().SinkMaxPool(net)
    assert types(net) == ["Conv", "Relu", "MaxPool"]
    assert np.array_equal(interpreted(net, "Y1")[0], before)
    optimizeForMKLDNN(net)
    assert types(net) == ["Conv", "Relu", "MaxPool"]


def test_what_is_computed_twice_or_in_vain() -> None:
    net = core.Net("net")
    for name in ("a", "b", "given"):
        net.Relu("x", name)
    net.Add(["a", "b"], "sum")
    net.Sigmoid("sum", "unused")
    for name in ("r", "s"):
        net.UniformFill([], name, shape=[1])
    net.Proto().external_output.extend(["sum", "given"])
    once = workspace.ApplyTransform("CommonSubexpressionElimination", net)
    assert [op.type for op in once.op].count("Relu") == 2  # one, and the declared one
    assert list(once.op[2].input) == ["a", "a"]
    assert [op.type for op in once.op].count("UniformFill") == 2
    clean = workspace.ApplyTransform("DeadCodeElim", once)
    assert [op.type for op in clean.op] == ["Relu", "Relu", "Add", "UniformFill", "UniformFill"]
    assert len(net.Proto().op) == 7
    assert workspace.ApplyTransform("DeadCodeElim", clean) == clean
    with pytest.raises(RuntimeError, match="no transform 'Unknown'"):
        workspace.ApplyTransform("Unknown", net)
    with pytest.raises(AttributeError, match=r"Unknown not found\. graphc has"):
        Transformer().Unknown(net)


def test_only_if_faster() -> None:
    init, net = core.Net("init"), core.Net("net")
    init.ConstantFill([], "x", shape=[4], value=1.0)
    net.Relu("x", "y")
    net.Relu("x", "z")
    net.Add(["y", "z"], "sum")
    net.Proto().external_output.append("sum")
    arguments = ("CommonSubexpressionElimination", net, init, 1, 2)
    assert len(workspace.ApplyTransformIfFaster(*arguments, improvement_threshold=0.0).op) == 2
    assert len(workspace.ApplyTransformIfFaster(*arguments, improvement_threshold=1e9).op) == 3
    assert not workspace.HasBlob("x")
    assert workspace.CurrentWorkspace() == "default"
