"""The functions of ``caffe2.python.workspace`` on blobs, operators, nets and plans of the current workspace."""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from graphc.caffe2.lazy import TriggerLazyImport
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.coercion import GetNetName, StringifyBlobName, StringifyNetName, StringifyProto
from graphc.caffe2.workspace.current import current, reset_current
from graphc.caffe2.workspace.errors import EnforceError, enforced
from graphc.caffe2.workspace.plans import BackgroundPlan, run_plan
from graphc.caffe2.workspace.predictor import Predictor as _Predictor
from graphc.caffe2.workspace.serialize import deserialize_value, parse_blob, serialize_value
from graphc.caffe2.workspace.store import Tensor
from graphc.caffe2.workspace.tracebacks import creation_text
from graphc.caffe2.workspace.values import nbytes
from graphc.frontends.netdef.schema import Message
from graphc.frontends.netdef.writer import to_message
from graphc.operators import Int8Tensor

_LOG = logging.getLogger(__name__)

# ---- blobs -----------------------------------------------------------------------------------------------------------


def FeedBlob(name: Any, arr: Any, device_option: Message | None = None) -> bool:
    """Put a copy of an object into a blob, which is made if need be; True.

    arr: an array (its element type is kept), a list, a scalar, a text, a ``TensorProto``, an ``Int8Tensor``.
    device_option: accepted. Raises ``ValueError`` for anything else.
    """
    current().feed(StringifyBlobName(name), arr)
    return True


def FetchBlob(name: Any) -> Any:
    """A copy of a blob: an array (strings as objects that hold bytes), the bytes of a text, or a text that says what
    else it holds. Raises ``RuntimeError`` for a blob that does not exist, ``TypeError`` for a quantised one.
    """
    found = current().fetch(StringifyBlobName(name))
    if isinstance(found, Int8Tensor):
        raise TypeError(f"Use FetchInt8Blob to fetch Int8 Blob {StringifyBlobName(name)}")
    return found


def FetchTorch(name: Any) -> Any:
    """A blob as a tensor of PyTorch that shares its elements: what is written to them is in the blob. Raises
    ``RuntimeError`` where PyTorch is not installed, and for a blob that does not exist or holds no tensor of numbers.
    """
    try:
        torch = importlib.import_module("torch")  # only here, because it takes seconds
    except ImportError:
        raise EnforceError(
            "FetchTorch needs PyTorch, which is not installed", "use FetchBlob, or install torch"
        ) from None
    name = StringifyBlobName(name)
    elements = Tensor(current(), name).data
    if elements.dtype == object:
        raise EnforceError(f"blob '{name}' holds no tensor of numbers", "use FetchBlob")
    return torch.from_numpy(elements)


def FetchBlobs(names: Sequence[Any]) -> list[Any]:
    """``FetchBlob`` of each name."""
    return [FetchBlob(name) for name in names]


def FetchInt8Blob(name: Any) -> Int8Tensor:
    """A copy of a quantised blob; raises ``AssertionError`` for one that is not."""
    found = current().fetch(StringifyBlobName(name))
    if not isinstance(found, Int8Tensor):
        raise AssertionError(f"You are not fetching an Int8Blob {StringifyBlobName(name)}. Please use FetchBlob")
    return found


def FetchInt8BlobRealVal(name: Any) -> np.ndarray:
    """The numbers that a quantised blob stands for, float32."""
    found = FetchInt8Blob(name)
    whole = found.data.astype(np.int32) - int(found.zero_point)
    return np.asarray(whole.astype(np.float32) * np.float32(found.scale))


def FeedInt8Blob(name: Any, data: np.ndarray, scale: float, zero_point: int) -> bool:
    """Put a quantised tensor into a blob."""
    return FeedBlob(name, Int8Tensor(data, scale, zero_point))


def HasBlob(name: Any) -> bool:
    """There is a blob of this name."""
    return StringifyBlobName(name) in current().raw


def Blobs() -> list[str]:
    """The names of all blobs, sorted."""
    return sorted(current().names())


def CreateBlob(name: Any) -> bool:
    """Make an empty blob, unless there is one of the name; True."""
    current().create(StringifyBlobName(name))
    return True


def ResetBlob(name: Any) -> None:
    """Empty a blob; raises ``RuntimeError`` for one that does not exist."""
    current().value(StringifyBlobName(name))
    current().put(StringifyBlobName(name), None)


def RemoveBlob(name: Any) -> bool:
    """Remove a blob; False where there is none."""
    return current().remove(StringifyBlobName(name))


def GetBlobSizeBytes(name: Any) -> int:
    """Bytes that a blob holds."""
    return nbytes(current().value(StringifyBlobName(name)))


def SerializeBlob(name: Any) -> bytes:
    """The bytes of a blob as a ``BlobProto``; raises ``RuntimeError``."""
    return serialize_value(StringifyBlobName(name), current().value(StringifyBlobName(name)))


def DeserializeBlob(name: Any, data: bytes) -> None:
    """Put what ``SerializeBlob`` gave into a blob; raises ``RuntimeError``."""
    current().put(StringifyBlobName(name), deserialize_value(parse_blob(data)), True)


class _BlobDict:
    """The blobs of the current workspace as a dict: reading fetches, writing feeds."""

    def __getitem__(self, name: Any) -> Any:
        return FetchBlob(name)

    def __setitem__(self, name: Any, value: Any) -> None:
        FeedBlob(name, value)

    def __len__(self) -> int:
        return len(current().raw)

    def __iter__(self) -> Iterator[str]:
        return iter(Blobs())

    def __contains__(self, name: Any) -> bool:
        return HasBlob(name)


