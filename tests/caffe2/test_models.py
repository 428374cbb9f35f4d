"""Models and the helpers of brew: operators, parameters, their names, shapes and fills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import brew, core, scope, utils, workspace
from graphc.caffe2.cnn import CNNModelHelper
from graphc.caffe2.model_helper import ExtractPredictorNet, ModelHelper
from graphc.caffe2.modeling import initializers
from graphc.caffe2.modeling.parameter_info import ParameterInfo, ParameterTags
from graphc.caffe2.modeling.parameter_sharing import ParameterSharing
from graphc.caffe2.proto import caffe2_pb2


def names(blobs: Any) -> list[str]:
    return sorted(map(str, blobs))


def shapes(model: ModelHelper) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters as the init net makes them."""
    made = interpreted_nets.initial(model.param_init_net)
    return {name: array.shape for name, array in made.items()}


def last(model: ModelHelper) -> tuple[str, list[str], list[str], dict[str, Any], str]:
    op = model.net.Proto().op[-1]
    return op.type, list(op.input), list(op.output), utils.ArgsToDict(op.arg), op.engine


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_parameters_in_scopes() -> None:
    model = ModelHelper(name="m")
    model.AddParameter(core.ScopedBlobReference("a"))
    model.AddParameter(core.ScopedBlobReference("b"), tags=ParameterTags.COMPUTED_PARAM)
    with scope.NameScope("c"):
        model.AddParameter(core.ScopedBlobReference("a"), ParameterTags.WEIGHT)
        model.AddParameter(core.ScopedBlobReference("d"), ParameterTags.COMPUTED_PARAM)
        assert (names(model.GetParams()), names(model.GetComputedParams())) == (["c/a"], ["c/d"])
        assert names(model.GetAllParams("")) == ["a", "b", "c/a", "c/d"]
    assert names(model.GetAllParams("c")) == names(model.GetAllParams("c/")) == ["c/a", "c/d"]
    assert names(model.weights) == ["c/a"]
    model.params.append("a")  # type: ignore[arg-type]
    assert model._Validate() == ["a"]
    with pytest.raises(AssertionError, match="Duplicate params: \\['a'\\]"):
        model.Validate()
    with pytest.raises(AssertionError, match="BlobReference"):
        model.AddParameter("a")


def test_parameters_are_made_once() -> None:
    model, fill = ModelHelper(name="m"), initializers.Initializer("XavierFill")
    with scope.NameScope("s"):
        w = model.create_param("w", [2, 3], fill, tags=ParameterTags.WEIGHT)
        assert model.create_param("w", [2, 3], fill) == w == "s/w"
        with pytest.raises(AssertionError, match=r"exists with shape \[2, 3\]"):
            model.create_param("w", [3, 2], fill)
        assert str(model.create_param(core.BlobReference("t"), [1], fill)) == "t"
    with pytest.raises(TypeError, match="param_name"):
        model.create_param(3, [1], fill)
    info = model.get_param_info(w)
    assert info is not None
    assert (info.name, info.size, info.optimizer, info.parameter) == ("s/w", 6, None, w)
    with pytest.raises(AssertionError):
        model.get_param_info("s/w")
    info.optimizer = "one"
    with pytest.raises(AssertionError, match="already been set"):
        info.optimizer = "two"
    with pytest.raises(AssertionError, match="BlobReference"):
        ParameterInfo(None, "w")  # type: ignore[arg-type]
    step = ModelHelper(name="step", param_model=model)
    brew.fc(step, "x", "fc", 3, 4)
    assert step._parameters_info is model._parameters_info
    assert "fc_w" in names(model.params)


def test_scopes_share_parameters() -> None:
    """The rules of ``create_param``: the longest scope that is shared is replaced, again and again."""
    model, fill = ModelHelper(name="m"), initializers.Initializer("ConstantFill")

    def made(place: str) -> str:
        with scope.NameScope(place):
            return str(model.create_param("w", [1], fill))

    with ParameterSharing({"b": "a", "b/shared": "b"}):
        assert [made(p) for p in ("a", "b", "b/shared", "b/own", "c")] == ["a/w", "a/w", "a/w", "a/own/w", "c/w"]
        with scope.NameScope("outer"), ParameterSharing({"x": "y"}):
            assert made("x") == "outer/y/w"
    assert made("b") == "b/w"
    with ParameterSharing({"timestep_0": ""}):
        assert made("timestep_0") == "w"
    with pytest.raises(AssertionError, match="Illegal override"), ParameterSharing({"a": "a/b"}):
        pass


