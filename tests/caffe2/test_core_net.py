"""core.Net, operators and scopes, against the NetDefs that Caffe2's rules give."""

from __future__ import annotations

import inspect
import threading

import numpy as np
import pytest

from graphc.caffe2 import core, schema, scope, workspace
from graphc.caffe2.proto import caffe2_pb2


def text(net: core.Net) -> list[str]:
    """``inputs -> Type -> outputs`` of each operator."""
    return [f"{' '.join(op.input)} -> {op.type} -> {' '.join(op.output)}" for op in net.Proto().op]


def test_operators_by_attribute() -> None:
    net = core.Net("attributes")
    y = net.Relu("x", "y")
    z = y.Sigmoid([], "z")
    values, indices = net.TopK(z, 2, k=3)
    assert net.Print(values, []) is None
    name = net.Name()
    assert text(net) == [
        "x -> Relu -> y",
        "y -> Sigmoid -> z",
        f"z -> TopK -> {name}/TopK:0 {name}/TopK:1",
        f"{name}/TopK:0 -> Print -> ",
    ]
    assert list(net.Proto().external_input) == ["x"]
    assert str(indices) == f"{name}/TopK:1"


def test_operators_that_graphc_knows_by_name_only_can_be_named() -> None:
    net = core.Net("named")
    net.NCCLAllreduce(["a", "b"], ["a", "b"])
    assert core.IsOperator("NCCLAllreduce")
    assert not core.IsOperator("NoSuchOperator")
    with pytest.raises(AttributeError, match=r"Did you mean: .*Relu"):
        net.Rellu("x")
    with pytest.raises(RuntimeError, match="exchanges tensors"):
        workspace.CreateNet(net, input_blobs=["a", "b"])


def test_names_of_nets_and_blobs_are_unique() -> None:
    first, second = core.Net("unique"), core.Net("unique")
    assert (first.Name(), second.Name()) == ("unique", "unique_1")
    assert str(first.Relu("x")) == "unique/Relu"
    assert str(first.Relu("x")) == "unique/Relu_2"
    assert [first.NextName(), first.NextName()] == ["unique_blob_0", "unique_blob_1"]
    assert [str(first.NextBlob("b")), str(first.NextBlob("b"))] == ["b", "b_auto_0"]
    with core.NameScope("s"):
        assert str(first.NextScopedBlob("b")) == "s/b"


def test_a_net_of_a_proto_goes_on_counting() -> None:
    first = core.Net("counted")
    first.Relu("x", first.NextName())
    copy = core.Net(first.Proto())
    assert copy.Name() == "counted_1"
    assert copy.BlobIsDefined("counted_blob_0")
    assert copy._next_name_index == 1


def test_scopes() -> None:
    net = core.Net("scopes")
    cuda = core.DeviceOption(caffe2_pb2.CUDA, 1)
    with core.NameScope("a"), core.NameScope("b"):
        net.Relu("x", "y")
        with core.NameScope("c", reset=True):
            net.Relu(core.BlobReference("whole"), "y")
        with core.EmptyNameScope(), core.DeviceScope(cuda, node_name="n"):
            net.Relu("x", "plain")
            with core.DeviceScope(core.DeviceOption(caffe2_pb2.CPU)):
                net.Relu("x", "inner")
            with core.EmptyDeviceScope():
                net.Relu("x", "bare")
    assert text(net)[:2] == ["a/b/x -> Relu -> a/b/y", "whole -> Relu -> c/y"]
    plain, inner, bare = net.Proto().op[2:]
    assert (plain.device_option.device_type, plain.device_option.device_id) == (caffe2_pb2.CUDA, 1)
    assert (inner.device_option.device_type, inner.device_option.node_name) == (caffe2_pb2.CPU, "n")
    assert not bare.HasField("device_option")
    assert scope.CurrentNameScope() == ""
    found: list[str] = []
    with core.NameScope("mine"):
        thread = threading.Thread(target=lambda: found.append(scope.CurrentNameScope()))
        thread.start()
        thread.join()
    assert found == [""]


