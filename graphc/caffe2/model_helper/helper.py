"""``ModelHelper``: a net and the net that makes its parameters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.caffe2 import core, scope
from graphc.caffe2.core.blob_reference import unknown_operator
from graphc.caffe2.helpers.db_input import db_input
from graphc.caffe2.model_helper.known_operators import _known_working_ops
from graphc.caffe2.modeling.parameter_info import ParameterInfo, ParameterTags
from graphc.caffe2.modeling.parameter_sharing import parameter_sharing_context
from graphc.caffe2.optimizer_context import DEFAULT_OPTIM, OptimizerContext
from graphc.caffe2.regularizer_context import RegularizerContext
from graphc.frontends.netdef.schema import Message

_INIT_MARK = "/param_init_net"
"""In the ``debug_info`` of operators that come from the init net, in a complete net."""


class ModelHelper:
    """A model: ``net``, ``param_init_net``, and lists of parameters, to which ``brew`` adds layers.

    ``model.Relu(...)`` adds an operator to ``net``.

    init_params: False where the parameters exist already, as in a test model beside a training model.
    allow_not_known_ops: False refuses operators that may have parameters. param_model: another model whose parameters
    and init net this one uses. arg_scope: arguments that ``brew`` gives its helpers.
    """

    def __init__(
        self,
        name: str | None = None,
        init_params: bool = True,
        allow_not_known_ops: bool = True,
        skip_sparse_optim: bool = False,
        param_model: ModelHelper | None = None,
        arg_scope: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name or "model"
        self.net = core.Net(self.name)
        self.param_init_net: core.Net = (
            core.Net(self.name + "_init") if param_model is None else param_model.param_init_net
        )
        self.param_to_grad: dict[core.BlobReference, Any] = {}
        self.params: list[core.BlobReference] = []
        self._parameters_info: dict[Any, ParameterInfo] = {}
        self._computed_params: list[core.BlobReference] = []
        if param_model is not None:
            self.param_to_grad = param_model.param_to_grad
            self.params = param_model.params
            self._parameters_info = param_model._parameters_info
            self._computed_params = param_model._computed_params
        self._param_info_deprecated: list[ParameterInfo] = []
        self._devices: list[int] = []
        self.gradient_ops_added = False
        self.init_params = init_params
        self.allow_not_known_ops = allow_not_known_ops
        self.skip_sparse_optim = skip_sparse_optim
        self.weights: list[core.BlobReference] = []
        self.biases: list[core.BlobReference] = []
        self.grad_map: dict[core.BlobReference, Any] = {}
        defaults = {"order": "NCHW", "use_cudnn": True, "cudnn_exhaustive_search": False}
        self._arg_scope: dict[str, Any] = {**defaults, **(arg_scope or {})}

    @property
    def arg_scope(self) -> dict[str, Any]:
        """Arguments that ``brew`` gives its helpers."""
        return self._arg_scope

    def get_name(self) -> str:
        """The model's name."""
        return self.name

    # ---- parameters --------------------------------------------------------------------------------------------------

    def create_param(self, param_name: Any, shape: Sequence[int], initializer: Any, tags: Any = None) -> Any:
        """The blob of a parameter; the init net gets the operator that makes it, once.

        param_name: a string, which gets the name scope, or that which ``ParameterSharing`` puts in its place, or a
        blob, whose name stays. initializer: makes the parameter, see ``modeling.initializers``. tags: one or a list of
        ``ParameterTags``. Raises ``AssertionError`` for a parameter that exists with another shape, ``TypeError`` for
        another kind of name.
        """
        if not isinstance(param_name, str | core.BlobReference):
            raise TypeError("Unsupported type for param_name")
        scoped = parameter_sharing_context.get_parameter_name
        name = scoped(param_name) if isinstance(param_name, str) else str(param_name)
        if name in self._parameters_info:
            info = self._parameters_info[name]
            if info.shape != shape:
                raise AssertionError(f"parameter {name} exists with shape {info.shape}, here it has shape {shape}")
            return info.blob
        info = initializer.create_param(
            param_name=core.BlobReference(name), init_net=self.param_init_net, shape=shape
        )  # fmt: skip
        self._set_optimizer(info, tags)
        info.regularizer = RegularizerContext.current()  # type: ignore[attr-defined]
        self._parameters_info[name] = info
        self.AddParameter(info.blob, tags)
        return info.blob

    def _set_optimizer(self, info: ParameterInfo, tags: Any) -> None:
        """The optimizer of ``UseOptimizer`` for one of the tags, else the default one."""
        context = OptimizerContext.current()  # type: ignore[attr-defined]
        for tag in sorted(self._normalize_tags(tags)):
            if context.has_optimizer(tag):
                info.optimizer = context.get_optimizer(tag)
        if not info.optimizer and context.has_optimizer(DEFAULT_OPTIM):
            info.optimizer = context.get_optimizer(DEFAULT_OPTIM)

    def get_param_info(self, param: Any) -> ParameterInfo | None:
        """What is known of a parameter, a blob; None for another blob. Raises ``AssertionError`` for a string."""
        if not isinstance(param, core.BlobReference):
            raise AssertionError(f"Param {param} is not a BlobReference")
        return self._parameters_info.get(str(param))

    def AddParameter(self, param: Any, tags: Any = None) -> None:
        """List a blob among the parameters, among the computed ones, the weights or the biases if it is tagged so."""
        if not isinstance(param, core.BlobReference):
            raise AssertionError(f"Param {param} is not a BlobReference")
        kinds = self._normalize_tags(tags)
        (self._computed_params if ParameterTags.COMPUTED_PARAM in kinds else self.params).append(param)
        if ParameterTags.WEIGHT in kinds:
            self.weights.append(param)
        if ParameterTags.BIAS in kinds:
            self.biases.append(param)

    def add_param_DEPRECATED(
        self, param: Any, key: Any = None, shape: Sequence[int] | None = None, length: int | None = None
    ) -> ParameterInfo:
        """``AddParameter``, and what is known of the blob; ``create_param`` does it better."""
        logging.warning("add_param method is DEPRECATED")
        self._update_param_info_deprecated()
        self.AddParameter(param)
        record = self.net.input_record()
        if key is not None and record is not None:
            key = record.field_names()[record.field_blobs().index(key)]
        shape = shape if shape is not None else self._infer_param_shape(param)
        self._param_info_deprecated.append(
            ParameterInfo(len(self._param_info_deprecated), param, key=key, shape=shape, length=length)
        )
        return self._param_info_deprecated[-1]

    def _update_param_info_deprecated(self) -> None:
        for param in self.params[len(self._param_info_deprecated) :]:
            if not isinstance(param, core.BlobReference):
                raise ValueError(f"Param {param} must be a BlobReference!")
            number = len(self._param_info_deprecated)
            self._param_info_deprecated.append(ParameterInfo(number, param, shape=self._infer_param_shape(param)))
        for info in self._param_info_deprecated:
            info.grad = self.param_to_grad.get(info.blob)

    def _infer_param_shape(self, param: Any) -> list[int] | None:
        """The argument ``shape`` of the operator that makes a parameter, None if it has none."""
        makers = [op for op in self.param_init_net.Proto().op if str(param) in op.output]
        return next((list(arg.ints) for op in makers for arg in op.arg if arg.name == "shape"), None)

    def _normalize_tags(self, tags: Any) -> set[str]:
        return set(tags) if isinstance(tags, list | tuple | set) else {tags} if tags else set()

    @staticmethod
    def _NormalizeNamescope(namescope: str | None) -> str:
        """A scope with a slash at its end, or empty; None is the current one."""
        if namescope is None:
            return scope.CurrentNameScope()
        slash = scope._NAMESCOPE_SEPARATOR
        return namescope if not namescope or namescope.endswith(slash) else namescope + slash

    def GetParams(self, namescope: str | None = None, top_scope: bool = False) -> list[core.BlobReference]:
        """The parameters in a name scope, the current one unless it is said, and in scopes inside of it."""
        return _inside(self.params, self._NormalizeNamescope(namescope))

    def GetComputedParams(self, namescope: str | None = None) -> list[core.BlobReference]:
        """The parameters of a name scope that are computed from data, such as running means."""
        return _inside(self._computed_params, self._NormalizeNamescope(namescope))

    def GetAllParams(self, namescope: str | None = None) -> list[core.BlobReference]:
        """``GetParams`` and ``GetComputedParams``."""
        return self.GetParams(namescope) + self.GetComputedParams(namescope)

    def _Validate(self) -> list[str]:
        """Parameters that are listed more than once, sorted."""
        counts = Counter(map(str, self.params))
        return sorted(name for name, count in counts.items() if count > 1)

    def Validate(self) -> None:
        """Raise ``AssertionError`` if a parameter is listed more than once."""
        if self._Validate():
            raise AssertionError(f"Duplicate params: {self._Validate()}")

    # ---- gradients ---------------------------------------------------------------------------------------------------

    def AddGradientOperators(self, *args: Any, **kwargs: Any) -> dict[core.BlobReference, Any]:
        """``net.AddGradientOperators``; afterwards ``param_to_grad`` holds the gradients of the parameters.

        Raises ``RuntimeError`` the second time.
        """
        if self.gradient_ops_added:
            raise RuntimeError("You cannot run AddGradientOperators twice.")
        self.Validate()
        self.gradient_ops_added = True
        self.grad_map = self.net.AddGradientOperators(*args, **kwargs)
        self.param_to_grad = self.get_param_to_grad(self.params)
        for param, grad in self.param_to_grad.items():
            info = self._parameters_info.setdefault(str(param), ParameterInfo(None, param))
            info.grad = grad
        return self.grad_map

    def get_param_to_grad(self, params: Sequence[core.BlobReference]) -> dict[core.BlobReference, Any]:
        """The gradients of those parameters that have one; raises ``RuntimeError`` before ``AddGradientOperators``."""
        if not self.gradient_ops_added:
            raise RuntimeError("You need to run AddGradientOperators first.")
        return {p: self.grad_map[p] for p in params if p in self.grad_map}

    def GetOptimizationParamInfo(self, params: Sequence[core.BlobReference] | None = None) -> list[ParameterInfo]:
        """What is known of the parameters that have a gradient, of all unless some are listed.

        Those with a sparse gradient are left out if the model was made with ``skip_sparse_optim``.
        """
        if not self.gradient_ops_added:
            raise RuntimeError("Need to call AddGradientOperators first")
        found = self.get_param_to_grad(params) if params else self.param_to_grad
        return [
            self._parameters_info[str(param)]
            for param, grad in found.items()
            if not (self.skip_sparse_optim and isinstance(grad, core.GradientSlice))
        ]

    # ---- nets --------------------------------------------------------------------------------------------------------

    def Proto(self) -> Message:
        """The NetDef of ``net``."""
        return self.net.Proto()

    def InitProto(self) -> Message:
        """The NetDef of ``param_init_net``."""
        return self.param_init_net.Proto()

    def RunAllOnGPU(self, *args: Any, **kwargs: Any) -> None:
        """Note the GPU as the device of both nets; graphc runs them on the CPU."""
        self.param_init_net.RunAllOnGPU(*args, **kwargs)
        self.net.RunAllOnGPU(*args, **kwargs)

    def CreateDB(self, blob_out: Any, db: str, db_type: str, **kwargs: Any) -> Any:
        """A reader of a database, which the init net makes."""
        return self.param_init_net.CreateDB([], blob_out, db=db, db_type=db_type, **kwargs)

    def TensorProtosDBInput(
        self, unused_blob_in: Any, blob_out: Any, batch_size: int, db: str, db_type: str, **kwargs: Any
    ) -> Any:  # fmt: skip
        """Batches of a database, see ``brew.db_input``; the first argument is an empty list."""
        if len(unused_blob_in):
            raise AssertionError(
                "You cannot pass reader to model_helper.TensorProtosDBInput. "
                "Use model.net.TensorProtosDBInput instead to create the op."
            )
        return db_input(self, blob_out, batch_size, db, db_type, **kwargs)

    def GetDevices(self) -> list[int]:
        """The devices of a data parallel model; raises ``AssertionError`` for another one."""
        if not self._devices:
            raise AssertionError("Use data_parallel_model to run model on multiple GPUs.")
        return self._devices

    def GetCompleteNet(self) -> core.Net:
        """One net of the operators of ``param_init_net`` and ``net``; those of the first are marked as such."""
        complete = self.param_init_net.Clone(self.name + "_complete_net", keep_schema=True)
        for op in complete.Proto().op:
            op.debug_info += _INIT_MARK
        complete.AppendNet(self.net)
        if self.net.Proto().HasField("type"):
            complete.Proto().type = self.net.Proto().type
        return complete

    def ConstructInitTrainNetfromNet(self, net: core.Net) -> None:
        """Make both nets of a complete net."""
        marked = [op.debug_info.endswith(_INIT_MARK) for op in net.Proto().op]
        self.param_init_net = _part(net, "generated_param_init_net", [i for i, mark in enumerate(marked) if mark])
        self.net = _part(net, "generated_net", [i for i, mark in enumerate(marked) if not mark])

    # ---- operators ---------------------------------------------------------------------------------------------------

    def __getattr__(self, op_type: str) -> Any:
        """``model.Relu``: adds the operator to ``net``; raises ``AttributeError`` for what is no operator."""
        if op_type.startswith("_") or not core.IsOperator(op_type):
            raise AttributeError(unknown_operator(op_type))
        if op_type not in _known_working_ops:
            if not self.allow_not_known_ops:
                raise AttributeError(f"Operator {op_type} is not known to be safe")
            logging.warning("You are creating an op that the ModelHelper does not recognize: %s.", op_type)
        return self.net.__getattr__(op_type)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *_known_working_ops})


def _inside(params: Sequence[core.BlobReference], namescope: str) -> list[core.BlobReference]:
    return [p for p in params if not namescope or p.GetNameScope().startswith(namescope)]


def _part(net: core.Net, tail: str, mask: Sequence[int]) -> core.Net:
    """A net of some operators of another one.

    External inputs are what these read and do not make before, external outputs what they make and do not read later.
    """
    part = net.Clone(f"{net.Name()}/{tail}", keep_schema=True, op_id_mask=mask)
    made: dict[str, None] = {}
    inputs: dict[str, None] = {}
    read: set[str] = set()
    for op in part.Proto().op:
        inputs.update(dict.fromkeys(name for name in op.input if name not in made))
        read.update(name for name in op.input if name in made)
        made.update(dict.fromkeys(op.output))
    part.Proto().external_input[:] = list(inputs)
    part.Proto().external_output[:] = [name for name in made if name not in read]
    return part
