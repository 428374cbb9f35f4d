"""Host operators that read and write blobs in databases: Save, Load, Checkpoint, and readers of training data.

Rules from Caffe2's ``load_save_op.h``, ``db.h`` and ``tensor_protos_db_input.h``.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError

from graphc.caffe2.database import NEW, READ, Database, open_database
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.tensor_proto import Caffe2TensorToNumpyArray
from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.caffe2.workspace.queues import BlobsQueue
from graphc.caffe2.workspace.serialize import deserialize_value, join_chunks, parse_blob, serialize_chunks
from graphc.caffe2.workspace.values import Value, is_boxed, type_name
from graphc.ir import FileError

SEPARATOR = "#%"
"""Between the name of a blob and the number of its chunk, in a key."""
CHUNK = 1_000_000
"""Elements of a chunk of a tensor."""


@dataclass
class Reader:
    """A database and a place in it; threads may share it. num_shards, shard_id: every n-th record, from this one on."""

    database: Database
    num_shards: int = 1
    shard_id: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _records: Iterator[tuple[bytes, bytes]] | None = field(default=None, repr=False)

    def next(self) -> tuple[bytes, bytes]:
        """The next record, after the last one the first; raises ``FileError`` for an empty database."""
        with self.lock:
            for _ in range(2):
                self._records = self._records or self._shard()
                found = next(self._records, None)
                if found is not None:
                    return found
                self._records = None
        raise FileError("the database has no records", "write some first")

    def _shard(self) -> Iterator[tuple[bytes, bytes]]:
        return (r for i, r in enumerate(self.database.records()) if i % self.num_shards == self.shard_id)


def _path(call: HostCall, name: str) -> str:
    """A path relative to the workspace's root folder, unless the operator says that it is absolute."""
    if not name:
        call.fail("argument db is empty", "give the path of the database: db=...")
    return name if call.arg("absolute_path", 0) else os.path.join(call.blobs.root_folder, name)


@host_operator("CreateDB")
def create_db(call: HostCall) -> None:
    """A reader of a database."""
    database = open_database(call.arg("db_type", "leveldb"), str(call.arg("db", "")), READ)
    call.write(0, Reader(database, call.arg("num_shards", 1), call.arg("shard_id", 0)))


@dataclass(frozen=True)
class QueueDatabase:
    """The rows of a queue as records. key, value: positions of the blobs that are key and value; a key of -1: none.

    timeout: seconds to wait for a row; 0: until the queue is closed.
    """

    queue: BlobsQueue
    key: int
    value: int
    timeout: float

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values; taken out of the queue, they are not read twice."""
        while (row := self.queue.get(self.timeout if self.timeout > 0 else None)) is not None:
            yield _text(row[self.key]) if self.key >= 0 else b"", _text(row[self.value])

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Raises ``FileError``."""
        raise FileError("a queue is no database to write to", "use EnqueueBlobs")

    def close(self) -> None:
        """Nothing: the queue is its creator's."""


def _text(value: Value) -> bytes:
    """A text, or the first of a tensor of texts; raises ``FileError``."""
    first = value.flat[0] if isinstance(value, np.ndarray) and value.size and not is_boxed(value) else value
    if not isinstance(first, bytes):
        raise FileError(
            f"a row of the queue holds {type_name(value)}", "enqueue texts, such as serialised TensorProtos"
        )
    return first


@host_operator("CreateBlobsQueueDB")
def create_blobs_queue_db(call: HostCall) -> None:
    """A reader of a queue. Rules from Caffe2's ``blobs_queue_db.h``."""
    queue, key, value = call.object(0, BlobsQueue), call.arg("key_blob_index", -1), call.arg("value_blob_index", 0)
    for name, index in (("key_blob_index", max(key, 0)), ("value_blob_index", value)):
        if not 0 <= index < queue.num_blobs:
            call.fail(f"argument {name} is {index}, the queue has {queue.num_blobs} blobs", "give a position of a blob")
    call.write(0, Reader(QueueDatabase(queue, key, value, call.arg("timeout_secs", 0.0))))


@host_operator("DBExists")
def db_exists(call: HostCall) -> None:
    """Whether there is a database of this path."""
    call.write(0, np.array(os.path.exists(_path(call, str(call.arg("db_name", "")))), np.bool_))


@host_operator("TensorProtosDBInput")
def tensor_protos_db_input(call: HostCall) -> None:
    """A batch of records, ``TensorProtos`` with a tensor for each output; without a batch size one record."""
    reader, size = call.object(0, Reader), call.arg("batch_size", 0)
    rows = [_tensors(call, reader.next()[1]) for _ in range(max(size, 1))]
    for i in range(call.n_outputs):
        try:
            call.write(i, np.stack([row[i] for row in rows]) if size else rows[0][i])
        except ValueError:
            call.fail(f"tensors {i} of the records differ in shape", "write records of one shape, or use batch_size=0")


