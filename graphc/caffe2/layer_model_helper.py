"""``caffe2.python.layer_model_helper``: models of layers.

``model.FC(record, 10)`` adds a layer and gives its output record; ``model.Relu(record, 1)`` makes a layer of any
operator. Nets for training, evaluation and prediction are then made of the layers (``layer_model_instantiator``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np

from graphc.caffe2 import core, model_helper, muji, schema, scope, utils
from graphc.caffe2.layers import layers
from graphc.caffe2.layers.layers import require
from graphc.caffe2.modeling.net_modifier import NetModifier
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.modeling.parameter_sharing import parameter_sharing_context
from graphc.caffe2.optimizer import Optimizer, get_param_device
from graphc.caffe2.regularizer import RegularizationBy
from graphc.frontends.netdef.schema import Message

Initializer = Callable[[Any], Message]
_FILLS = {
    "i4": "GivenTensorIntFill",
    "i8": "GivenTensorInt64Fill",
    "b1": "GivenTensorBoolFill",
}
"""Fills of constants by kind and size of the elements; strings have one of their own, other numbers are float32."""
_FUNCTIONAL = "FunctionalLayer"
"""What comes before an operator's name where a layer has that name, too."""


class LayerModelHelper(model_helper.ModelHelper):
    """A model that keeps its layers, and the optimizer and regularizer of each parameter.

    ``net`` and ``param_init_net`` grow with every layer, so that mistakes show at once. The constants ONE, ZERO, NAN
    and ZERO_RANGE are in every init net.
    """

    def __init__(
        self,
        name: str,
        input_feature_schema: Any,
        trainer_extra_schema: Any,
        keep_blobs: bool = False,
        use_attribution: bool = True,
    ) -> None:
        """input_feature_schema: what every net takes; trainer_extra_schema: what training takes besides.

        Both get new blobs unless ``keep_blobs``. use_attribution: kept for scripts.
        """
        super().__init__(name=name)
        self._layer_names: set[str] = set()
        self._layers: list[Any] = []
        self._param_to_shape: dict[str, Any] = {}
        self._seed: int | None = None
        self._sequence_seed = True
        self.param_to_optim: dict[str, Any] = {}
        self.param_to_reg: dict[Any, Any] = {}
        self._default_optimizer: Any = None
        self._loss: Any = None
        self._prediction: list[tuple[Any, float]] = []
        self._output_schema: Any = None
        self._preproc_output_schema: Any = None
        self._post_grad_net_modifiers: list[NetModifier] = []
        self._final_net_modifiers: list[NetModifier] = []
        self._breakdown_map: dict[str, int] | None = None
        self._transfer_learning_blob_name_mappings: Any = None

        def bound(record: Any) -> Any:
            return record.clone() if keep_blobs else schema.NewRecord(self.net, record)

        self._input_feature_schema = bound(input_feature_schema)
        self._trainer_extra_schema = bound(trainer_extra_schema)
        self._metrics_schema = schema.Struct()
        self._init_global_constants()
        self.param_init_net = self.create_init_net("param_init_net")
        self._initialize_params = True
        self.ad_hoc_diagnose_blobs_and_operations: list[Any] = []
        self.ad_hoc_plot_blobs: list[Any] = []
        self.use_attribution = use_attribution

    # ---- constants ---------------------------------------------------------------------------------------------------

    def _init_global_constants(self) -> None:
        self.global_constants: dict[str, Any] = {}
        self.global_constant_initializers: dict[Any, Message] = {}
        self.add_global_constant("ONE", 1.0)
        self.add_global_constant("NAN", float("NaN"))
        self.add_global_constant("ZERO", 0.0)
        self.add_global_constant("ZERO_RANGE", [0, 0], dtype="int32")

    @staticmethod
    def _get_global_constant_initializer_op(
        blob_name: Any, array: Any = None, dtype: Any = None, initializer: Initializer | None = None
    ) -> Message:
        if initializer is not None:
            require(array is None, "Only one from array and initializer should be specified")
            return initializer(blob_name)
        require(array is not None, "a constant is an array, or has an initializer")
        values = np.array(array, dtype=dtype)
        fill = "GivenTensorStringFill" if values.dtype.kind in "SU" else _FILLS.get(values.dtype.str[1:])
        return core.CreateOperator(
            fill or "GivenTensorFill", [], blob_name, shape=values.shape, values=values.flatten().tolist()
        )

    def add_global_constant(
        self, name: str, array: Any = None, dtype: Any = None, initializer: Initializer | None = None
    ) -> Any:
        """A blob that every init net fills: with an array, or by the operator that ``initializer(blob)`` gives.

        Raises ``AssertionError`` for a name that is taken.
        """
        require(isinstance(name, str), "name should be a string as we are using it as map key")
        require(name not in self.global_constants, f"{name} already added in global_constants")
        blob = self.net.NextBlob(name)
        self.global_constants[name] = blob
        self.global_constant_initializers[blob] = self._get_global_constant_initializer_op(
            blob, array, dtype, initializer
        )
        return blob

    def maybe_add_global_constant(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The constant of this name, made if need be; raises ``AssertionError`` for other contents than before."""
        if name not in self.global_constants:
            return self.add_global_constant(name, *args, **kwargs)
        blob = self.global_constants[name]
        op = self._get_global_constant_initializer_op(blob, *args, **kwargs)
        before = self.global_constant_initializers[blob]
        same = utils.OpAlmostEqual(op, before, "debug_info")
        require(same, f"conflict initializers for global constant {blob}, previous {before}, now {op}")
        return blob

    def _add_global_constants(self, init_net: core.Net) -> None:
        init_net.Proto().op.extend(self.global_constant_initializers.values())

    def create_init_net(self, name: str) -> core.Net:
        """A net that fills the constants."""
        init_net = core.Net(name)
        self._add_global_constants(init_net)
        return init_net

    def _GetOne(self) -> Any:
        return self.global_constants["ONE"]

    # ---- parameters --------------------------------------------------------------------------------------------------

    def set_initialize_params(self, initialize_params: bool) -> None:
        """Whether parameters that are created from now on have operators that fill them."""
        self._initialize_params = initialize_params

    def create_param(
        self,
        param_name: Any,
        shape: Any,
        initializer: Any,
        optimizer: Any = None,
        ps_param: Any = None,
        regularizer: Any = None,
    ) -> layers.LayerParameter:
        """A parameter, filled by ``(operator,)`` or ``(operator, arguments)``.

        A text is a name in the current scope, or in the one that it is shared with; a ``BlobReference`` is taken as it
        is. Raises ``ValueError`` for a shared parameter of another shape, ``AssertionError`` for another optimizer.
        """
        if isinstance(param_name, core.BlobReference):
            name = str(param_name)
        elif isinstance(param_name, str):
            name = parameter_sharing_context.get_parameter_name(param_name)
        else:
            raise ValueError(f"a parameter is named by a text or a blob, not {param_name!r}")
        blob = core.BlobReference(name)
        param = layers.LayerParameter(
            parameter=blob,
            initializer=_fill(blob, shape, initializer) if self._initialize_params else None,
            optimizer=optimizer,
            ps_param=ps_param,
            regularizer=regularizer,
        )
        self._validate_param_shape(name, shape)
        self._validate_param_optim(name, optimizer)
        self._param_to_shape[name] = shape
        return param

    def _validate_param_shape(self, param_name: str, shape: Any) -> None:
        before = self._param_to_shape.get(param_name, shape)
        if shape != before:
            raise ValueError(
                "Got inconsistent shapes between shared parameters when trying to map a blob in scope "
                f"{scope.CurrentNameScope()} to {param_name}. ref_shape : {before}, shape : {shape}"
            )

    def _validate_param_optim(self, param_name: str, optim: Any) -> None:
        """A shared parameter has the optimizer it had: the model's (None), ``NoOptim``, or one of the same settings."""
        if param_name not in self.param_to_optim:
            return
        before = self.param_to_optim[param_name]
        if optim is None:
            same = before == self._default_optimizer
        elif optim == self.NoOptim:
            same = before == self.NoOptim
        elif isinstance(optim, Optimizer):
            same = type(optim) is type(before) and optim.attributes == before.attributes
        else:
            raise ValueError(f"optim should be either None, NoOptim, or an instance of Optimizer, Got {optim}")
        require(same, f"parameter {param_name} is shared and has optimizer {before}, not {optim}")

    def get_parameter_blobs(self) -> list[Any]:
        """The parameters of all layers."""
        return [param.parameter for layer in self._layers for param in layer.get_parameters()]

    # ---- layers ------------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Any]:
        """The layers."""
        return self._layers

    def next_layer_name(self, prefix: str) -> str:
        """A name in the current scope that no layer has: ``fc``, ``fc_auto_0``, ..."""
        base = name = core.ScopedName(prefix)
        index = 0
        while name in self._layer_names:
            name, index = f"{base}_auto_{index}", index + 1
        self._layer_names.add(name)
        return name

    def add_layer(self, layer: Any) -> Any:
        """Append a layer; gives its output record."""
        self._layers.append(layer)
        for param in layer.get_parameters():
            self.param_to_optim[str(param.parameter)] = param.optimizer or self.default_optimizer
            self.params.append(param.parameter)
            if isinstance(param, layers.LayerParameter):
                self.param_to_reg[param.parameter] = param.regularizer
            elif not isinstance(param, ParameterInfo):
                raise ValueError(f"a parameter is a ParameterInfo or a LayerParameter, not {param}")
        layer.add_operators(self.net, self.param_init_net)
        return layer.output_schema

    def __getattr__(self, layer: str) -> Callable[..., Any]:
        """The function that adds a layer, or an operator as one; ``AttributeError`` for what is neither.

        Where both have the name, ``FunctionalLayerSplit`` is the operator.
        """
        if layer.startswith("__"):
            raise AttributeError(layer)
        if layers.layer_exists(layer):
            return partial(self._create_and_add, layer)
        op_type = layer.removeprefix(_FUNCTIONAL)
        if not core.IsOperator(op_type):
            raise AttributeError(f"Trying to create non-registered layer: {layer}")
        return partial(self._add_functional, op_type)

    def _create_and_add(self, layer: str, *args: Any, **kwargs: Any) -> Any:
        made = layers.create_layer(layer, self, *args, **kwargs)
        if kwargs.get("output_to_metrics", False):
            made.export_output_for_metrics()
        if kwargs.get("params_to_metrics", False):
            made.export_params_for_metrics()
        return self.add_layer(made)

    def _add_functional(self, op_type: str, *args: Any, **kwargs: Any) -> Any:
        def apply(net: core.Net, in_record: Any, out_record: Any, **arguments: Any) -> None:
            getattr(net, op_type)(in_record.field_blobs(), out_record.field_blobs(), **arguments)

        kwargs.setdefault("name", op_type)
        return self._create_and_add("Functional", *args, function=apply, **kwargs)

    # ---- records -----------------------------------------------------------------------------------------------------

    @property
    def input_feature_schema(self) -> Any:
        """What every net takes."""
        return self._input_feature_schema

    @property
    def trainer_extra_schema(self) -> Any:
        """What training and evaluation take besides."""
        return self._trainer_extra_schema

    def add_trainer_extra_schema(self, trainer_extra_schema: Any) -> None:
        """Append fields, with new blobs."""
        self._trainer_extra_schema += schema.NewRecord(self.net, trainer_extra_schema)

    @property
    def metrics_schema(self) -> Any:
        """What nets for training and evaluation give besides."""
        return self._metrics_schema

    def add_metric_field(self, name: str, value: Any) -> None:
        """Append a field; raises ``AssertionError`` for a name that is taken."""
        require(name not in self._metrics_schema.fields, f"Try to add metric field twice: {name}")
        self._metrics_schema = self._metrics_schema + schema.Struct((name, value))

    def filter_metrics_schema(self, white_set: Collection[str]) -> None:
        """Drop the fields that are not in the set."""
        for name in self._metrics_schema.field_names():
            if name not in white_set:
                self._metrics_schema = self._metrics_schema - schema.Struct((name, schema.Scalar()))

    def add_ad_hoc_plot_blob(self, blob: Any, dtype: Any = None) -> None:
        """Append a blob, a number unless its type is given, to the metrics."""
        require(isinstance(blob, str | core.BlobReference), f"expect type str or BlobReference, but got {type(blob)}")
        self.add_metric_field(str(blob), schema.Scalar(dtype or (np.float64, (1,)), core.BlobReference(str(blob))))
        self.ad_hoc_plot_blobs.append(blob)

    @property
    def output_schema(self) -> Any:
        """What nets give; raises ``AssertionError`` before it is set."""
        require(self._output_schema is not None, "output_schema has not been set")
        return self._output_schema

    @output_schema.setter
    def output_schema(self, value: Any) -> None:
        """Set it, once."""
        require(self._output_schema is None, "output_schema has been set")
        self._output_schema = value

    def clear_output_schema(self) -> None:
        """Forget it."""
        self._output_schema = None

    def add_output_schema(self, name: str, value: Any) -> None:
        """Append a field, a ``Scalar`` or ``Struct``; raises ``AssertionError`` for a name that is taken."""
        is_record = isinstance(value, schema.Scalar | schema.Struct)
        require(is_record, f"Added output schema {name} should be a scalar or a struct, not {type(value)}.")
        old = self._output_schema if self._output_schema is not None else schema.Struct()
        require(name not in old.fields, f"Output Schema Field {name} already exists")
        self._output_schema = old + schema.Struct((name, value))

    @property
    def preproc_output_schema(self) -> Any:
        """What a net that prepares the data gives; raises ``AssertionError`` before it is set."""
        require(self._preproc_output_schema is not None, "preproc_output_schema has not been set")
        return self._preproc_output_schema

    @preproc_output_schema.setter
    def preproc_output_schema(self, value: Any) -> None:
        """Set it, once."""
        require(self._preproc_output_schema is None, "preproc_output_schema has been set")
        self._preproc_output_schema = value

    @property
    def prediction(self) -> list[tuple[Any, float]]:
        """The predictions and their weights; raises ``AssertionError`` without any."""
        require(self._prediction, "model prediction is empty")
        return self._prediction

    def add_prediction(self, prediction: Any, weight: float = 1.0) -> None:
        """Append a prediction."""
        require(prediction is not None, "Added prediction should not be None")
        self._prediction.append((prediction, weight))

    @property
    def loss(self) -> Any:
        """The loss, or a ``Struct`` of them; raises ``AssertionError`` before it is set."""
        require(self._loss is not None, "the model has no loss")
        return self._loss

    @loss.setter
    def loss(self, loss: Any) -> None:
        """Set it, once."""
        require(self._loss is None, "the loss has been set")
        self._loss = loss

    def has_loss(self) -> bool:
        """There is a loss."""
        return self._loss is not None

    def add_loss(self, loss: Any, name: str = "unnamed") -> None:
        """Append a loss; one whose name is taken is called ``name_auto_0``, ``name_auto_1``, ..."""
        is_record = isinstance(loss, schema.Scalar | schema.Struct)
        require(is_record, f"Added loss should be a scalar or a struct, not {type(loss)}")
        old = self._loss if self._loss is not None else schema.Struct()
        if isinstance(old, schema.Scalar):
            old = schema.Struct(("unnamed", old))
        free, index = name, 0
        while free in old:
            free, index = f"{name}_auto_{index}", index + 1
        self._loss = old + schema.Struct((free, loss))

    @property
    def breakdown_map(self) -> dict[str, int] | None:
        """Numbers of categories, by name; kept for scripts."""
        return self._breakdown_map

    @breakdown_map.setter
    def breakdown_map(self, breakdown_map: dict[str, int]) -> None:
        """Set it; raises ``AssertionError`` unless the numbers count from 0."""
        by_name = isinstance(breakdown_map, dict) and all(isinstance(key, str) for key in breakdown_map)
        require(by_name and sorted(breakdown_map.values()) == list(range(len(breakdown_map))), "no map of categories")
        self._breakdown_map = breakdown_map

    @property
    def transfer_learning_blob_name_mappings(self) -> Any:
        """Names of blobs in another model; kept for scripts."""
        return self._transfer_learning_blob_name_mappings

    @transfer_learning_blob_name_mappings.setter
    def transfer_learning_blob_name_mappings(self, blob_name_mappings: Any) -> None:
        """Set them."""
        require(blob_name_mappings is not None, "Transfer learning blob name mappings should not be None")
        self._transfer_learning_blob_name_mappings = blob_name_mappings

    # ---- seeds -------------------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int | None:
        """The seed of random operators."""
        return self._seed

    @property
    def sequence_seed(self) -> bool:
        """Operator i has the seed plus i."""
        return self._sequence_seed

    def store_seed(self, seed: int, sequence_seed: bool = True) -> None:
        """Set the seed for ``apply_seed``."""
        self._seed = seed
        self._sequence_seed = sequence_seed

    def apply_seed(self, net: core.Net) -> None:
        """Give the operators of a net the seed, if there is one."""
        if self._seed:
            net.set_rand_seed(self._seed, self._sequence_seed)

    # ---- training ----------------------------------------------------------------------------------------------------

    @property
    def default_optimizer(self) -> Any:
        """The optimizer of parameters without one."""
        return self._default_optimizer

    @default_optimizer.setter
    def default_optimizer(self, optimizer: Any) -> None:
        """Set it, before layers are added."""
        self._default_optimizer = optimizer

    def NoOptim(self, *args: Any, **kwargs: Any) -> None:
        """The optimizer of parameters that are not learned."""

    def add_post_grad_net_modifiers(self, modifier: NetModifier) -> None:
        """Have a net for training modified behind the gradients, before the optimizers."""
        _append(self._post_grad_net_modifiers, modifier)

    def add_final_net_modifiers(self, modifier: NetModifier) -> None:
        """Have a net for training modified at its end."""
        _append(self._final_net_modifiers, modifier)

    def apply_regularizers_on_loss(
        self, train_net: core.Net, train_init_net: core.Net, blob_to_device: Mapping[str, Message] | None = None
    ) -> None:
        """Add the penalties of all parameters to the loss."""
        for param, regularizer in self.param_to_reg.items():
            if regularizer is None:
                continue
            added = regularizer(train_net, train_init_net, param, grad=None, by=RegularizationBy.ON_LOSS)
            if added is not None:
                self.add_loss(schema.Scalar(blob=added), str(added))

    def apply_regularizers_after_optimizer(
        self,
        train_net: core.Net,
        train_init_net: core.Net,
        grad_map: Mapping[Any, Any],
        blob_to_device: Mapping[str, Message] | None = None,
    ) -> None:
        """Add the operators that keep parameters within bounds."""
        for param, regularizer in self.param_to_reg.items():
            if regularizer is None:
                continue
            grad = grad_map.get(str(param))
            with core.DeviceScope(_device(param, grad, blob_to_device)):
                regularizer(train_net, train_init_net, param, grad=grad, by=RegularizationBy.AFTER_OPTIMIZER)

    def apply_post_grad_net_modifiers(
        self,
        trainer_net: core.Net,
        trainer_init_net: core.Net,
        grad_map: Mapping[Any, Any],
        blob_to_device: Mapping[str, Message] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Apply those modifiers, to the gradients of the parameters."""
        of_params = {param: grad_map[param] for param in self.param_to_optim if param in grad_map}
        for modifier in self._post_grad_net_modifiers:
            modifier(trainer_net, trainer_init_net, of_params, blob_to_device, modify_output_record)

    def apply_final_net_modifiers(
        self,
        trainer_net: core.Net,
        trainer_init_net: core.Net,
        grad_map: Mapping[Any, Any],
        blob_to_device: Mapping[str, Message] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Apply those modifiers, with all gradients."""
        for modifier in self._final_net_modifiers:
            modifier(trainer_net, trainer_init_net, grad_map, blob_to_device, modify_output_record)

    def apply_optimizers(
        self,
        train_net: core.Net,
        train_init_net: core.Net,
        grad_map: Mapping[Any, Any],
        blob_to_device: Mapping[str, Message] | None = None,
    ) -> None:
        """Add the updates of all parameters; raises ``AssertionError`` where there is no optimizer."""
        for param, optimizer in self.param_to_optim.items():
            require(optimizer is not None, "default optimizer must have been set in add_layer")
            grad = grad_map.get(str(param))
            device = _device(param, grad, blob_to_device)
            del device.extra_info[:]
            with core.DeviceScope(device):
                optimizer(train_net, train_init_net, param, grad)


def _append(modifiers: list[NetModifier], modifier: NetModifier) -> None:
    require(isinstance(modifier, NetModifier), f"{modifier} has to be a NetModifier instance")
    require(modifier not in modifiers, f"{modifier} is already in {modifiers}")
    modifiers.append(modifier)


def _fill(blob: Any, shape: Any, initializer: Any) -> Message:
    """The operator that fills a parameter."""
    op_type, arguments = initializer if len(initializer) == 2 else (*initializer, {})
    arguments = copy.deepcopy(arguments)
    if shape is not None:
        require("shape" not in arguments, f"the shape of {blob} is given twice")
        arguments["shape"] = shape
    return core.CreateOperator(op_type, [], blob, **arguments)


def _device(param: Any, grad: Any, blob_to_device: Mapping[str, Message] | None) -> Message:
    return get_param_device(str(param), grad, param_to_device=blob_to_device or {}, default_device=muji.OnCPU())
