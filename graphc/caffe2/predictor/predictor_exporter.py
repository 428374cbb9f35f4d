"""``caffe2.python.predictor.predictor_exporter``: a model with its weights in one database, and back.

The database's first record, ``!!META_NET_DEF``, is a ``MetaNetDef`` with three nets: one that loads the parameters from
the database, one that fills inputs and outputs with zeros, and the predict net. The others are the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from graphc.caffe2 import core, scope, workspace
from graphc.caffe2.arguments import MakeArgument
from graphc.caffe2.predictor import predictor_py_utils as utils
from graphc.caffe2.predictor import serde
from graphc.caffe2.predictor_constants import predictor_constants
from graphc.caffe2.proto import caffe2_pb2, metanet_pb2
from graphc.caffe2.workspace.current import current
from graphc.frontends.netdef.schema import Message


class _Meta(NamedTuple):
    predict_net: Message
    parameters: list[str]
    inputs: list[str]
    outputs: list[str]
    shapes: Mapping[str, Any]
    name: str
    extra_init_net: Any
    global_init_net: Any
    net_type: str | None
    num_workers: int | None
    trainer_prefix: str | None


class PredictorExportMeta(_Meta):
    """What is exported.

    predict_net: a Net, Plan, NetDef or PlanDef. parameters, inputs, outputs: blobs, by name or reference; raises
    ``AssertionError`` where one is given twice. shapes: of inputs and outputs, where the workspace does not have them.
    name: stands behind every key. extra_init_net: runs with the filling of inputs and outputs; global_init_net: with
    the loading of parameters. net_type, num_workers: of the predict net. trainer_prefix: in front of plans' keys.
    """

    def __new__(
        cls,
        predict_net: Any,
        parameters: Iterable[Any],
        inputs: Iterable[Any],
        outputs: Iterable[Any],
        shapes: Mapping[str, Any] | None = None,
        name: str = "",
        extra_init_net: Any = None,
        global_init_net: Any = None,
        net_type: str | None = None,
        num_workers: int | None = None,
        trainer_prefix: str | None = None,
    ) -> PredictorExportMeta:
        ins, outs, weights = ([str(b) for b in blobs] for blobs in (inputs, outputs, parameters))
        if len(set(ins)) != len(ins):
            raise AssertionError(f"All inputs to the predictor should be unique: {', '.join(ins)}")
        for kind, blobs in (("inputs", ins), ("outputs", outs)):
            if both := sorted({*weights} & {*blobs}):
                raise AssertionError(f"Parameters and {kind} are required to be disjoint. Intersection: {both}")
        proto = predict_net.Proto() if isinstance(predict_net, core.Net | core.Plan) else predict_net
        if not isinstance(proto, caffe2_pb2.NetDef | caffe2_pb2.PlanDef):
            raise AssertionError(f"predict_net is a {type(proto).__name__}, not a Net, a Plan, a NetDef or a PlanDef")
        by_name = {str(k): v for k, v in (shapes or {}).items()}
        inits = extra_init_net, global_init_net
        return super().__new__(
            cls, proto, weights, ins, outs, by_name, name, *inits, net_type, num_workers, trainer_prefix
        )

    def _key(self, kind: str) -> str:
        return utils.get_comp_name(kind, self.name)

    def inputs_name(self) -> str:
        """The key of the names of the inputs."""
        return self._key(predictor_constants.INPUTS_BLOB_TYPE)

    def outputs_name(self) -> str:
        """The key of the names of the outputs."""
        return self._key(predictor_constants.OUTPUTS_BLOB_TYPE)

    def parameters_name(self) -> str:
        """The key of the names of the parameters."""
        return self._key(predictor_constants.PARAMETERS_BLOB_TYPE)

    def global_init_name(self) -> str:
        """The key of the net that loads the parameters."""
        return self._key(predictor_constants.GLOBAL_INIT_NET_TYPE)

    def predict_init_name(self) -> str:
        """The key of the net that fills inputs and outputs."""
        return self._key(predictor_constants.PREDICT_INIT_NET_TYPE)

    def predict_net_name(self) -> str:
        """The key of the predict net."""
        return self._key(predictor_constants.PREDICT_NET_TYPE)

    def train_init_plan_name(self) -> str:
        """The key of the plan that begins a training."""
        return self._plan_key(predictor_constants.TRAIN_INIT_PLAN_TYPE)

    def train_plan_name(self) -> str:
        """The key of the training plan."""
        return self._plan_key(predictor_constants.TRAIN_PLAN_TYPE)

    def _plan_key(self, kind: str) -> str:
        return f"{self.trainer_prefix}_{self._key(kind)}" if self.trainer_prefix else self._key(kind)


def get_predictor_exporter_helper(submodelNetName: str) -> PredictorExportMeta:
    """A meta without blobs, to ask for the keys of a model of this name."""
    return PredictorExportMeta(core.Net(submodelNetName), [], [], [], name=submodelNetName)


def prepare_prediction_net(
    filename: str, db_type: str, device_option: Message | None = None, *args: Any, **kwargs: Any
) -> core.Net:
    """Load a model's parameters into the workspace, create its predict net there, and give that net.

    Raises ``RuntimeError`` for a database that is missing or no exported model.
    """
    meta_net_def = load_from_db(filename, db_type, device_option, *args, **kwargs)
    workspace.RunNetOnce(_net(meta_net_def, filename, predictor_constants.GLOBAL_INIT_NET_TYPE))
    workspace.RunNetOnce(_net(meta_net_def, filename, predictor_constants.PREDICT_INIT_NET_TYPE))
    predict_net = core.Net(_net(meta_net_def, filename, predictor_constants.PREDICT_NET_TYPE))
    workspace.CreateNet(predict_net)
    return predict_net


def _net(meta_net_def: Message, filename: str, key: str) -> Message:
    net = utils.GetNet(meta_net_def, key)
    if net is None:
        known = ", ".join(entry.key for entry in meta_net_def.nets) or "no nets"
        raise RuntimeError(f"{filename} has no net {key}; it has {known}; help: run the nets that it has by their keys")
    return net


def _global_init_net(predictor_export_meta: PredictorExportMeta) -> Message:
    net = core.Net("global-init")
    reader = predictor_constants.PREDICTOR_DBREADER
    net.Load([reader], predictor_export_meta.parameters)
    net.Proto().external_input.extend([reader])  # a second time: so are the files that Caffe2 wrote
    net.Proto().external_output.extend(predictor_export_meta.parameters)
    if predictor_export_meta.global_init_net:
        net.AppendNet(predictor_export_meta.global_init_net)
    utils.AddModelIdArg(predictor_export_meta, net.Proto())
    return net.Proto()


def get_meta_net_def(predictor_export_meta: PredictorExportMeta, ws: Any = None, db_type: str | None = None) -> Message:
    """The ``MetaNetDef`` of a model; shapes that are not given come from the workspace ``ws``, else the current one."""
    meta = predictor_export_meta
    found = metanet_pb2.MetaNetDef()
    utils.AddNet(found, meta.predict_init_name(), utils.create_predict_init_net(current() if ws is None else ws, meta))
    utils.AddNet(found, meta.global_init_name(), _global_init_net(meta))
    utils.AddNet(found, meta.predict_net_name(), utils.create_predict_net(meta))
    utils.AddBlobs(found, meta.parameters_name(), meta.parameters)
    utils.AddBlobs(found, meta.inputs_name(), meta.inputs)
    utils.AddBlobs(found, meta.outputs_name(), meta.outputs)
    return found


def set_model_info(meta_net_def: Message, project_str: str, model_class_str: str, version: str) -> None:
    """Note in a ``MetaNetDef`` what model it is."""
    if not isinstance(meta_net_def, metanet_pb2.MetaNetDef):
        raise AssertionError(f"a MetaNetDef is wanted, not a {type(meta_net_def).__name__}")
    info = meta_net_def.modelInfo
    info.project, info.modelClass, info.version = project_str, model_class_str, version


def save_to_db(
    db_type: str,
    db_destination: str,
    predictor_export_meta: PredictorExportMeta,
    use_ideep: bool = False,
    *args: Any,
    **kwargs: Any,
) -> None:
    """Write a model and its parameters, which are blobs of the workspace, to a new database.

    kwargs: further arguments of the operator ``Save``. Raises ``RuntimeError`` where a parameter is missing or the
    file cannot be written.
    """
    meta_net_def = get_meta_net_def(predictor_export_meta, db_type=db_type)
    device = core.DeviceOption(caffe2_pb2.IDEEP if use_ideep else caffe2_pb2.CPU)
    with core.DeviceScope(device):
        workspace.FeedBlob(predictor_constants.META_NET_DEF, serde.serialize_protobuf_struct(meta_net_def))
    blobs = [predictor_constants.META_NET_DEF, *predictor_export_meta.parameters]
    where = {"db": db_destination, "db_type": db_type, "absolute_path": True, **kwargs}
    arguments = [MakeArgument(key, value) for key, value in where.items()]
    workspace.RunOperatorOnce(core.CreateOperator("Save", blobs, [], device_option=device, arg=arguments))


def load_from_db(
    filename: str, db_type: str, device_option: Message | None = None, *args: Any, **kwargs: Any
) -> Message:
    """The ``MetaNetDef`` of a database; the blob ``!!PREDICTOR_DBREADER`` reads its parameters then.

    device_option: that its operators get, by default the scope's. kwargs: further arguments of the operator
    ``CreateDB``. Raises ``RuntimeError`` for a database that is missing or no exported model.
    """
    reader, meta = predictor_constants.PREDICTOR_DBREADER, predictor_constants.META_NET_DEF
    workspace.RunOperatorOnce(core.CreateOperator("CreateDB", [], [reader], db=filename, db_type=db_type, **kwargs))
    workspace.RunOperatorOnce(core.CreateOperator("Load", [reader], [meta]))
    data = workspace.FetchBlob(meta)
    found = serde.deserialize_protobuf_struct(
        data if isinstance(data, bytes) else str(data).encode("utf-8"), metanet_pb2.MetaNetDef
    )
    option = scope.CurrentDeviceScope() if device_option is None else device_option
    for entry in found.nets if option is not None else ():
        for op in entry.value.op:
            op.device_option.CopyFrom(option)
    return found