def _tensors(call: HostCall, record: bytes) -> list[np.ndarray]:
    try:
        message = caffe2_pb2.TensorProtos.FromString(record)
        found = [Caffe2TensorToNumpyArray(proto) for proto in message.protos]
    except (DecodeError, RuntimeError) as error:
        call.fail(f"a record is no TensorProtos: {error}", "write records with utils.NumpyArrayToCaffe2Tensor")
    if len(found) != call.n_outputs:
        call.fail(f"a record has {len(found)} tensors, the operator {call.n_outputs} outputs", "name one for each")
    return found


@host_operator("Save")
def save(call: HostCall) -> None:
    """Write the inputs to a new database."""
    _save(call, str(call.arg("db", "")))


@host_operator("Checkpoint", "Snapshot")
def checkpoint(call: HostCall) -> None:
    """Every so many iterations, which input 0 counts, write all inputs; ``%d`` in the path is the iteration.

    Rules from Caffe2's ``load_save_op.h``: input 0 is saved with the others, so that training goes on where it was.
    """
    iteration, every = int(np.asarray(call.read(0)).reshape(-1)[0]), call.arg("every", 1)
    if every <= 0:
        call.fail(f"argument every is {every}", "give a positive number of iterations")
    if iteration % every == 0:
        _save(call, _path_of_iteration(call, str(call.arg("db", "")), iteration))


def _path_of_iteration(call: HostCall, pattern: str, iteration: int) -> str:
    """The path with the iteration where it says ``%d``; without one it is the same for all."""
    try:
        return pattern % iteration if "%" in pattern else pattern
    except (TypeError, ValueError):
        call.fail(f"argument db is {pattern!r}, which is no pattern for a number", "say %d once: db='step_%05d'")


def _save(call: HostCall, path: str) -> None:
    names = call.strings("blob_name_overrides") or [_shown(call, n) for n in call.op.inputs]
    if len(names) != call.n_inputs or len(set(names)) != len(names):
        call.fail(f"{len(names)} names for {call.n_inputs} blobs", "name each blob once")
    if call.arg("strip_prefix", "") and call.strings("blob_name_overrides"):
        call.fail("strip_prefix and blob_name_overrides are given", "give one of them")
    records = []
    for i, name in enumerate(names):
        value = call.read(i)
        for k, data in enumerate(serialize_chunks(name, value, _chunk(call, name, value))):
            key = f"{name}{SEPARATOR}{k}" if isinstance(value, np.ndarray) and not is_boxed(value) else name
            records.append((key.encode("utf-8", "surrogateescape"), data))
    database = open_database(call.arg("db_type", "leveldb"), _path(call, path), NEW)
    database.write(records)
    database.close()


def _chunk(call: HostCall, name: str, value: Value) -> int:
    """Elements of a record: those of the first option whose pattern is the blob's, else ``chunk_size``; 0 is all.

    Numbers keep their precision, whatever format an option asks for.
    """
    options = caffe2_pb2.SerializationOptions.FromString(call.op.args.get("options", b""))
    fitting = (o.chunk_size for o in options.options if re.fullmatch(o.blob_name_regex or ".*", name))
    chunk = next(fitting, 0) or call.arg("chunk_size", CHUNK)
    return int(chunk) if chunk > 0 else CHUNK if chunk < 0 else max(getattr(value, "size", 1), 1)


def _shown(call: HostCall, name: str) -> str:
    """The name of a blob in a file, or of one of a file in the workspace."""
    prefix = str(call.arg("strip_prefix", ""))
    at = name.find(prefix) + len(prefix) if prefix and prefix in name else 0
    return str(call.arg("add_prefix", "")) + name[at:]


@host_operator("Load")
def load(call: HostCall) -> None:
    """Read the blobs that the outputs name, or all of a database."""
    found = _load(call)
    if call.arg("load_all", 0):
        if call.n_outputs and found.keys() != set(call.op.outputs):
            call.fail(f"load_all finds {len(found)} blobs, which are not the outputs", "name all outputs, or none")
        for name, value in found.items():
            call.blobs.put(name, value, True)
        return
    sources = call.strings("source_blob_names") or list(call.op.outputs)
    if len(set(call.op.outputs)) != len(call.op.outputs):
        call.fail("an output is named twice", "name each blob once")
    missing = [name for name in sources if name not in found]
    if missing and not call.arg("allow_incomplete", 0):
        call.fail(f"the database has no blob {missing[0]}", f"it has {', '.join(list(found)[:20])}")
    for name, output in zip(sources, call.op.outputs):
        if name in found:
            call.blobs.put(output, found[name], True)


def _load(call: HostCall) -> dict[str, Value]:
    """The blobs of the databases by name."""
    databases = [call.object(0, Reader).database] if call.n_inputs else []
    for path in () if databases else call.strings("dbs") or [str(call.arg("db", ""))]:
        databases.append(open_database(call.arg("db_type", "leveldb"), _path(call, path), READ))
    chunks: dict[str, list[Value]] = {}
    for database in databases:
        for key, data in database.records():
            name = key.decode("utf-8", "surrogateescape").split(SEPARATOR)[0]
            chunks.setdefault(_shown(call, name), []).append(parse_blob(data))
    return {n: join_chunks(parts) if len(parts) > 1 else deserialize_value(parts[0]) for n, parts in chunks.items()}