def test_external_inputs_and_outputs() -> None:
    net = core.Net("external")
    a, b = net.AddExternalInput("a", "b")
    c = net.Add([a, b], "c")
    net.AddExternalOutput(c)
    assert net.external_inputs == ["a", "b"]
    assert net.external_outputs == ["c"]
    assert net.UsesBlob("a")
    assert not net.UsesBlob("d")
    assert net.UsedBlobNames() == {"a", "b", "c"}
    assert net.GetBlobRef("c") == "c"
    with pytest.raises(AssertionError, match="already contains an input named a"):
        net.AddExternalInput("a")
    with pytest.raises(KeyError, match="does not define blob d"):
        net.GetBlobRef("d")
    net.Proto().external_input.append("late")
    assert net.BlobIsDefined("late")


def test_clone_and_clone_partial() -> None:
    net = core.Net("whole")
    x = net.AddExternalInput("x")
    h = net.FC([x, "w", "b"], "h")
    y = net.Relu(h, "y")
    net.Sigmoid(h, "unused")
    renamed = net.Clone("renamed", blob_remap={"w": "v"})
    assert text(renamed)[0] == "x v b -> FC -> h"
    assert list(renamed.Proto().external_input) == ["x", "v", "b"]
    part, outputs = net.ClonePartial("part", {h: "given"}, [y])
    assert text(part) == ["given -> Relu -> part/y"]
    assert outputs == ["part/y"]
    assert list(part.Proto().external_input) == ["given"]
    with pytest.raises(AssertionError, match="Cannot partially clone"):
        net.ClonePartial("wrong", [y, x], [h, y])


def test_clone_some_operators_with_their_own_inputs_and_outputs() -> None:
    net = core.Net("whole")
    net.Relu("x", "y")
    net.Sum(["y", "z"], "y")
    net.Tanh("y", "t")
    part = net.Clone("part", op_id_mask=[0, 1], update_external_list=True)
    assert (list(part.Proto().external_input), list(part.Proto().external_output)) == (["x", "z"], [])
    last = net.Clone("last", op_id_mask=[2], update_external_list=True)
    assert (list(last.Proto().external_input), list(last.Proto().external_output)) == (["y"], ["t"])


def test_an_input_record_without_blobs_gets_new_ones() -> None:
    net = core.Net("recorded")
    record = net.set_input_record(schema.Struct(("a", schema.Scalar()), ("b", schema.Scalar())))
    assert list(map(str, record.field_blobs())) == list(net.Proto().external_input) == ["recorded/a", "recorded/b"]


def test_arguments_and_devices_of_nets() -> None:
    net = core.Net("recurrent")
    step = core.Net("step")
    net.RecurrentNetwork(["x"], ["y"], step_net=step.Proto())
    net.AddArgument("answer", 42)
    net.RunAllOnGPU(gpu_id=1)
    inner = net.Proto().op[0].arg[0].n
    assert net.Proto().arg[0].i == 42
    assert {n.device_option.device_type for n in (inner, net.Proto())} == {caffe2_pb2.CUDA}


def test_append_net_and_reroute() -> None:
    first, second = core.Net("first"), core.Net("second")
    first.Relu("x", "y")
    second.Sigmoid("y", "z")
    second.Mul(["z", "w"], "v")
    first.AppendNet(second)
    assert list(first.Proto().external_input) == ["x", "w"]
    copy = core.CreateOperator("Copy", "y", "y2")
    assert first.reroute_tensor("y", copy, [first.Proto().op[1]]) == 1
    assert text(first) == ["x -> Relu -> y", "y -> Copy -> y2", "y2 -> Sigmoid -> z", "z w -> Mul -> v"]