def test_initializers() -> None:
    model = ModelHelper(name="m")
    brew.fc(model, "x", "a", 3, 2, WeightInitializer=initializers.PseudoFP16Initializer)
    brew.fc(model, "x", "b", 3, 2, WeightInitializer=initializers.ReversePseudoFP16Initializer)
    assert [(op.type, *op.input, *op.output) for op in model.param_init_net.Proto().op] == [
        ("XavierFill", "a_w_fp32"),
        ("FloatToHalf", "a_w_fp32", "a_w"),
        ("ConstantFill", "a_b"),
        ("XavierFill", "b_w"),
        ("FloatToHalf", "b_w", "b_w_fp16"),
        ("ConstantFill", "b_b"),
    ]
    info = model.get_param_info(core.BlobReference("a_w"))
    assert info is not None
    assert info.blob_copy == {core.DataType.FLOAT: "a_w_fp32"}
    given = initializers.Initializer()
    given.update("ConstantFill", {"value": 1.0})
    with pytest.raises(Exception, match="overwrites"):
        given.update("XavierFill", {})
    with pytest.raises(TypeError, match="param_name"):
        initializers.ExternalInitializer().create_param(1, model.param_init_net, [1])
    more = initializers.update_initializer(None, ("ConstantFill", {"value": 1.0}, {"value": 2.0}), ("XavierFill", {}))
    assert (more.operator_name, more.operator_kwargs) == ("ConstantFill", {"value": 1.0})
    bounds = interpreted_nets.initial(_large())["w"]
    assert 0.9 * np.sqrt(3 / 100) < abs(bounds).max() <= np.sqrt(3 / 100)


def _large() -> core.Net:
    net = core.Net("large")
    initializers.update_initializer(None, None, ("XavierFill", {})).create_param("w", net, [50, 100])
    return net


# ---- models ----------------------------------------------------------------------------------------------------------


def test_operators_of_a_model(caplog: pytest.LogCaptureFixture) -> None:
    model = ModelHelper(name="m")
    model.Softmax("x", "y")
    assert not caplog.records
    model.Relu("y", "z")
    assert "does not recognize: Relu" in caplog.text
    with pytest.raises(AttributeError, match=r"Softmaxx is not a registered operator. Did you mean: \[Softmax"):
        model.Softmaxx("x", "y")
    with pytest.raises(AttributeError, match="not known to be safe"):
        ModelHelper(allow_not_known_ops=False).Conv("x", "y")
    assert "Softmax" in dir(model)
    assert (model.get_name(), ModelHelper().name) == ("m", "model")
    with pytest.raises(AssertionError, match="data_parallel_model"):
        model.GetDevices()


def test_gradients_once() -> None:
    model = ModelHelper(name="m")
    with pytest.raises(RuntimeError, match="AddGradientOperators first"):
        model.GetOptimizationParamInfo()
    loss = model.net.AveragedLoss(brew.fc(model, "x", "fc", 3, 1), "loss")
    assert model.AddGradientOperators([loss])["fc_w"] == "fc_w_grad"
    assert [str(p.grad) for p in model.GetOptimizationParamInfo()] == ["fc_w_grad", "fc_b_grad"]
    assert [p.name for p in model.GetOptimizationParamInfo([core.BlobReference("fc_b")])] == ["fc_b"]
    with pytest.raises(RuntimeError, match="twice"):
        model.AddGradientOperators([loss])


def test_both_nets_in_one() -> None:
    model = ModelHelper(name="m")
    brew.fc(model, "x", "fc", 3, 2)
    model.net.Proto().type = "dag"
    complete = model.GetCompleteNet()
    assert [op.type for op in complete.Proto().op] == ["XavierFill", "ConstantFill", "FC"]
    assert complete.Proto().type == "dag"
    other = ModelHelper(name="other")
    other.ConstructInitTrainNetfromNet(complete)
    assert [op.type for op in other.param_init_net.Proto().op] == ["XavierFill", "ConstantFill"]
    assert list(other.param_init_net.Proto().external_output) == ["fc_w", "fc_b"]
    assert list(other.net.Proto().external_input) == ["x", "fc_w", "fc_b"]
    assert list(other.net.Proto().external_output) == ["fc"]


