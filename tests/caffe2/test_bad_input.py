"""Bad input: exceptions of Caffe2's types that name operator, blob and remedy, after which the workspace goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from graphc.caffe2 import brew, core, model_helper, workspace
from graphc.caffe2.proto import caffe2_pb2


def feed(**blobs: object) -> None:
    for name, value in blobs.items():
        workspace.FeedBlob(name, np.asarray(value, np.float32))


@pytest.fixture(autouse=True)
def _usable_afterwards() -> Iterator[None]:
    """After every test the same workspace runs an operator and a net."""
    feed(data=[[1, 2]], w=[[1, 2]], b=[1])
    yield
    feed(data=[[3, -4]])
    assert workspace.RunOperatorOnce(core.CreateOperator("Relu", "data", "relu"))
    assert workspace.FetchBlob("relu").tolist() == [[3, 0]]
    net = core.Net("afterwards")
    net.FC(["data", "w", "b"], "after")
    assert workspace.RunNetOnce(net)
    assert workspace.FetchBlob("after").tolist() == [[-4]]


def refused(call: Callable[[], object], *parts: str, kind: type[Exception] = RuntimeError) -> None:
    with pytest.raises(kind) as error:
        call()
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_missing_blobs() -> None:
    relu = core.CreateOperator("Relu", "dta", "y")
    refused(
        lambda: workspace.RunOperatorOnce(relu),
        "[enforce fail]",
        "op Relu: Encountered a non-existing input blob: dta",
        "near names: data",
    )
    refused(lambda: workspace.FetchBlob("dta"), "Can't find blob: dta", "near names: data")
    refused(lambda: workspace.ResetBlob("dta"), "Can't find blob: dta", "near names: data")
    refused(lambda: workspace.FetchBlob("q"), "feed it (FeedBlob), or run the net that makes it")
    assert not workspace.HasBlob("y")
    assert workspace.RemoveBlob("dta") is False


@pytest.mark.parametrize("name", ["nobody", "braces {x}"])
def test_nets_that_name_blobs_nobody_makes(name: str) -> None:
    net = core.Net(name)
    net.Relu("data", "first")
    net.Relu("wrong", "second")
    for run in (workspace.RunNetOnce, workspace.CreateNet):
        refused(
            lambda run=run: run(net),
            f"net '{net.Name()}' op #1 Relu: Encountered a non-existing input blob: wrong",
            "created at",
            "test_bad_input.py",
        )
    assert net.Name() not in workspace.Nets()
    assert not workspace.HasBlob("first")


def test_errors_name_the_scripts_line_where_a_helper_made_the_operator() -> None:
    model = model_helper.ModelHelper("helped")
    brew.fc(model, "nothing", "y", 3, 2)
    workspace.RunNetOnce(model.param_init_net)
    refused(lambda: workspace.CreateNet(model.net), "op #0 FC", "test_bad_input.py", "in test_errors_name_the_scripts")


def test_a_net_that_reads_a_blob_before_it_makes_it() -> None:
    net = core.Net("later")
    net.Relu("half", "whole")
    net.Relu("data", "half")
    refused(lambda: workspace.RunNetOnce(net), "op #0 Relu", "blob: half", "op #1 Relu makes it, but later")


def test_an_output_that_nobody_makes() -> None:
    net = core.Net("outputs")
    net.Relu("data", "prob")
    net.Proto().external_output.append("probb")
    refused(lambda: workspace.CreateNet(net), "external_output 'probb' is never produced", "near names: prob")


def test_nets_inside_operators() -> None:
    inner, outer = core.Net("then"), core.Net("outer")
    inner.Relu("nowhere", "y")
    workspace.FeedBlob("condition", np.array(True))
    outer.If(["condition", "nowhere"], ["y"], then_net=inner.Proto())
    refused(lambda: workspace.RunNetOnce(outer), "op #0 If", "non-existing input blob: nowhere")


def test_unknown_operators() -> None:
    op = core.CreateOperator("Rleu", "data", "y")
    refused(lambda: workspace.RunOperatorOnce(op), "graphc has no operator 'Rleu'", "near names: Relu")
    net = core.Net("unknown")
    net.Relu("data", "x")
    net.Proto().op.extend([op])
    for run in (workspace.RunNetOnce, workspace.CreateNet):
        refused(lambda run=run: run(net), "op #1 Rleu", "near names: Relu")
    refused(lambda: core.Net("n").Rleu("data"), "Did you mean: [Relu", kind=AttributeError)
    distributed = core.CreateOperator("Allreduce", ["data"], "y")
    refused(lambda: workspace.RunOperatorOnce(distributed), "does not run Allreduce", "help")


def test_operators_that_are_called_wrongly() -> None:
    feed(wide=[[1, 2, 3]])
    refused(lambda: workspace.RunOperatorOnce(core.CreateOperator("FC", ["data", "w"], "y")), "at least 3 are needed")
    refused(
        lambda: workspace.RunOperatorOnce(core.CreateOperator("FC", ["wide", "w", "b"], "y")),
        "FC ('wide': float[1,3], 'w': float[1,2], 'b': float[1]) -> 'y'",
        "3 where 2 is needed",
    )
    op = core.CreateOperator("LeakyRelu", ["data"], "y", alpha="a")
    refused(lambda: workspace.RunOperatorOnce(op), "argument 'alpha' is the string 'a'")


def test_inputs_of_a_created_net_that_do_not_fit() -> None:
    net = core.Net("fits")
    net.FC(["data", "w", "b"], "y")
    workspace.CreateNet(net)
    workspace.RunNet(net)
    feed(data=[[1, 2, 3]])
    refused(lambda: workspace.RunNet(net), "op #0 FC", "'data': float[1,3]", "test_bad_input.py")
    workspace.FeedBlob("data", np.array([[1, 2]]))
    refused(lambda: workspace.RunNet(net), "op #0 FC", "is int64, the operator takes float")
    workspace.FeedBlob("data", np.array(["a", "b"]))
    refused(lambda: workspace.RunNet(net), "op #0 FC", "is string")
    workspace.ResetBlob("data")
    refused(lambda: workspace.RunNet(net), "op #0 FC: blob 'data' contains nullptr (uninitialized)")
    assert workspace.RunNet(net, allow_fail=True) is False
    workspace.RemoveBlob("data")
    refused(lambda: workspace.RunNet(net), "op #0 FC: Encountered a non-existing input blob: data", "help: ")
    assert workspace.FetchBlob("y").tolist() == [[6]]  # what the run that went well made
    feed(data=[[5, 0]])
    workspace.RunNet(net)
    assert workspace.FetchBlob("y").tolist() == [[6]]


def test_data_that_an_operator_refuses() -> None:
    feed(rows=[[1], [2]])
    op = core.CreateOperator("Gather", ["rows", "index"], "row")
    for index, fits in ((1, True), (5, False), (-7, False), (0, True)):
        workspace.FeedBlob("index", np.array([index], np.int32))
        if fits:
            workspace.RunOperatorOnce(op)
            assert workspace.FetchBlob("row").tolist() == [[index + 1]]
        else:
            refused(lambda: workspace.RunOperatorOnce(op), "op #0 Gather", "INDICES has an index outside")
    feed(rows=[[1]])
    workspace.FeedBlob("index", np.array([1, 1], np.int32))
    for _ in range(2):  # the sizes are new, and the data is wrong
        refused(lambda: workspace.RunOperatorOnce(op), "INDICES has an index outside")


def test_an_assertion_says_what_its_author_wrote() -> None:
    workspace.FeedBlob("rows", np.array([1, 0], np.int32))
    said = core.CreateOperator("Assert", ["rows"], [], error_msg="rows are not empty")
    net = core.Net("asserts")
    net.Proto().op.extend([said])
    for run in (lambda: workspace.RunOperatorOnce(said), lambda: workspace.RunNetOnce(net)):
        refused(run, "op #0 Assert", "an element that is zero: rows are not empty")


def test_objects_that_cannot_be_fed() -> None:
    for given in (object(), np.array([1j]), np.array([{}], object), None):
        refused(lambda given=given: workspace.FeedBlob("x", given), "blob 'x'", "help", kind=ValueError)
    refused(lambda: workspace.FeedBlob(3, np.zeros(1)), "not int", kind=AssertionError)
    assert not workspace.HasBlob("x")


def test_bytes_and_objects_that_are_no_messages() -> None:
    refused(lambda: workspace.RunOperatorOnce(b"\xff\xff"), "no OperatorDef", "help: serialise an operator")
    refused(lambda: workspace.RunNetOnce(b"\xff\xff"), "not a NetDef")
    refused(lambda: workspace.CreateNet(b"\xff\xff"), "not a NetDef")
    refused(lambda: workspace.RunPlan(b"\xff"), "no PlanDef")
    refused(lambda: workspace.Predictor(b"", b"\xff\xff"), "not a NetDef")
    refused(lambda: workspace.RunNetOnce(None), "of type NoneType", kind=ValueError)


def test_names_of_nets_and_workspaces() -> None:
    net = core.Net("classifier")
    net.Relu("data", "y")
    workspace.CreateNet(net)
    refused(lambda: workspace.RunNet("clasifier"), "Can't find net clasifier", "near names: classifier")
    refused(lambda: workspace.BenchmarkNet("nothing like it", 1, 1), "CreateNet", "nets: classifier")
    refused(lambda: workspace.SwitchWorkspace("elsewhere"), "does not exist: elsewhere", "default")
    plan = caffe2_pb2.PlanDef()
    plan.execution_step.add().network.append("nonet")
    refused(lambda: workspace.RunPlan(plan), "Can't find net nonet")


def test_predictors() -> None:
    net = caffe2_pb2.NetDef(name="predict", external_input=["data"], external_output=["out"])
    net.op.add().CopyFrom(core.CreateOperator("Relu", "data", "out"))
    predictor = workspace.Predictor(caffe2_pb2.NetDef(), net)
    refused(lambda: predictor.run([]), "op #0 Relu: blob 'data' contains nullptr")
    refused(lambda: predictor.run([1, 2]), "given 2 inputs, the net has 1", "external inputs: data")
    refused(lambda: predictor.run({"dta": np.zeros(1)}), "dta is no input of the net 'predict'", "near names: data")
    refused(lambda: predictor.run([None]), "blob 'data'", kind=ValueError)
    (out,) = predictor.run([np.array([-1, 2], np.float32)])
    assert out.tolist() == [0, 2]
