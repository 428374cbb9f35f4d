"""Models of layers: their nets for training, evaluation and prediction, parameters, constants, records."""

from __future__ import annotations

from typing import Any

import interpreted_nets
import numpy as np
import pytest
from layer_nets import new_model, record, types

from graphc.caffe2 import core, layer_model_instantiator, schema
from graphc.caffe2.layer_model_helper import LayerModelHelper
from graphc.caffe2.layer_test_util import LayersTestCase, OpSpec
from graphc.caffe2.layers import layers
from graphc.caffe2.layers.layers import IdList, IdScoreList
from graphc.caffe2.layers.tags import TagContext, Tags
from graphc.caffe2.modeling.gradient_clipping import GradientClipping
from graphc.caffe2.modeling.parameter_sharing import ParameterSharing
from graphc.caffe2.optimizer import AdagradOptimizer, SgdOptimizer
from graphc.caffe2.regularizer import L1Norm


def regression() -> LayerModelHelper:
    """A linear model that learns from ``x`` and ``label``."""
    features = schema.Struct(("x", schema.Scalar((np.float32, (2,)))))
    model = LayerModelHelper("model", features, schema.Struct(("label", schema.Scalar(np.float32))))
    model.default_optimizer = SgdOptimizer(base_learning_rate=0.1)
    return model


def test_nets_of_a_model() -> None:
    """Prediction has no loss, evaluation no gradients; a step of training is one of gradient descent."""
    model = regression()
    prediction = model.FC(model.input_feature_schema.x, 1)
    loss = model.BatchMSELoss(schema.Struct(("label", model.trainer_extra_schema.label), ("prediction", prediction)))
    model.add_loss(loss)
    model.add_prediction(prediction)
    model.output_schema = schema.Struct(("prediction", prediction))
    predict = layer_model_instantiator.generate_predict_net(model)
    assert types(predict) == ["FC"]
    assert predict.output_record().field_blobs() == ["fc/output"]
    assert predict.input_record().field_names() == ["x"]
    evaluation = layer_model_instantiator.generate_eval_net(model)
    assert types(evaluation)[0] == "FC"
    assert types(evaluation)[-1] == "AveragedLoss"
    assert evaluation.input_record().field_names() == ["x", "label"]
    init, train = layer_model_instantiator.generate_training_nets(model)
    x, label = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32), np.array([0.5, -1.5], np.float32)
    state = interpreted_nets.initial(init)
    (after,) = interpreted_nets.steps(train, state, [{"x": x, "label": label}])
    error = x @ state["fc/w"].T + state["fc/b"] - label[:, None]
    np.testing.assert_allclose(after["fc/w"], state["fc/w"] - 0.1 * error.T @ x / 2, rtol=1e-5)
    np.testing.assert_allclose(after["fc/b"], state["fc/b"] - 0.1 * error.mean(0), rtol=1e-4)


def test_a_model_without_a_loss() -> None:
    model = regression()
    model.output_schema = schema.Struct(("prediction", model.FC(model.input_feature_schema.x, 1)))
    init, train = layer_model_instantiator.generate_training_nets(model)
    assert types(train) == ["FC"]
    fills = ["GivenTensorFill"] * 3 + ["GivenTensorIntFill"]
    assert types(init) == [*fills, "UniformFill", "UniformFill"]


def test_penalties_and_modifiers() -> None:
    """A penalty becomes a part of the loss; gradients are clipped between the backward pass and the updates."""
    model = regression()
    prediction = model.FC(model.input_feature_schema.x, 1, weight_reg=L1Norm(0.1))
    model.add_loss(model.ReduceFrontSum(prediction, 1, output_dtypes=(np.float32, ())))
    model.output_schema = schema.Struct(("prediction", prediction))
    model.add_post_grad_net_modifiers(GradientClipping("by_value", clip_max=0.01))
    with pytest.raises(AssertionError, match="has to be a NetModifier"):
        model.add_final_net_modifiers(len)
    _, train = layer_model_instantiator.generate_training_nets(model)
    operators = types(train)
    assert operators.index("LpNorm") < operators.index("FCGradient") < operators.index("Clip")
    last_clip = len(operators) - 1 - operators[::-1].index("Clip")
    assert last_clip < operators.index("WeightedSum")
    assert model.loss.field_names()[0] == "unnamed"
    assert len(model.loss.field_names()) == 2