def test_const_and_seeds() -> None:
    net = core.Net("const")
    for value in (True, np.array([1, 2], np.int64), np.array([3], np.int32), [1.5, 2.5], ["a", "b"]):
        net.Const(value)
    assert [op.type for op in net.Proto().op] == [
        "ConstantFill",
        "GivenTensorInt64Fill",
        "GivenTensorIntFill",
        "GivenTensorFill",
        "GivenTensorStringFill",
    ]
    net.set_rand_seed(7)
    assert [op.device_option.random_seed for op in net.Proto().op] == [7, 8, 9, 10, 11]


def test_create_operator() -> None:
    op = core.CreateOperator(
        "Conv", ["x", b"w"], "y", name="c", control_input="z", engine="NNPACK", debug_info="here", kernel=3, left=None
    )
    want = caffe2_pb2.OperatorDef(
        type="Conv", name="c", input=["x", "w"], output=["y"], control_input=["z"], engine="NNPACK", debug_info="here"
    )
    want.arg.add(name="kernel", i=3)
    assert op == want
    assert core.CreateOperator("XavierFill", [], "w", random_seed=5).device_option.random_seed == 5
    with pytest.raises(TypeError, match="I/O blob #1 of unsupported type"):
        core.CreateOperator("Add", ["a", 3], "c")


def test_blob_references() -> None:
    b = core.BlobReference("a/b")
    assert b == "a/b"
    assert b == b"a/b"
    assert b != "b"
    assert {b: 1}["a/b"] == 1
    assert str(b + "_w") == "a/b_w"
    assert str("c_" + b) == "c_a/b"
    assert b.GetNameScope() == "a/"
    with pytest.raises(AttributeError, match="belongs to no net"):
        b.Relu([], 1)
    slices = [core.GradientSlice("i", "v"), "g", None]
    assert core.GetIndexFromGradientList(slices, "v") == 0
    assert core.GetIndexFromGradientList(slices, "x") is None


def test_versions_of_blobs() -> None:
    net = core.Net("ssa")
    net.Relu("x", "x")
    net.Add(["x", "w"], "y")
    ssa, versions = core.get_ssa(net)
    assert ssa == [([("x", 0)], [("x", 1)]), ([("x", 1), ("w", 0)], [("y", 1)])]
    assert versions == {"x": 1, "w": 0, "y": 1}
    assert core.get_undefined_blobs(ssa) == {"x", "w"}
    assert core.get_op_ids_in_path(ssa, versions, ["w"], ["y"]) == [0, 1]


def test_operators_remember_where_they_were_created() -> None:
    net = core.Net("where")
    net.Mul(["a", "b"], "c")
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    net.PopulateProtoWithFileName()
    assert net.Proto().op[0].name == f"{__file__}:{line}:test_operators_remember_where_they_were_created"


def test_copies_between_devices() -> None:
    net = core.Net("devices")
    with core.DeviceScope(core.DeviceOption(caffe2_pb2.CUDA, 1)):
        net.Relu("x", "y")
    net.Sigmoid("y", "z")
    moved, devices = core.InjectCrossDeviceCopies(net)
    assert text(moved) == [
        "x -> CopyCPUToGPU -> x_cuda_1",
        "x_cuda_1 -> Relu -> y",
        "y -> CopyGPUToCPU -> y_cpu",
        "y_cpu -> Sigmoid -> z",
    ]
    assert devices["y"].device_type == caffe2_pb2.CUDA


def test_gradients_made_in_python_are_as_their_maker_gives_them() -> None:
    @core.GradientRegistry.RegisterGradient("Ceil")
    def straight_through(op, g_output):  # type: ignore[no-untyped-def]
        return [core.CreateOperator("Copy", [g_output[0]], [op.input[0] + "_grad"])], [op.input[0] + "_grad"]

    try:
        made, _ = core.GradientRegistry.GetBackwardPass([core.CreateOperator("Ceil", "x", "y")], {"y": "y_grad"})
    finally:
        del core.GradientRegistry.gradient_registry_["Ceil"]
    assert [(op.type, op.is_gradient_op) for op in made] == [("Copy", False)]