def test_data_of_a_database(tmp_path: Path) -> None:
    path = str(tmp_path / "data.minidb")
    db = core.C.create_db("minidb", path, core.C.Mode.write)
    transaction = db.new_transaction()
    for i in range(3):
        record = caffe2_pb2.TensorProtos()
        record.protos.extend(
            [utils.NumpyArrayToCaffe2Tensor(np.full(2, i, np.float32)), utils.NumpyArrayToCaffe2Tensor(np.array(i))]
        )
        transaction.put(f"{i}", record.SerializeToString())
    transaction.commit()
    db.close()
    model = ModelHelper(name="m")
    model.TensorProtosDBInput([], ["data", "label"], batch_size=2, db=path, db_type="minidb")
    assert model.param_init_net.Proto().op[0].output[0] == f"dbreader_{path}"
    with pytest.raises(AssertionError, match="cannot pass reader"):
        model.TensorProtosDBInput(["reader"], ["data"], 1, path, "minidb")
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net)
    seen = []
    for _ in range(2):
        workspace.RunNet(model.net)
        seen += workspace.FetchBlob("label").tolist()
    assert seen == [0, 1, 2, 0]


def test_extract_a_predictor() -> None:
    model = ModelHelper(name="m")
    brew.conv(model, "data", "c", 1, 2, kernel=3)
    brew.spatial_bn(model, "c", "bn", 2, is_test=True)
    brew.fc(model, "bn", "pred", 8, 3)
    model.net.SoftmaxWithLoss(["pred", "label"], ["softmax", "loss"])
    proto = model.net.Proto()
    net, parameters = ExtractPredictorNet(proto, ["data"], ["softmax"], renames={"data": "x", "softmax": "y"})
    assert [op.type for op in net.Proto().op] == ["Conv", "SpatialBN", "FC", "SoftmaxWithLoss"]
    assert parameters == ["c_w", "c_b", "bn_s", "bn_b", "bn_rm", "bn_riv", "pred_w", "pred_b", "label"]
    assert list(net.Proto().external_output) == list(net.Proto().op[-1].output[:1]) == ["y"]
    assert list(net.Proto().external_input) == ["x", *parameters]
    net, _ = ExtractPredictorNet(proto, ["data", "label"], ["loss"], device=core.DeviceOption(caffe2_pb2.CUDA, 1))
    assert [op.device_option.device_id for op in net.Proto().op] == [1] * 4
    assert not any(op.HasField("device_option") for op in proto.op)
    left_out, _ = ExtractPredictorNet(proto, ["data"], ["pred"], disabled_inputs={"bn_s"})
    assert [op.type for op in left_out.Proto().op] == ["Conv"]
    with pytest.raises(Exception, match="No ops with input=\\['nothing'\\]"):
        ExtractPredictorNet(proto, ["nothing"], ["pred"])
    with pytest.raises(Exception, match="No ops with output"):
        ExtractPredictorNet(proto, ["data"], ["nothing"])
    train = ModelHelper(name="t")
    brew.spatial_bn(train, "c", "bn", 2, is_test=False)
    with pytest.raises(Exception, match="is_test=0"):
        ExtractPredictorNet(train.net.Proto(), ["c"], ["bn"])


# ---- brew ------------------------------------------------------------------------------------------------------------


def test_convolutions() -> None:
    model = ModelHelper(name="m", arg_scope={"order": "NHWC", "use_cudnn": False})
    brew.conv(model, "x", "a", 4, 6, kernel=[3, 5], group=2, no_bias=1)
    assert last(model) == (
        "Conv",
        ["x", "a_w"],
        ["a"],
        {"kernel_h": 3, "kernel_w": 5, "order": b"NHWC", "group": 2},
        "",
    )
    with brew.arg_scope([brew.conv], stride=2, weight_init=("ConstantFill", {"value": 2.0})):
        brew.conv(model, "x", "b", 4, 6, kernel=3, order="NCHW")
    assert last(model)[3] == {"kernel": 3, "order": b"NCHW", "stride": 2}
    brew.conv_nd(model, "x", "c", 4, 6, kernel=[1, 2, 3], order="NCHW")
    brew.conv_transpose(model, "x", "d", 4, 6, kernel=2, order="NCHW")
    brew.group_conv(model, "x", "e", 4, 6, kernel=1, group=2)
    brew.group_conv_deprecated(model, "x", "f", 4, 6, kernel=1, group=2)
    assert [op.type for op in model.net.Proto().op][-4:] == ["DepthSplit", "Conv", "Conv", "Concat"]
    assert shapes(model) == {
        "a_w": (6, 3, 5, 2), "b_w": (6, 4, 3, 3), "b_b": (6,), "c_w": (6, 4, 1, 2, 3), "c_b": (6,),
        "d_w": (4, 6, 2, 2), "d_b": (6,), "e_w": (6, 1, 1, 2), "e_b": (6,), "f_gconv_0_w": (3, 1, 1, 2),
        "f_gconv_0_b": (3,), "f_gconv_1_w": (3, 1, 1, 2), "f_gconv_1_b": (3,),
    }  # fmt: skip
    assert (workspace.FetchBlob("b_w") == 2).all()
    for call, said in (
        (lambda: brew.conv_nd(model, "x", "y", 4, 6, kernel=3), "NCHW"),
        (lambda: brew.conv(model, "x", "y", 4, 6, kernel=[1, 2, 3]), "2D kernel"),
        (lambda: brew.conv(model, "x", "y", 4, 6, kernel=1, engine="CUDNN"), "use_cudnn=False"),
        (lambda: brew.group_conv_deprecated(model, "x", "y", 3, 6, kernel=1, group=2), "divisible"),
    ):
        with pytest.raises((AssertionError, ValueError), match=said):
            call()