blobs = _BlobDict()


# ---- workspaces ------------------------------------------------------------------------------------------------------


def ResetWorkspace(root_folder: str | None = None) -> bool:
    """Remove all blobs and nets of the current workspace; root_folder: where its files are, made if need be."""
    if root_folder is not None:
        os.makedirs(root_folder, exist_ok=True)
    reset_current(root_folder)
    return True


def RootFolder() -> str:
    """The folder of the current workspace's files."""
    return current().root_folder


# ---- operators and nets ----------------------------------------------------------------------------------------------


def RunOperatorOnce(operator: Any) -> bool:
    """Run an ``OperatorDef``; True. Raises ``RuntimeError``."""
    current().run_operator(StringifyProto(operator))
    return True


def RunOperatorMultiple(operator: Any, num_runs: int) -> bool:
    """Run an ``OperatorDef`` several times."""
    data = StringifyProto(operator)
    for _ in range(num_runs):
        current().run_operator(data)
    return True


def RunOperatorsOnce(operators: Sequence[Any]) -> bool:
    """Run operators one after another."""
    return all(RunOperatorOnce(op) for op in operators)


def RunNetOnce(net: Any) -> bool:
    """Run a net that needs no name and leaves none behind; True. Raises ``RuntimeError``."""
    current().run_once(StringifyProto(net))
    return True


def CreateNet(net: Any, overwrite: bool = False, input_blobs: Sequence[Any] = ()) -> bool:
    """Create a net in the workspace; True.

    input_blobs: blobs to make, empty, before. Raises ``RuntimeError`` for a net without a name, one that exists unless
    ``overwrite``, inputs that do not exist, and nets that cannot run.
    """
    TriggerLazyImport()
    for blob in input_blobs or ():
        CreateBlob(blob)
    with enforced():
        current().create_program(StringifyProto(net), overwrite)
    return True


def RunNet(name: Any, num_iter: int = 1, allow_fail: bool = False) -> bool:
    """Run a created net; True. Raises ``RuntimeError``, but with ``allow_fail`` gives False for a net that fails."""
    workspace = current()
    net = workspace.net(name if isinstance(name, str) else GetNetName(name))
    try:
        for _ in range(num_iter):
            net.run(workspace)
    except EnforceError:
        if not allow_fail:
            raise
        return False
    return True


def CallWithExceptionIntercept(
    func: Callable[..., Any], op_id_fetcher: Callable[[], int], net_name: str, *args: Any, **kwargs: Any
) -> Any:
    """What a function gives; where it fails, the log says where in Python the operator was created.

    op_id_fetcher: gives the operator's position in the net.
    """
    try:
        return func(*args, **kwargs)
    except Exception:
        position = op_id_fetcher()
        created = creation_text(net_name, position) or "; nothing is known of its creation"
        _LOG.warning("net '%s' op #%s failed%s", net_name, position, created)
        raise


def Nets() -> list[str]:
    """The names of the created nets."""
    return list(current().created)


def DeleteNet(name: Any) -> None:
    """Forget a created net."""
    current().created.pop(StringifyNetName(name), None)


def Predictor(init_net: Any, predict_net: Any) -> _Predictor:
    """A saved model in a workspace of its own; see ``predictor.Predictor``."""
    return _Predictor(init_net, predict_net)


def _plan_message(plan_or_step: Any) -> Message:
    """The ``PlanDef`` of a plan, of its bytes, or of a step with its nets."""
    if isinstance(plan_or_step, bytes):
        try:
            return caffe2_pb2.PlanDef.FromString(plan_or_step)
        except DecodeError:
            raise EnforceError("the bytes are no PlanDef", "serialise the plan: plan.Proto()") from None
    proto = plan_or_step.Proto() if hasattr(plan_or_step, "Proto") else plan_or_step
    if not isinstance(proto, caffe2_pb2.ExecutionStep):
        return proto
    plan = caffe2_pb2.PlanDef(name=proto.name)
    plan.execution_step.add().CopyFrom(proto)
    for net in plan_or_step.Nets() if hasattr(plan_or_step, "Nets") else ():
        plan.network.add().CopyFrom(net.Proto())
    return plan


def RunPlan(plan_or_step: Any) -> bool:
    """Run a plan or a step; True. Raises ``RuntimeError``."""
    with enforced():
        run_plan(_plan_message(plan_or_step), current())
    return True


def RunPlanInBackground(plan_or_step: Any) -> BackgroundPlan:
    """Run a plan or a step in a thread; an object with ``is_done()`` and ``is_succeeded()``."""
    return BackgroundPlan(_plan_message(plan_or_step), current())


def BenchmarkNet(name: Any, warmup_runs: int, main_runs: int, run_individual: bool = False) -> list[float]:
    """Milliseconds of a run of a created net, and with ``run_individual`` of each of its operators by itself."""
    workspace = current()
    net = workspace.net(StringifyNetName(name))
    for _ in range(warmup_runs):
        net.run(workspace)
    times = [_milliseconds(net.bound(workspace), main_runs)]
    if run_individual:
        for op in to_message(net.program.net).op:
            data = op.SerializeToString()
            workspace.run_operator(data)
            times.append(_milliseconds(lambda data=data: workspace.run_operator(data), main_runs))
    return times


def BenchmarkNetOnce(name: Any) -> float:
    """Milliseconds of one run of a created net."""
    return BenchmarkNet(name, 0, 1)[0]


def _milliseconds(function: Any, runs: int) -> float:
    start = time.perf_counter()
    for _ in range(runs):
        function()
    return 1000 * (time.perf_counter() - start) / max(runs, 1)