def test_tags() -> None:
    model = regression()
    x = model.input_feature_schema.x
    with Tags(Tags.TRAIN_ONLY):
        model.FC(x, 1)

    @Tags("mine")
    def build() -> Any:
        return model.FC(x, 2)

    model.output_schema = schema.Struct(("prediction", build()))
    assert model.layers[0].tags == set(Tags.TRAIN_ONLY)
    assert model.layers[1].tags == {"mine"}
    assert TagContext.current().tags == []
    assert types(layer_model_instantiator.generate_predict_net(model)) == ["FC"]
    assert len(types(layer_model_instantiator.generate_training_nets_forward_only(model)[1])) == 2
    assert len(types(layer_model_instantiator.generate_training_nets(model, {"mine"})[1])) == 1
    with pytest.raises(AssertionError, match="not the last ones"):
        TagContext.current().remove_tags(["absent"])


def test_shared_parameters() -> None:
    model = regression()
    x = model.input_feature_schema.x
    with ParameterSharing({"second": "first"}):
        for scope in ("first", "second"):
            with core.NameScope(scope):
                model.FC(x, 2)
        model._layer_names.discard("second/fc")
        with core.NameScope("second"), pytest.raises(ValueError, match="inconsistent shapes"):
            model.FC(x, 3)
    assert model.layers[1].w == "first/fc/w"


def test_shared_parameters_have_one_optimizer() -> None:
    model = regression()
    x = model.input_feature_schema.x
    with ParameterSharing({"second": "first"}):
        with core.NameScope("first"):
            model.FC(x, 2, weight_optim=AdagradOptimizer(alpha=0.1))
        with core.NameScope("second"):
            for other in (None, model.NoOptim, AdagradOptimizer(alpha=0.2), SgdOptimizer()):
                model._layer_names.discard("second/fc")
                with pytest.raises(AssertionError, match="is shared and has optimizer"):
                    model.FC(x, 2, weight_optim=other)
            model._layer_names.discard("second/fc")
            with pytest.raises(ValueError, match="optim should be"):
                model.FC(x, 2, weight_optim="adagrad")
            model._layer_names.discard("second/fc")
            model.FC(x, 2, weight_optim=AdagradOptimizer(alpha=0.1))


def test_constants() -> None:
    model = new_model()
    assert model.add_global_constant("flags", [True, False]) == "flags"
    assert model.maybe_add_global_constant("flags", [True, False]) == "flags"
    with pytest.raises(AssertionError, match="conflict initializers"):
        model.maybe_add_global_constant("flags", [True, True])
    with pytest.raises(AssertionError, match="already added"):
        model.add_global_constant("ONE", 2.0)
    model.add_global_constant("text", ["a"], dtype="str")
    model.add_global_constant("made", initializer=lambda blob: core.CreateOperator("ConstantFill", [], blob, shape=[2]))
    init = model.create_init_net("init")
    fills = [op.type.removeprefix("GivenTensor") for op in init.Proto().op]
    assert fills == ["Fill", "Fill", "Fill", "IntFill", "BoolFill", "StringFill", "ConstantFill"]
    found = interpreted_nets.initial(core.Net(types_without_text(init)))
    assert (found["ONE"], found["ZERO"], found["ZERO_RANGE"].tolist()) == (1.0, 0.0, [0, 0])
    assert np.isnan(found["NAN"])


def types_without_text(init: core.Net) -> Any:
    """The net without strings, which the interpreter does not have."""
    proto = init.Proto()
    kept = [op for op in proto.op if "String" not in op.type]
    del proto.op[:]
    proto.op.extend(kept)
    return proto