def test_layers_and_their_parameters() -> None:
    model = ModelHelper(name="m")
    brew.fc(model, "x", "fc", 3, 2, freeze_bias=True)
    brew.elementwise_linear(model, "x", "el", 3)
    brew.prelu(model, "x", "pr", num_channels=3)
    brew.instance_norm(model, "x", "in", 3)
    brew.spatial_gn(model, "x", "gn", 32, group=4, init_scale=0.5)
    brew.layer_norm(model, "x", "ln", [2, 3])
    brew.moments_with_running_stats(model, "x", "mo", 3)
    brew.dropout(model, "x", "dr", is_test=False, ratio=0.25)
    assert last(model)[2] == ["dr", "_dr_mask"]
    assert last(model)[4] == "CUDNN"
    assert str(brew.lrn(model, "x", "lr", size=3)) == "lr"
    assert str(brew.max_pool_with_index(model, "x", "mp", kernel=2)) == "mp"
    assert str(brew.concat(model, ["x", "y"], "cc", axis=1)) == "cc"
    assert last(model)[3].keys() == {"axis", "use_cudnn", "cudnn_exhaustive_search"}
    assert brew.accuracy(model, ["p", "l"], "ac") == "ac"
    brew.accuracy(model, ["p", "l"], "ac5", top_k=5)
    assert last(model)[3] == {"top_k": 5}
    brew.iter(model, "it")
    assert brew.softmax(model, "x").Net() is model.net
    for helper in (brew.transpose, brew.reduce_sum, brew.arg_min):
        helper(model, "x", "y")
    for helper in (brew.sub, brew.mat_mul, brew.batch_mat_mul):
        helper(model, ["x", "y"], "z")
    assert shapes(model) == {
        "fc_w": (2, 3), "fc_b": (2,), "el_w": (3,), "el_b": (3,), "pr_slope": (3,), "in_s": (3,), "in_b": (3,),
        "gn_s": (32,), "gn_b": (32,), "ln_scale": (2, 3), "ln_bias": (2, 3), "mo_rm": (3,), "mo_riv": (3,), "it": (1,),
    }  # fmt: skip
    assert names(model.GetComputedParams()) == ["fc_b", "mo_riv", "mo_rm"]
    assert workspace.FetchBlob("pr_slope")[0] == 0.25
    assert workspace.FetchBlob("gn_s")[0] == 0.5


def test_a_model_whose_parameters_exist() -> None:
    model = ModelHelper(name="test", init_params=False)
    brew.conv(model, "x", "c", 1, 2, kernel=1)
    brew.spatial_bn(model, "c", "bn", 2, is_test=True)
    brew.prelu(model, "bn", "p")
    brew.conv_transpose(model, "p", "t", 2, 2, kernel=1)
    assert not model.param_init_net.Proto().op
    assert last(model)[1] == ["p", "t_w", "t_b"]
    assert names(model.params) == ["bn_b", "bn_s", "c_b", "c_w", "p_slope", "t_b", "t_w"]


def test_images() -> None:
    model = ModelHelper(name="m")
    data, label = brew.image_input(model, "reader", ["data", "label"], is_test=1, batch_size=2)
    assert (str(data), str(label)) == ("data", "label")
    assert [op.type for op in model.net.Proto().op] == ["ImageInput", "NHWC2NCHW"]
    with pytest.raises(AssertionError, match="is_test"):
        brew.image_input(model, "reader", ["data", "label"])
    with pytest.raises(AssertionError, match="is_test"):
        brew.dropout(model, "x", "y")


