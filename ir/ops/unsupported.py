"""Caffe2 operators that have no place in a plan, with the reason and what to do instead.

Those of ordinary training scripts have a record too, without a meaning: a net that holds them can be imported, typed,
printed and edited, and ``require_runnable`` says before lowering why it cannot be run. The others are names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ir.errors import UnsupportedError
from graphc.ir.graph import Graph, Node
from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.types import TensorType


@dataclass(frozen=True)
class Refusal:
    """Why graphc does not run an operator, and the remedy."""

    reason: str
    remedy: str


_DATA = Refusal(
    "it reads records from a database while the net runs",
    "cut it out of the net and feed its output blobs as inputs",
)
_STORE = Refusal(
    "it writes files while the net runs",
    "cut it out of the net, make its input blobs external outputs, and save what a run returns",
)
_WEIGHTS = Refusal(
    "it reads weights from a database while the net runs",
    "read the weights first and pass them as an init net of fills",
)
_QUEUE = Refusal(
    "it passes blobs between threads through a queue",
    "cut it out of the net: feed what it dequeues as inputs, return what it enqueues as outputs",
)
_SHARED = Refusal(
    "it makes or changes an object that outlives a run and is no tensor",
    "cut it out of the net, or keep the state in a tensor that is input and output",
)
_COLLECTIVE = Refusal(
    "it exchanges tensors with other processes or devices",
    "remove it: a plan runs in one process; average gradients outside of it",
)
_FOREIGN = Refusal(
    "its meaning is not in the net but in another program",
    "replace it by Caffe2's own operators, or declare it as an operator of graphc",
)
_MOBILE = Refusal(
    "it belongs to a mobile graphics library",
    "export the net for the CPU; its operators there have the same names without the prefix",
)
_SIMULATION = Refusal(
    "it imitates the rounding of an accelerator",
    "use the operator that it imitates, whose name it contains",
)
_MEASURE = Refusal(
    "it measures the process, not the data",
    "remove it, and measure with `graphc profile`",
)
_RECORDS = Refusal(
    "it keeps records or tensors in an object that is no tensor, for a reader or a queue",
    "cut it out of the net, and feed the fields of the records as inputs",
)
_STATISTICS = Refusal(
    "it reports a number to a registry of statistics of the process",
    "remove it, make its input an external output and report what a run returns",
)
_WORKSPACE = Refusal(
    "it changes or measures the blobs of a workspace, which a plan does not have",
    "remove it: a plan reserves memory for its values and reuses it",
)
_FAILURE = Refusal(
    "its only purpose is to fail: Caffe2 tests its error handling with it",
    "remove it",
)
_CUDA = Refusal(
    "Caffe2 itself has it for CUDA devices alone, or leaves it unfinished",
    "replace it by operators that Caffe2 has for the CPU: a Conv, a fully connected layer",
)
_PACKED = Refusal(
    "it keeps weights in the packed form of a library",
    "use FC with the weights as they are before packing; graphc packs them itself",
)
_SCHEME = Refusal(
    "it reads and makes objects that are no tensors: a scheme that a script set, the scale that follows",
    "set Y_scale and Y_zero_point on the operators that read the scale, or let engine DNNLOWP choose it",
)
_NAMELESS = Refusal(
    "it makes blobs whose names only a run knows",
    "let an alias of RecurrentNetwork (alias_src, alias_dst) make an output of the state that you want to read",
)
_NAMES = (
    (_DATA, "CreateDB TensorProtosDBInput ImageInput VideoInput CreateTextFileReader TextFileReaderRead"),
    (_DATA, "ReadNextBatch ReadRandomBatch CreateTreeCursor ResetCursor GetCursorOffset ComputeOffset SortAndShuffle"),
    (_RECORDS, "PackRecords UnPackRecords CreateTensorVector ConcatTensorVector TensorVectorSize CollectTensor"),
    (_RECORDS, "AtomicAppend"),
    (_STATISTICS, "AveragePut IncrementPut StdDevPut"),
    (_WORKSPACE, "FeedBlob Free EstimateAllBlobSizes"),
    (_FAILURE, "Crash Fail LogFatal ThrowException ThrowChildThreadException"),
    (_STORE, "Save Snapshot Checkpoint DBExists"),
    (_WEIGHTS, "Load"),
    (_QUEUE, "CreateBlobsQueue CreateBlobsQueueDB EnqueueBlobs SafeEnqueueBlobs DequeueBlobs SafeDequeueBlobs"),
    (_QUEUE, "CloseBlobsQueue WeightedSampleDequeueBlobs CreateRebatchingQueue EnqueueRebatchingQueue"),
    (_QUEUE, "DequeueRebatchingQueue CloseRebatchingQueue"),
    (_SHARED, "CreateMutex CreateCounter ResetCounter CountUp CountDown RetrieveCount CheckCounterDone"),
    (_SHARED, "CreateAtomicBool ConditionalSetAtomicBool CheckAtomicBool AtomicFetchAdd AtomicFetchAdd64"),
    (_SHARED, "StatRegistryCreate StatRegistryUpdate StatRegistryExport"),
    (_COLLECTIVE, "CreateCommonWorld CloneCommonWorld DestroyCommonWorld Allreduce Allgather Broadcast Barrier"),
    (_COLLECTIVE, "Reduce ReduceScatter SendTensor ReceiveTensor FileStoreHandlerCreate RedisStoreHandlerCreate"),
    (_COLLECTIVE, "StoreAdd StoreGet StoreSet StoreWait NCCLAllreduce NCCLBroadcast NCCLReduce NCCLAllGather"),
    (_COLLECTIVE, "NCCLReduceScatter MPIAllreduce MPIAllgather MPIBroadcast MPIReduce MPICreateCommonWorld"),
    (_COLLECTIVE, "MPISendTensor MPIReceiveTensor"),
    (_FOREIGN, "Python PythonGradient PythonDLPack PythonDLPackGradient ATen TensorRT Onnxifi SNPE ScriptModule"),
    (_FOREIGN, "ScriptModuleLoad Torch TorchInit ElementwiseRTC"),
    (_CUDA, "DeformConv DeformConvGradient TTLinearGradient"),
    (_PACKED, "FbFCPacked FbGemmPack FbGemmPackTranspose"),
    (_SCHEME, "Int8GenQuantParams"),
    (_NAMELESS, "RecurrentNetworkBlobFetcher"),
    (_SHARED, "ReservoirSampling"),
    (_MEASURE, "TimerBegin TimerEnd TimerGet TimerGetAndEnd WallClockTime CpuUtilizationReport GetProfDagStats"),
    (_MEASURE, "CudaProfileInitialize CudaProfileStart CudaProfileStop GetGPUMemoryUsage GetAllBlobNames"),
)
REFUSALS: dict[str, Refusal] = {name: refusal for refusal, names in _NAMES for name in names.split()}
"""Operator type -> why it is refused."""


_PATTERNS = (
    (re.compile(r"(OpenGL|MPSCNN)\w+|Copy(To|From)(OpenGL|MPSCNN)"), _MOBILE),
    (re.compile(r"\w*(Fake(FP|Fp|Int|Lowered)\w+|FP16Fake|Acc(16|32)Fake|NNPI)|Fp16FCAcc(16|32)"), _SIMULATION),
)
"""Names of the families that have one operator for every operator of the CPU."""


def refusal(op_type: str) -> Refusal | None:
    """Why an operator has no place in a plan; None where no refusal is known."""
    found = REFUSALS.get(op_type)
    return found or next((r for pattern, r in _PATTERNS if pattern.fullmatch(op_type)), None)


def refused(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, sub-graphs included, that cannot run."""
    return (node for node in graph.walk() if refusal(node.op))


