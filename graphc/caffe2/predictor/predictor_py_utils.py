"""``caffe2.python.predictor.predictor_py_utils``: what a ``MetaNetDef`` holds, by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphc.caffe2.core import Net
from graphc.frontends.netdef.schema import Message


def create_predict_net(predictor_export_meta: Any) -> Message:
    """The NetDef of a model's predict net, which reads its inputs, then its parameters, and nothing else.

    Raises ``TypeError`` for a model whose predict net is a plan.
    """
    given = predictor_export_meta.predict_net
    if not _is_net(given):
        raise TypeError("the predict net is a PlanDef; help: AddPlan adds plans to a MetaNetDef, give a net here")
    net = Net(given.name or "predict")
    proto = net.Proto()
    proto.op.extend(given.op)
    proto.partition_info.extend(given.partition_info)
    proto.external_input.extend(predictor_export_meta.inputs + predictor_export_meta.parameters)
    proto.external_output.extend(predictor_export_meta.outputs)
    proto.arg.extend(given.arg)
    if predictor_export_meta.net_type is not None:
        proto.type = predictor_export_meta.net_type
    if predictor_export_meta.num_workers is not None:
        proto.num_workers = predictor_export_meta.num_workers
    return proto


def create_predict_init_net(ws: Any, predictor_export_meta: Any) -> Message:
    """The NetDef that fills inputs and outputs with zeros, of the shapes given or of the workspace's blobs.

    The model's ``extra_init_net`` follows. Raises ``Exception`` for a blob of unknown shape.
    """
    net = Net("predict-init")
    blobs = predictor_export_meta.inputs + predictor_export_meta.outputs
    for blob in blobs:
        net.ConstantFill([], blob, shape=_shape(ws, predictor_export_meta.shapes, blob), value=0.0)
    net.Proto().external_input.extend(blobs)
    if predictor_export_meta.extra_init_net:
        net.AppendNet(predictor_export_meta.extra_init_net)
    AddModelIdArg(predictor_export_meta, net.Proto())
    return net.Proto()


def _shape(ws: Any, shapes: Any, blob: str) -> Sequence[int]:
    if shapes.get(blob) is not None:
        shape: Sequence[int] = shapes[blob]
        return shape
    if blob not in ws.blobs:
        raise Exception(f"{blob} not in workspace but needed for shape: {', '.join(ws.blobs)}; help: give shapes=")
    found: tuple[int, ...] = ws.blobs[blob].fetch().shape
    return found


def get_comp_name(string: str, name: str | None) -> str:
    """A key, with the model's name behind it if it has one."""
    return f"{string}_{name}" if name else string


def _ProtoMapGet(field: Iterable[Message], key: str) -> Any:
    return next((entry.value for entry in field if entry.key == key), None)


def GetPlan(meta_net_def: Message, key: str) -> Message | None:
    """The plan of a key, None where there is none."""
    return _ProtoMapGet(meta_net_def.plans, key)


def GetPlanOriginal(meta_net_def: Message, key: str) -> Message | None:
    """``GetPlan``."""
    return GetPlan(meta_net_def, key)


def GetNet(meta_net_def: Message, key: str) -> Message | None:
    """The net of a key, None where there is none."""
    return _ProtoMapGet(meta_net_def.nets, key)


def GetNetOriginal(meta_net_def: Message, key: str) -> Message | None:
    """``GetNet``."""
    return GetNet(meta_net_def, key)


def GetBlobs(meta_net_def: Message, key: str) -> Any:
    """The names of blobs of a key, none where there is no such key."""
    blobs = _ProtoMapGet(meta_net_def.blobs, key)
    return [] if blobs is None else blobs


def GetBlobsByTypePrefix(meta_net_def: Message, blob_type_prefix: str) -> list[str]:
    """The names of blobs of all keys that begin so, each once."""
    entries = (entry for entry in meta_net_def.blobs if entry.key.startswith(blob_type_prefix))
    return list(dict.fromkeys(name for entry in entries for name in entry.value))


