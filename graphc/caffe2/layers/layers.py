"""``caffe2.python.layers.layers``: what a layer is.

A layer has parameters, takes a record of blobs and gives one, and adds its operators to nets of several kinds: for
training, evaluation and prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphc.caffe2 import schema, scope, utils
from graphc.caffe2.layers._parameter import LayerParameter as LayerParameter
from graphc.caffe2.layers._parameter import LayerPsParam as LayerPsParam
from graphc.caffe2.layers._records import IdList as IdList
from graphc.caffe2.layers._records import IdListWithEvicted as IdListWithEvicted
from graphc.caffe2.layers._records import IdScoreList as IdScoreList
from graphc.caffe2.layers._records import IdScoreListWithEvicted as IdScoreListWithEvicted
from graphc.caffe2.layers._records import almost_equal_schemas as almost_equal_schemas
from graphc.caffe2.layers._records import get_avg_length as get_avg_length
from graphc.caffe2.layers._records import get_categorical_limit as get_categorical_limit
from graphc.caffe2.layers._records import get_key as get_key
from graphc.caffe2.layers._records import is_request_only_scalar as is_request_only_scalar
from graphc.caffe2.layers._records import require as require
from graphc.caffe2.layers._records import set_request_only as set_request_only
from graphc.caffe2.layers._registry import create_layer as create_layer
from graphc.caffe2.layers._registry import get_layer_class as get_layer_class
from graphc.caffe2.layers._registry import layer_exists as layer_exists
from graphc.caffe2.layers._registry import register_layer as register_layer
from graphc.caffe2.layers.tags import TagContext
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


class InstantiationContext:
    """Kinds of nets."""

    ACCUMULATE_PRED = "accumulate_pred"
    EVAL = "eval"
    PREDICTION = "prediction"
    TRAINING = "training"


class AccessedFeatures(NamedTuple):
    """Features that a layer reads: their type, as in ``FeatureSpec``, and the set of their numbers."""

    type: str
    ids: set[int]


class ModelLayer:
    """A subclass sets ``output_schema`` and defines ``add_ops``, and what differs in nets of other kinds.

    Nets for evaluation have the operators of prediction, those for training and for collecting predictions the ones of
    evaluation, unless the methods say otherwise. Blobs and parameters are called ``layer/...``.
    """

    def __init__(
        self,
        model: Any,
        prefix: str,
        input_record: Any,
        predict_input_record_fields: Any = None,
        tags: Any = None,
        **kwargs: Any,
    ) -> None:
        """predict_input_record_fields: the names of the fields that prediction needs, all without them.

        tags: besides those of the context. The other arguments are for the operators of subclasses.
        """
        self.name: str = model.next_layer_name(prefix)
        self.model = model
        self.kwargs = kwargs
        self._input_record = input_record
        fields = predict_input_record_fields
        self._predict_input_record = input_record[fields if isinstance(fields, list) else [fields]] if fields else None
        leaves = input_record.all_scalars()
        self.request_only = bool(leaves) and all(is_request_only_scalar(leaf) for leaf in leaves)
        self.precomputation_request_only = False
        self.precomputation_object_only = False
        self._output_schema: Any = None
        self._predict_output_schema: Any = None
        self.eval_output_schema: Any = None
        self.tags = {*(tags or []), *TagContext.current().tags}
        self.params: list[LayerParameter] = []
        self._export_output_for_metrics = False
        self._export_params_for_metrics = False

    def get_type(self) -> str:
        """The name of the class."""
        return type(self).__name__

    # ---- records -----------------------------------------------------------------------------------------------------

    def _check_output_schema(self) -> None:
        require(self._output_schema is not None, "Schema is not initialized")
        part = self._predict_output_schema
        is_part = part is None or schema.is_schema_subset(part, self._output_schema)
        require(is_part, "predict_output_schema is not a subset of the output_schema")

    @property
    def predict_input_record(self) -> Any:
        """What prediction takes."""
        return self._predict_input_record or self._input_record

    @property
    def input_record(self) -> Any:
        """What the layer takes."""
        return self._input_record

    @property
    def predict_output_schema(self) -> Any:
        """What prediction gives."""
        self._check_output_schema()
        return self._predict_output_schema or self._output_schema

    @predict_output_schema.setter
    def predict_output_schema(self, output_schema: Any) -> None:
        """Set it, once."""
        require(self._predict_output_schema is None, "predict_output_schema has been set")
        self._predict_output_schema = output_schema

    @property
    def output_schema(self) -> Any:
        """What the layer gives; raises ``AssertionError`` before it is set."""
        if self.request_only:
            set_request_only(self._output_schema)
        self._check_output_schema()
        return self._output_schema

    @output_schema.setter
    def output_schema(self, output_schema: Any) -> None:
        """Set it, once."""
        require(self._output_schema is None, "output_schema has been set")
        self._output_schema = output_schema

    # ---- parameters --------------------------------------------------------------------------------------------------

    def get_parameters(self) -> list[LayerParameter]:
        """The parameters."""
        return self.params

    def get_fp16_compatible_parameters(self) -> Sequence[Any]:
        """Parameters that may be of float16."""
        return []

    def get_memory_usage(self) -> int:
        """Bytes of tables."""
        return 0

    def get_accessed_features(self) -> dict[str, list[AccessedFeatures]]:
        """The features that the layer reads, by field."""
        return {}

    def create_param(
        self,
        param_name: str,
        shape: Any,
        initializer: Any,
        optimizer: Any,
        ps_param: LayerPsParam | None = None,
        regularizer: Any = None,
    ) -> Any:
        """A parameter ``layer/param_name``, see ``LayerModelHelper.create_param``; gives its blob."""
        with scope.NameScope(self.name, reset=True):
            param = self.model.create_param(
                param_name=param_name,
                shape=shape,
                initializer=initializer,
                optimizer=optimizer,
                ps_param=ps_param,
                regularizer=regularizer,
            )
        is_new = all(param.parameter != known.parameter for known in self.params)
        require(is_new, f"layer {self.name} has two parameters {param}")
        self.params.append(param)
        return param.parameter

    def get_next_blob_reference(self, name: str) -> Any:
        """A blob ``layer/name``, or with a number where there is one."""
        with scope.NameScope(self.name, reset=True):
            return self.model.net.NextScopedBlob(name)

    def add_init_params(self, init_net: Any) -> None:
        """Add the operators that fill the parameters to a net, each once, on the current device."""
        for param in self.params:
            if param.initializer is None:
                continue
            op = _placed(param.initializer)
            if not any(utils.OpAlmostEqual(known, op, "debug_info") for known in init_net.Proto().op):
                init_net.Proto().op.extend([op])

    # ---- operators ---------------------------------------------------------------------------------------------------

    def add_operators(self, net: Any, init_net: Any = None, context: str = InstantiationContext.TRAINING) -> None:
        """Add the operators for a kind of net, and those that fill the parameters to another one.

        Raises ``AssertionError`` for training without a net for parameters.
        """
        contexts = {
            InstantiationContext.TRAINING: self.add_train_ops,
            InstantiationContext.EVAL: self.add_eval_ops,
            InstantiationContext.ACCUMULATE_PRED: self.add_ops_to_accumulate_pred,
            InstantiationContext.PREDICTION: self.add_ops,
        }
        require(init_net or context != InstantiationContext.TRAINING, "training needs a net that fills the parameters")
        with scope.NameScope(self.name):
            if init_net:
                self.add_init_params(init_net)
            contexts[context](net)
            exports = context in (InstantiationContext.TRAINING, InstantiationContext.EVAL)
            if exports and self._export_params_for_metrics:
                self.add_param_copy_operators(net)

    def add_ops(self, net: Any) -> None:
        """Add the operators for prediction."""
        raise NotImplementedError

    def add_eval_ops(self, net: Any) -> None:
        """Add the operators for evaluation."""
        self.add_ops(net)

    def add_train_ops(self, net: Any) -> None:
        """Add the operators for training."""
        self.add_eval_ops(net)

    def add_ops_to_accumulate_pred(self, net: Any) -> None:
        """Add the operators that collect predictions and labels."""
        self.add_eval_ops(net)

    # ---- metrics -----------------------------------------------------------------------------------------------------

    def add_param_copy_operators(self, net: Any) -> None:
        """Copy the parameters into the fields of the metrics."""
        for param in self.params:
            net.Copy([param.parameter], self.model.metrics_schema[str(param.parameter)].field_blobs())

    def export_output_for_metrics(self) -> None:
        """Make the output a field of the metrics."""
        self._export_output_for_metrics = True
        self.model.add_metric_field(self.name + "/output", self.output_schema)

    def export_params_for_metrics(self) -> None:
        """Make copies of the parameters fields of the metrics."""
        self._export_params_for_metrics = True
        for param in self.params:
            copied = self.get_next_blob_reference(str(param).split("/")[-1] + "_copy")
            self.model.add_metric_field(str(param.parameter), copied)


def _placed(op: Message) -> Message:
    """The operator, with the current device unless it has one."""
    device = scope.CurrentDeviceScope()
    if op.HasField("device_option") or not device:
        return op
    placed = caffe2_pb2.OperatorDef()
    placed.CopyFrom(op)
    placed.device_option.CopyFrom(device)
    return placed
