"""Nets as graphs: read, matched, changed, and written back."""

from __future__ import annotations

import numpy as np
import pytest
from interpreted_net import interpreted

from graphc.caffe2 import core, workspace
from graphc.caffe2 import nomnigraph as ng
from graphc.caffe2.nomnigraph_transformations import transpose_network
from graphc.caffe2.proto import caffe2_pb2


def layers() -> core.Net:
    net = core.Net("layers")
    net.FC(["X", "W", "b"], ["Y"])
    net.Relu(["Y"], ["Y"])
    net.Sigmoid(["Y"], ["Z"])
    net.AddExternalOutput(core.BlobReference("Z"))
    return net


def test_reading() -> None:
    nn = ng.NNModule(layers())
    assert [node.name for node in nn.controlFlow] == ["FC", "Relu", "Sigmoid"]
    assert sorted(node.name for node in nn.tensors) == ["W", "X", "Y", "Y", "Z", "b"]
    fc, relu, sigmoid = nn.controlFlow
    assert (fc.type, fc.inputs[0].type) == ("Operator", "Tensor")
    assert [t.name for t in fc.inputs] == ["X", "W", "b"]
    assert relu.inputs[0].producer is fc
    assert fc.outputs[0].consumers == [relu]
    assert relu.getOperatorSuccessors() == [sigmoid]
    assert sigmoid.getOperatorPredecessors() == [relu]
    assert not fc.inputs[0].hasProducer()
    with pytest.raises(AssertionError, match="no operator makes X"):
        fc.inputs[0].getProducer()
    with pytest.raises(AssertionError, match="FC is no tensor"):
        fc.getTensor()
    assert "digraph" in str(nn.dataFlow)


def test_writing_gives_the_same_net() -> None:
    net = layers()
    proto = caffe2_pb2.NetDef.FromString(net.Proto().SerializeToString())
    proto.op[0].engine = "CUDNN"
    assert ng.NNModule(proto).convertToCaffe2Proto() == proto


def test_wrong_nodes_and_edges() -> None:
    nn = ng.NNModule()
    x, y = (nn.createNode(ng.Data(name)) for name in "xy")
    for wrong in (7, caffe2_pb2.NetDef()):
        with pytest.raises(TypeError, match="a node is a"):
            nn.dataFlow.createNode(wrong)
    with pytest.raises(AssertionError, match="joins an operator and a tensor"):
        nn.createEdge(x, y)
    with pytest.raises(AssertionError, match="no such edge"):
        nn.deleteEdge(x, y)
    with pytest.raises(Exception, match="can be constructed with"):
        ng.NNModule("net")
    option = caffe2_pb2.DeviceOption()
    with pytest.raises(Exception, match="has no blob Fake"):
        ng.NNModule(layers(), {"X": option, "Fake": option})
    a, b = (nn.createNode(ng.Operator(name)) for name in ("A", "B"))
    for tail, head in ((x, a), (a, y), (y, b), (b, x)):
        nn.createEdge(tail, head)
    with pytest.raises(AssertionError, match="wait for each other: A, B"):
        nn.convertToCaffe2Proto()


def test_other_order() -> None:
    """``a * b + d`` becomes ``(a + d) * b``."""
    net = core.Net("net")
    net.Mul(["a", "b"], ["c"])
    net.Add(["c", "d"], ["e"])
    nn = ng.NNModule(net)
    mul, add = nn.controlFlow
    (a, b), (c, d), (e,) = mul.inputs, add.inputs, add.outputs
    for edge in ((a, mul), (b, mul), (mul, c), (c, add), (d, add), (add, e)):
        nn.deleteEdge(*edge)
    for edge in ((a, add), (d, add), (add, c), (c, mul), (b, mul), (mul, e)):
        nn.createEdge(*edge)
    for name, value in (("a", 1), ("b", 2), ("d", 3)):
        workspace.FeedBlob(name, np.array([value], np.float32))
    workspace.RunNetOnce(nn.convertToCaffe2Proto())
    assert workspace.FetchBlob("e").tolist() == [8]


