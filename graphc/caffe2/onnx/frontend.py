"""``caffe2.python.onnx.frontend``: a net and its weights become a model of ONNX."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.caffe2 import core, workspace
from graphc.caffe2.onnx._context import OPSET, Call, Context, UntranslatableError, onnx_package
from graphc.caffe2.onnx._operators import TRANSLATIONS
from graphc.caffe2.onnx.workspace import Workspace
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.schema import dtype_for_core_type
from graphc.frontends.netdef.schema import Message

IR_VERSION = 4
"""The oldest that may hold weights that are no inputs; runtimes of every year read it."""
_LOG = logging.getLogger(__name__)
ValueInfo = dict[str, tuple[int, Any]]
"""Type, a number of ONNX's, and shape, by blob."""


class Caffe2Frontend:
    """The functions of this module, as a class."""

    target_opset_version = OPSET

    @classmethod
    def caffe2_net_to_onnx_graph(
        cls, predict_net: Message, init_net: Message | None = None, value_info: Mapping[str, Any] | None = None
    ) -> Any:
        """A ``GraphProto``: nodes of opset 9, the init net's blobs as initializers.

        value_info: type and shape of the inputs, ``{"data": (onnx.TensorProto.FLOAT, (1, 3, 224, 224))}``; what the
        init net puts there is ignored. Sizes of the graph are those of the inputs. Outputs that ONNX's operators do not
        give, such as the old shape of Reshape, are left out. Neither net is changed. Raises
        ``ValueError`` for what is no dict, ``RuntimeError`` for inputs that nothing is known of, and for operators that
        have no translation, all of which it names.
        """
        if value_info is not None and not isinstance(value_info, dict):
            raise ValueError("Please pass value_info as a name -> (type, shape) dictionary")
        known: ValueInfo = {name: (info[0], tuple(info[1])) for name, info in (value_info or {}).items()}
        net = copy.deepcopy(predict_net)
        weights = _weights(init_net, known)
        cls.ssa_rewrite(net, None, known)
        fed = {name: _array_type(array) for name, array in weights.items()} | known
        missing = [name for name in net.external_input if name not in fed]
        if missing:
            raise RuntimeError(f"Could not find value info of inputs: {', '.join(missing)}")
        _refuse(net, {number: problem for number, op in enumerate(net.op) if (problem := _problem(op))})
        known = _inferred(net, fed)
        graph = Context({name: shape for name, (_, shape) in known.items()}, _names(net))
        _translate(net, graph)
        return _graph_proto(net, graph, known, weights)

    @classmethod
    def caffe2_net_to_onnx_model(cls, *args: Any, **kwargs: Any) -> Any:
        """A ``ModelProto`` of ``caffe2_net_to_onnx_graph``, which onnx's checker has seen."""
        helper = onnx_package("helper")
        opset = helper.make_opsetid("", cls.target_opset_version)
        graph = cls.caffe2_net_to_onnx_graph(*args, **kwargs)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="graphc")
        model.ir_version = IR_VERSION
        onnx_package("checker").check_model(model)
        return model

    @classmethod
    def caffe2_init_net_to_initializer(cls, init_net: Message) -> list[Any]:
        """The blobs that an init net makes, as ``TensorProto``, sorted by name."""
        return _initializers(_weights(init_net, {}))

    @classmethod
    def ssa_rewrite(cls, net: Message, init_net: Message | None, value_info: Mapping[str, Any]) -> None:
        """Give every value of a net, which is changed, a name of its own: a blob written twice is x, x_1 and x_2."""
        ssa, last = core.get_ssa(net)
        written: dict[str, set[int]] = {}
        for name, version in (pair for inputs, outputs in ssa for pair in (*inputs, *outputs)):
            written.setdefault(name, set()).add(version)

        def named(name: str, version: int) -> str:
            return name if version == 0 or len(written.get(name, ())) <= 1 else f"{name}_{version}"

        for op, (inputs, outputs) in zip(net.op, ssa, strict=True):
            op.input[:] = [named(*pair) for pair in inputs]
            op.output[:] = [named(*pair) for pair in outputs]
        net.external_output[:] = [named(name, last[name]) for name in net.external_output]