def _text(node: Node) -> str:
    found = refusal(node.op)
    return f"{found.reason}; help: {found.remedy}" if found else ""


def require_runnable(graph: Graph) -> None:
    """Raise ``UnsupportedError`` that lists every operator without a place in a plan, with reason and remedy."""
    problems = [f"{n.location}: {n.op}: {REFUSALS[n.op].reason}; help: {REFUSALS[n.op].remedy}" for n in refused(graph)]
    if problems:
        raise UnsupportedError(
            f"net '{graph.name}' cannot run: {len(problems)} of its operators have no place in a plan",
            tuple(problems),
            "each line below names one operator and its remedy",
        )


def _opaque(call: Call) -> list[TensorType]:
    """Outputs of which nothing is known."""
    return [TensorType()] * call.n_outputs


_DB_ARGS = (
    Arg("db", "string", b"", "path of the database"),
    Arg("db_type", "string", b"leveldb", "lmdb, leveldb, minidb ..."),
)
_FILE_ARGS = (
    *_DB_ARGS,
    Arg("absolute_path", "int", 0),
    Arg("strip_prefix", "string", b""),
    Arg("add_prefix", "string", b""),
    Arg("blob_name_overrides", "strings", ()),
    Arg("options", "string", b""),
    Arg("chunk_size", "int", -1),
    Arg("db_options", "string", b""),
    Arg("every", "int", 1),
    Arg("dbs", "strings", ()),
    Arg("keep_device", "int", 0),
    Arg("load_all", "int", 0),
    Arg("allow_incomplete", "int", 0),
    Arg("source_blob_names", "strings", ()),
    Arg("shape", "ints", ()),
)
_INPUT_ARGS = (*_DB_ARGS, Arg("batch_size", "int", 0), Arg("use_caffe_datum", "int", 0))
_QUEUE_ARGS = (
    Arg("capacity", "int", 1),
    Arg("num_blobs", "int", 1),
    Arg("enforce_unique_name", "int", 0),
    Arg("field_names", "strings", ()),
    Arg("num_records", "int", 1),
    Arg("timeout_secs", "float", 0.0),
)
_OPAQUE: dict[str, tuple[Arg, ...]] = {
    "CreateDB": (*_DB_ARGS, Arg("num_shards", "int", 1), Arg("shard_id", "int", 0)),
    "TensorProtosDBInput": _INPUT_ARGS,
    "Load": _FILE_ARGS,
    "Save": _FILE_ARGS,
    "Snapshot": _FILE_ARGS,
    "Checkpoint": _FILE_ARGS,
    "CreateMutex": (),
    "CreateCounter": (Arg("init_count", "int", 0),),
    "CreateBlobsQueue": _QUEUE_ARGS,
    "EnqueueBlobs": _QUEUE_ARGS,
    "SafeEnqueueBlobs": _QUEUE_ARGS,
    "DequeueBlobs": _QUEUE_ARGS,
    "SafeDequeueBlobs": _QUEUE_ARGS,
    "CloseBlobsQueue": _QUEUE_ARGS,
}
for _name, _args in _OPAQUE.items():
    op(
        _name,
        _opaque,
        inputs="inputs*",
        outputs="outputs*",
        args=_args,
        traits=Trait.EFFECT,
        doc=f"is not run: {REFUSALS[_name].reason}",
    )