def test_replacing() -> None:
    nn = ng.NNModule(layers())
    fc, relu, sigmoid = nn.controlFlow
    new = nn.createNode(core.CreateOperator("Tanh", ["any"], ["thing"], engine="CUDNN"))
    nn.replaceNode(relu, new)
    nn.deleteNode(relu)
    proto = nn.convertToCaffe2Proto()
    assert [op.type for op in proto.op] == ["FC", "Tanh", "Sigmoid"]
    assert (list(proto.op[1].input), list(proto.op[1].output), proto.op[1].engine) == (["Y"], ["Y"], "CUDNN")
    part = ng.NNSubgraph()
    for node in (new, new.outputs[0], sigmoid):
        part.addNode(node)
    one = nn.createNode(ng.Operator("Softplus"))
    nn.replaceSubgraph(part, one, fc.outputs, sigmoid.outputs)
    proto = nn.convertToCaffe2Proto()
    assert [(op.type, list(op.input), list(op.output)) for op in proto.op][1:] == [("Softplus", ["Y"], ["Z"])]
    extra = nn.createUniqueDataNode("Y")
    assert extra.name not in ("Y", "Z")
    nn.replaceAllUsesWith(fc.outputs[0], extra)
    assert [t.name for t in one.inputs] == [extra.name]
    other = nn.createNode(ng.Operator("FC"))
    nn.replaceProducer(extra, other)
    nn.replaceAsConsumer(fc, other)
    assert (extra.producer, len(fc.inputs), len(other.inputs)) == (other, 0, 3)


def test_matching() -> None:
    pattern = ng.NNMatchGraph()
    relu = pattern.createNode(ng.Operator("Relu"), strict=True)
    tensor = pattern.createNode(ng.Data("any"), strict=True)
    sigmoid = pattern.createNode(ng.Operator("Sigmoid"))
    pattern.createEdge(relu, tensor)
    pattern.createEdge(tensor, sigmoid)
    net = layers()
    assert [len(found) for found in ng.NNModule(net).match(pattern)] == [3]
    net.Copy("Y", "other")  # a second reader of what the pattern allows one
    assert list(ng.NNModule(net).match(pattern)) == []
    single = ng.NNMatchGraph()
    single.createNode(ng.Operator("Relu"))
    (found,) = ng.NNModule(net).match(single)
    assert [node.name for node in found.nodes] == ["Relu"]
    strict = ng.NNMatchGraph()
    strict.createNode(ng.Operator("Relu"), strict=True)
    assert list(ng.NNModule(net).match(strict)) == []


def test_notes() -> None:
    node = ng.NNModule(layers()).controlFlow[0]
    notes = node.getAnnotation()
    notes.setDevice("somewhere")
    notes.setDeviceType(7)
    notes.setComponentLevels(["", "level"])
    notes.setKeyNode(node.inputs[0])
    node.setAnnotation(notes)
    again = node.getAnnotation()
    assert (again.getDevice(), again.getDeviceType(), again.getComponentLevels()) == ("somewhere", 7, ["", "level"])
    assert again.getKeyNode() is node.inputs[0]


def test_convolutions_in_the_other_layout() -> None:
    net = core.Net("convolutions")
    net.Conv(["X", "w1", "b1"], ["c1"], kernel=3)
    net.Conv(["X", "w2", "b2"], ["c2"], kernel=3, order="NCHW")
    net.Conv(["c1", "w3", "b3"], ["c3"], kernel=3)
    rng = np.random.default_rng(0)
    shapes = {"X": (2, 2, 8, 7), "w1": (3, 2, 3, 3), "w2": (3, 2, 3, 3), "w3": (4, 3, 3, 3)}
    for name, shape in {**shapes, "b1": (3,), "b2": (3,), "b3": (4,)}.items():
        workspace.FeedBlob(name, rng.standard_normal(shape, np.float32))
    before = interpreted(net, "c1", "c2", "c3")
    nn = ng.NNModule(net)
    transpose_network(nn)
    proto = nn.convertToCaffe2Proto()
    assert sorted(op.type for op in proto.op) == ["Conv"] * 3 + ["NCHW2NHWC"] * 4 + ["NHWC2NCHW"] * 3
    for found, want in zip(interpreted(proto, "c1", "c2", "c3"), before):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
