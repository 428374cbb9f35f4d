"""``caffe2.python.layer_test_util``: what tests of layers use."""

# ruff: noqa: PT009  (a unittest.TestCase)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.caffe2 import core, layer_model_helper, layer_model_instantiator, schema, test_util, utils, workspace


class OpSpec(NamedTuple):
    """What an operator has to be; None for what is not compared, also for single blobs."""

    type: str
    input: Sequence[Any] | None
    output: Sequence[Any] | None
    arg: Mapping[str, Any] | None = None


class LayersTestCase(test_util.TestCase):
    """A test with an empty workspace and ``self.model``, which takes ``float_features`` of 32 numbers."""

    def setUp(self) -> None:
        """Begin anew."""
        super().setUp()
        self.setup_example()

    def setup_example(self) -> None:
        """Begin anew for each example of hypothesis."""
        workspace.ResetWorkspace()
        self.reset_model()

    def reset_model(self, input_feature_schema: Any = None, trainer_extra_schema: Any = None) -> None:
        """A new model, of other inputs if they are given."""
        features = schema.Struct(("float_features", schema.Scalar((np.float32, (32,)))))
        self.model = layer_model_helper.LayerModelHelper(
            "test_model",
            input_feature_schema=input_feature_schema or features,
            trainer_extra_schema=trainer_extra_schema or schema.Struct(),
        )

    def new_record(self, schema_obj: Any) -> Any:
        """A record with new blobs of the model's net."""
        return schema.NewRecord(self.model.net, schema_obj)

    def get_training_nets(self, add_constants: bool = False) -> tuple[core.Net, core.Net]:
        """The net that fills parameters, with the model's constants if they are asked for, and that of the layers."""
        net = core.Net("train_net")
        init_net = self.model.create_init_net("train_init_net") if add_constants else core.Net("train_init_net")
        for layer in self.model.layers:
            layer.add_operators(net, init_net)
        return init_net, net

    def get_eval_net(self) -> core.Net:
        """The net for evaluation."""
        return layer_model_instantiator.generate_eval_net(self.model)

    def get_predict_net(self) -> core.Net:
        """The net for prediction."""
        return layer_model_instantiator.generate_predict_net(self.model)

    def run_train_net(self) -> None:
        """Train one step."""
        self.model.output_schema = schema.Struct()
        for net in layer_model_instantiator.generate_training_nets(self.model):
            workspace.RunNetOnce(net)

    def run_train_net_forward_only(self, num_iter: int = 1) -> None:
        """Run the net for training, without gradients, so many times."""
        self.model.output_schema = schema.Struct()
        init_net, net = layer_model_instantiator.generate_training_nets_forward_only(self.model)
        workspace.RunNetOnce(init_net)
        if num_iter <= 0:
            raise AssertionError("num_iter must be larger than 0")
        workspace.CreateNet(net)
        workspace.RunNet(net.Proto().name, num_iter=num_iter)

    def assertBlobsEqual(self, spec_blobs: Sequence[Any] | None, op_blobs: Sequence[Any]) -> None:
        """Blobs are the expected ones."""
        if spec_blobs is None:
            return
        self.assertEqual(len(spec_blobs), len(op_blobs))
        for want, found in zip(spec_blobs, op_blobs, strict=True):
            if want is not None:
                self.assertEqual(want, found)

    def assertArgsEqual(self, spec_args: Mapping[str, Any], op_args: Any) -> None:
        """Arguments are the expected ones."""
        self.assertEqual(sorted(spec_args), sorted(arg.name for arg in op_args))
        for arg in op_args:
            self.assertEqual(utils.MakeArgument(arg.name, spec_args[arg.name]), arg)

    def assertNetContainOps(self, net: core.Net, op_specs: Sequence[OpSpec]) -> Any:
        """The operators of a net are the expected ones; gives them."""
        ops = net.Proto().op
        self.assertEqual(len(op_specs), len(ops))
        for op, spec in zip(ops, op_specs, strict=True):
            self.assertEqual(spec.type, op.type)
            self.assertBlobsEqual(spec.input, op.input)
            self.assertBlobsEqual(spec.output, op.output)
            if spec.arg is not None:
                self.assertArgsEqual(spec.arg, op.arg)
        return ops