def test_arguments_of_helpers() -> None:
    def myhelper(model: ModelHelper, val: int = -1) -> int:
        return val

    brew.Register(myhelper)
    try:
        model = ModelHelper(name="m")
        with brew.arg_scope([myhelper], val=-3), brew.arg_scope(myhelper, val=-2):
            with brew.arg_scope([myhelper], val=4):
                assert brew.myhelper(model) == 4
            assert brew.myhelper(model) == -2
            assert brew.myhelper(model=model, val=5) == 5
        with pytest.raises(ValueError, match="left"), brew.arg_scope(myhelper, val=1):
            raise ValueError("left")
        assert brew.myhelper(model) == -1
        with pytest.raises(AttributeError, match="already exists"):
            brew.Register(myhelper)
    finally:
        del brew._registry["myhelper"]
    assert brew.has_helper(brew.conv)
    assert brew.has_helper("arg_scope")
    assert not brew.has_helper("myhelper")
    with pytest.raises(
        AttributeError, match=r"convv not registered: graphc's brew does not have it. Did you mean conv"
    ):
        _ = brew.convv
    with pytest.raises(RuntimeError, match="should be model"):
        brew.fc("x", "y", 1, 2)
    with pytest.raises(AssertionError, match="helper functions"), brew.arg_scope("conv"):
        pass


def test_branches_and_loops() -> None:
    """The models of ``brew.cond`` and ``brew.loop`` in Caffe2's own tests."""
    blobs = {"then_value": 1, "else_value": 2, "one": 1, "two": 2, "ten": 10, "counter": 0, "sum": 0, "chosen": 0}
    feeds = {name: np.array(value) for name, value in blobs.items()}
    models = {name: ModelHelper(name=f"{name}_model") for name in ("then", "else", "outer", "body", "test", "loop")}
    models["then"].net.Copy("then_value", "chosen")
    models["else"].net.Copy("else_value", "chosen")
    seen = ["then_value", "else_value", "chosen"]
    brew.cond(models["outer"], "cond", seen, models["then"], models["else"])
    for condition, want in ((True, 1), (False, 2)):
        found = interpreted_nets.run(models["outer"].net, {**feeds, "cond": np.array(condition)}, ["chosen"])
        assert found["chosen"] == want
    models["body"].net.Add(["sum", "two"], "sum")
    models["test"].net.Add(["counter", "one"], "counter")
    models["test"].net.Copy(models["test"].net.LT(["counter", "ten"]), "cond")
    seen = ["cond", "one", "two", "ten", "counter", "sum"]
    brew.loop(models["loop"], "cond", seen, models["body"], models["test"])
    assert interpreted_nets.run(models["loop"].net, {**feeds, "cond": np.array(True)}, ["sum"])["sum"] == 18


# ---- the older way ---------------------------------------------------------------------------------------------------


def test_layers_as_methods(caplog: pytest.LogCaptureFixture) -> None:
    model = CNNModelHelper(order="NCHW", name="cnn", ws_nbytes_limit=1000)
    assert "deprecated" in caplog.text
    x = model.Conv("data", "conv1", 3, 4, 3, stride=1, pad=1, weight_init=model.MSRAInit, bias_init=model.ZeroInit)
    assert last(model)[3:] == (
        {"kernel": 3, "order": b"NCHW", "stride": 1, "pad": 1, "exhaustive_search": 0, "ws_nbytes_limit": 1000},
        "CUDNN",
    )
    x = model.Relu(x, x)
    x = model.MaxPool(x, "pool", kernel=2, stride=2)
    x = model.SpatialBN(x, "bn", 4, is_test=False)
    x = model.LRN(model.AveragePool(x, "ap", kernel=2), "lrn", size=3, alpha=1e-4, beta=0.75)
    x = model.Dropout(model.FC(x, "fc", 16, 5), "drop", is_test=True)
    x = model.Softmax(model.Sum([x, x], "s"), "softmax")
    model.Concat([x, x], "both", axis=0)
    model.Transpose(x, "t", axes=[1, 0])
    model.Accuracy([x, "label"], "accuracy")
    model.Iter("iter")
    assert [op.type for op in model.net.Proto().op] == [
        "Conv", "Relu", "MaxPool", "SpatialBN", "AveragePool", "LRN", "FC", "Dropout", "Sum", "Softmax", "Concat",
        "Transpose", "Accuracy", "Iter",
    ]  # fmt: skip
    assert model.param_init_net.Proto().op[0].type == "MSRAFill"
    assert model.XavierInit == ("XavierFill", {})
    assert model.ConstantInit(2.0) == ("ConstantFill", {"value": 2.0})
    assert (model.CPU.device_type, model.GPU.device_type) == (caffe2_pb2.CPU, caffe2_pb2.CUDA)
    with pytest.raises(ValueError, match="storage order CHWN"):
        CNNModelHelper(order="CHWN")