def GetApplicationSpecificInfo(meta_net_def: Message, key: str) -> str | None:
    """The text of a key, None where there is none."""
    found: str | None = _ProtoMapGet(meta_net_def.applicationSpecificInfo, key)
    return found


def GetApplicationSpecificInfoDict(meta_net_def: Message) -> dict[str, str]:
    """All texts by key."""
    return {entry.key: entry.value for entry in meta_net_def.applicationSpecificInfo}


def AddBlobs(meta_net_def: Message, blob_name: str, blob_def: Iterable[Any]) -> None:
    """Add names of blobs to those of a key."""
    blobs = _ProtoMapGet(meta_net_def.blobs, blob_name)
    blobs = meta_net_def.blobs.add(key=blob_name).value if blobs is None else blobs
    blobs.extend(map(str, blob_def))


def ReplaceBlobs(meta_net_def: Message, blob_name: str, blob_def: Iterable[Any]) -> None:
    """Let the blobs of a key that exists be these; raises ``AssertionError`` for a key that does not."""
    blobs = _ProtoMapGet(meta_net_def.blobs, blob_name)
    if blobs is None:
        raise AssertionError(f"The blob_name:{blob_name} does not exist")
    del blobs[:]
    blobs.extend(map(str, blob_def))


def AddPlan(meta_net_def: Message, plan_name: str, plan_def: Message) -> None:
    """Add a plan."""
    meta_net_def.plans.add(key=plan_name, value=plan_def)


def AddNet(meta_net_def: Message, net_name: str, net_def: Message) -> None:
    """Add a net."""
    meta_net_def.nets.add(key=net_name, value=net_def)


def SetBlobsOrder(meta_net_def: Message, blobs_order: Iterable[str]) -> None:
    """Add to the order in which blobs are loaded."""
    meta_net_def.blobsOrder.extend(blobs_order)


def GetBlobsOrder(meta_net_def: Message) -> Any:
    """The order in which blobs are loaded."""
    return meta_net_def.blobsOrder


def SetPreLoadBlobs(meta_net_def: Message, pre_load_blobs: Iterable[str]) -> None:
    """Add to the blobs that are loaded first."""
    meta_net_def.preLoadBlobs.extend(pre_load_blobs)


def SetRequestOnlyEmbeddings(meta_net_def: Message, request_only_embeddings: Iterable[str]) -> None:
    """Add to the embeddings that only requests have."""
    meta_net_def.requestOnlyEmbeddings.extend(request_only_embeddings)


def SetTensorBoundShapes(meta_net_def: Message, tensor_bound_shapes: Message) -> None:
    """Let the largest shapes be these ``TensorBoundShapes``."""
    meta_net_def.tensorBoundShapes.CopyFrom(tensor_bound_shapes)


def SetAOTConfig(meta_net_def: Message, aot_config: Message) -> None:
    """Let the configuration of ahead-of-time compilation be this ``AOTConfig``."""
    meta_net_def.aotConfig.CopyFrom(aot_config)


def GetArgumentByName(net_def: Message, arg_name: str) -> Message | None:
    """The ``Argument`` of a net, None where there is none."""
    return next((arg for arg in net_def.arg if arg.name == arg_name), None)


def AddModelIdArg(meta_net_def: Any, net_def: Message) -> None:
    """Let a net have the ``model_id`` of the model's predict net, if that has one."""
    given = GetArgumentByName(meta_net_def.predict_net, "model_id") if _is_net(meta_net_def.predict_net) else None
    if given is not None:
        own = GetArgumentByName(net_def, "model_id") or net_def.arg.add(name="model_id")
        own.i = given.i


def _is_net(message: Message) -> bool:
    """It is a NetDef, and not a PlanDef, which has no arguments."""
    return hasattr(message, "arg")