def _weights(init_net: Message | None, known: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What an init net makes, but for what is known to be an input."""
    if init_net is None:
        return {}
    own = caffe2_pb2.NetDef()
    own.CopyFrom(init_net)
    kept = [op for op in init_net.op if not (len(op.output) == 1 and op.output[0] in known)]
    del own.op[:]
    own.op.extend(kept)
    made = Workspace()
    made.RunNetOnce(own)
    return {name: made.FetchBlob(name) for name in sorted({name for op in kept for name in op.output})}


def _array_type(array: np.ndarray) -> tuple[int, Any]:
    return onnx_package("helper").np_dtype_to_tensor_dtype(array.dtype), array.shape


def _inferred(net: Message, fed: ValueInfo) -> ValueInfo:
    """Types and shapes of all blobs of a net whose inputs are known."""
    helper = onnx_package("helper")
    core_types = {np.dtype(dtype_for_core_type(n)): n for n in _NUMBERS}
    types = {name: core_types[np.dtype(helper.tensor_dtype_to_np_dtype(number))] for name, (number, _) in fed.items()}
    dims = {name: list(shape) for name, (_, shape) in fed.items()}
    shapes, found = workspace.InferShapesAndTypes([net], dims, blob_types=types)
    to_onnx = {n: helper.np_dtype_to_tensor_dtype(dtype) for dtype, n in core_types.items()}
    return {
        name: (to_onnx[found[name]], tuple(shape)) for name, shape in shapes.items() if found[name] in to_onnx
    } | fed


_TENSOR = caffe2_pb2.TensorProto
_NUMBERS = [_TENSOR.FLOAT, _TENSOR.INT32, _TENSOR.BOOL, _TENSOR.UINT8, _TENSOR.INT8, _TENSOR.INT64, _TENSOR.DOUBLE]


def _names(net: Message) -> set[str]:
    return {name for op in net.op for name in (*op.input, *op.output)} | {*net.external_input, *net.external_output}


TRAINED = ("SpatialBN", "Dropout")
"""Operators that have a translation with ``is_test`` alone."""


def _problem(op: Message) -> str:
    """Why an operator has no translation, as far as it says itself; empty if it may have one."""
    if op.type not in TRANSLATIONS:
        return "it has no translation"
    if op.type in TRAINED and not Call(op).arg("is_test"):
        return "it has no translation in training; set is_test=1"
    return ""


def _translate(net: Message, graph: Context) -> None:
    """Add the nodes of all operators; raises ``RuntimeError`` with everything that has no translation."""
    problems = {}
    for number, op in enumerate(net.op):
        try:
            TRANSLATIONS[op.type](Call(op), graph)
        except UntranslatableError as error:
            problems[number] = str(error)
    _refuse(net, problems)


def _refuse(net: Message, problems: Mapping[int, str]) -> None:
    """Raise ``RuntimeError`` if there are problems, which go by the number of the operator."""
    lines = [f"op #{i} {net.op[i].type} ({', '.join(net.op[i].output)}): {text}" for i, text in problems.items()]
    if lines:
        raise RuntimeError(f"net '{net.name}' cannot become a model of ONNX:\n" + "\n".join(lines))


def _graph_proto(net: Message, graph: Context, known: ValueInfo, weights: Mapping[str, np.ndarray]) -> Any:
    helper = onnx_package("helper")

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, known[name][0], known[name][1])

    made = {name for node in graph.nodes for name in node.output} | set(weights)
    lost = [name for name in net.external_output if name not in made]
    if lost:
        _LOG.warning("left out, as ONNX's operators do not give it: %s", ", ".join(lost))
    inputs = [info(name) for name in dict.fromkeys(net.external_input)]
    outputs = [info(name) for name in dict.fromkeys(net.external_output) if name in made]
    initializers = _initializers({**weights, **graph.constants})
    return helper.make_graph(graph.nodes, net.name or "graph", inputs, outputs, initializers)


def _initializers(arrays: Mapping[str, np.ndarray]) -> list[Any]:
    from_array = onnx_package("numpy_helper").from_array
    return [from_array(np.asarray(array), name=name) for name, array in arrays.items()]


caffe2_net_to_onnx_graph = Caffe2Frontend.caffe2_net_to_onnx_graph
caffe2_net_to_onnx_model = Caffe2Frontend.caffe2_net_to_onnx_model
caffe2_init_net_to_initializer = Caffe2Frontend.caffe2_init_net_to_initializer
ssa_rewrite = Caffe2Frontend.ssa_rewrite