def test_records() -> None:
    model = new_model()
    x = model.input_feature_schema.x
    for missing in ("output_schema", "preproc_output_schema", "loss", "prediction"):
        with pytest.raises(AssertionError):
            getattr(model, missing)
    model.add_output_schema("a", x)
    model.add_output_schema("b", x)
    assert model.output_schema.field_names() == ["a", "b"]
    with pytest.raises(AssertionError, match="already exists"):
        model.add_output_schema("b", x)
    with pytest.raises(AssertionError, match="should be a scalar"):
        model.add_output_schema("c", None)
    model.loss = x
    model.add_loss(x, "mine")
    model.add_loss(x, "mine")
    assert model.loss.field_names() == ["unnamed", "mine", "mine_auto_0"]
    model.add_metric_field("m", x)
    with pytest.raises(AssertionError, match="twice"):
        model.add_metric_field("m", x)
    model.add_ad_hoc_plot_blob("plotted")
    assert model.metrics_schema.field_names() == ["m", "plotted"]
    model.add_trainer_extra_schema(schema.Struct(("extra", schema.Scalar(np.int64))))
    assert model.trainer_extra_schema.field_blobs() == ["extra"]
    model.breakdown_map = {"a": 1, "b": 0}
    with pytest.raises(AssertionError, match="categories"):
        model.breakdown_map = {"a": 1}


def test_seeds() -> None:
    model = new_model()
    model.store_seed(7)
    net = core.Net("net")
    net.UniformFill([], "a", shape=[1])
    net.UniformFill([], "b", shape=[1])
    model.apply_seed(net)
    assert [op.device_option.random_seed for op in net.Proto().op] == [7, 8]


def test_kinds_of_records() -> None:
    known = schema.Metadata(categorical_limit=5, expected_value=2)
    evicted = schema.ListWithEvicted(schema.Scalar(np.int64, metadata=known))
    assert layers.almost_equal_schemas(evicted, IdList)
    assert not layers.almost_equal_schemas(evicted, IdScoreList)
    assert layers.get_categorical_limit(evicted) == 5
    with pytest.raises(NotImplementedError, match="identifiers are in"):
        layers.get_key(schema.Scalar(np.int64))
    with pytest.raises(AssertionError, match="set their metadata"):
        layers.get_key(schema.List(np.int64))
    scalar = schema.Scalar(np.int64, metadata=known)
    assert not layers.is_request_only_scalar(scalar)
    layers.set_request_only(scalar)
    assert layers.is_request_only_scalar(scalar)
    assert scalar.metadata.categorical_limit == 5


def test_what_is_no_layer() -> None:
    model = new_model()
    with pytest.raises(AttributeError, match="non-registered layer: Fc"):
        model.Fc(model.input_feature_schema.x, 3)
    with pytest.raises(AssertionError, match="FC already exists"):
        layers.register_layer("FC", object)
    with pytest.raises(AssertionError, match="dimensions of the input have to be known"):
        model.FC(record(model, a=np.float32).a, 3)
    with pytest.raises(ValueError, match="named by a text or a blob"):
        model.create_param(3, [1], ("ConstantFill", {}))
    model.FC(model.input_feature_schema.x, 1)
    with pytest.raises(AssertionError, match="needs a net that fills"):
        model.layers[0].add_operators(core.Net("net"))


class TestOfLayers(LayersTestCase):
    """The test case that tests of layers begin with."""

    def test_operators(self) -> None:
        """Operators are compared by type, blobs and arguments."""
        output = self.model.FC(self.model.input_feature_schema.float_features, 3)
        init, train = self.get_training_nets()
        blobs = ["fc/w", "fc/b"]
        self.assertNetContainOps(init, [OpSpec("UniformFill", None, [blob]) for blob in blobs])
        spec = OpSpec("FC", ["float_features", *blobs], [str(output())], {"axis": 1})
        self.assertNetContainOps(train, [spec])
        with pytest.raises(AssertionError):
            self.assertNetContainOps(train, [spec._replace(type="Conv")])
        with pytest.raises(AssertionError):
            self.assertNetContainOps(train, [spec._replace(arg={"axis": 2})])
