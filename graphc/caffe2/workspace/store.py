"""Workspace: named blobs, and the nets that were created on them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.bound import BoundBlobs
from graphc.caffe2.workspace.child import ChildBlobs
from graphc.caffe2.workspace.coercion import StringifyProto
from graphc.caffe2.workspace.created_net import CreatedNet, run_program
from graphc.caffe2.workspace.errors import EnforceError, enforced, missing_blob, near_names
from graphc.caffe2.workspace.pending import Pending
from graphc.caffe2.workspace.plans import run_plan
from graphc.caffe2.workspace.program import Program, each_program, program_of
from graphc.caffe2.workspace.serialize import deserialize_value, parse_blob, serialize_value
from graphc.caffe2.workspace.tracebacks import creation_text
from graphc.caffe2.workspace.values import SharedArray, Value, fed_value, fetched_value, type_name
from graphc.ir import DType


class Workspace:
    """Blobs by name, and nets by name.

    raw: what blobs hold (``values.py``), ``Pending`` for what is computed when somebody looks. filled: the blobs that
    fills or files gave their values, weights mostly. current: the workspace of the process. The methods in small
    letters are those of Caffe2's class.
    """

    current: ClassVar[Any]

    def __init__(self, outer: Workspace | str = ".") -> None:
        """An empty workspace; outer: the workspace around it, whose blobs it sees, or the folder of its files."""
        self.raw: dict[str, Value] = ChildBlobs(outer.raw) if isinstance(outer, Workspace) else {}
        self.filled: set[str] = outer.filled if isinstance(outer, Workspace) else set()
        self.created: dict[str, CreatedNet] = {}
        self.root_folder: str = outer.root_folder if isinstance(outer, Workspace) else outer
        self._lock = threading.RLock()

    # ---- blobs -------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The names of all blobs, in the order in which they were made."""
        return list(self.raw)

    def own_names(self) -> list[str]:
        """The names of the blobs that are not those of a workspace around."""
        return self.raw.own() if isinstance(self.raw, ChildBlobs) else list(self.raw)

    def child(self) -> Workspace:
        """A workspace inside this one."""
        return Workspace(self)

    def scope(self, names: Mapping[str, str]) -> Scope:
        """A new workspace in which blobs of this one have other names. names: inner name -> outer name."""
        return Scope(self, names)

    def value(self, name: str) -> Value:
        """What a blob holds; raises ``EnforceError`` for one that does not exist."""
        try:
            value = self.raw[name]
        except KeyError:
            raise missing_blob(name, self.raw) from None
        if type(value) is not Pending:
            return value
        with self._lock, enforced():
            pending = self.raw.get(name)
            if type(pending) is not Pending:
                return pending
            found = pending.compute(name)
            for other, computed in found.items():
                if self.raw.get(other) is pending:  # no thread has run the net since
                    self.raw[other] = computed
            return found[name]

    def put(self, name: str, value: Value, filled: bool = False) -> None:
        """Put a value into a blob. filled: it comes from a fill or a file."""
        self.raw[name] = value
        self.filled.add(name) if filled else self.filled.discard(name)

    def create(self, name: str) -> None:
        """Make an empty blob, unless there is one of the name."""
        self.raw.setdefault(name, None)

    def feed(self, name: str, given: Any) -> None:
        """Put a copy of a user's object into a blob; raises ``ValueError``."""
        self.raw[name] = fed_value(name, given)
        self.filled.discard(name)

    def fetch(self, name: str) -> Any:
        """A copy of a blob; raises ``EnforceError`` for one that does not exist."""
        return fetched_value(name, self.value(name))

    def remove(self, name: str) -> bool:
        """Remove a blob; False where there is none."""
        self.filled.discard(name)
        existed = name in self.raw
        self.raw.pop(name, None)
        return existed

    def reset(self, root_folder: str | None = None) -> None:
        """Remove all blobs and nets, and what plans keep of their weights."""
        self.raw, self.filled, self.created = {}, set(), {}
        self.root_folder = self.root_folder if root_folder is None else root_folder
        for program in each_program():
            program.forget_weights()

    # ---- nets --------------------------------------------------------------------------------------------------------

    def create_program(self, data: bytes, overwrite: bool = False) -> CreatedNet:
        """Create a net from a serialised NetDef. Its inputs have to exist; its outputs come into being, empty.

        Raises ``EnforceError``.
        """
        program = program_of(data)
        name = program.net.name
        if not name:
            raise EnforceError("Net definition should have a name.", "set net.name")
        if name in self.created and not overwrite:
            raise EnforceError(
                f'I respectfully refuse to overwrite an existing net of the same name "{name}", unless you explicitly '
                "specify overwrite=true."
            )
        self._require_inputs(program)
        for blob in program.writes:
            self.raw.setdefault(blob, None)
        self.created[name] = CreatedNet(program, _digest(data))
        return self.created[name]

    def renew_program(self, name: str, data: bytes) -> None:
        """Create a net from a serialised NetDef in the place of the one of its name, which goes on with its plans where
        it is the same: it begins anew, so that fills with a seed draw their first numbers.

        Raises ``EnforceError``.
        """
        found = self.created.get(name)
        if found is not None and found.digest == _digest(data):
            found.begin()
        else:
            self.create_program(data, True)

    def _require_inputs(self, program: Program) -> None:
        """Raise ``EnforceError`` unless the blobs exist that a net reads before it makes them."""
        missing = next((name for name in program.reads if name not in self.raw), None)
        if missing is None:
            return
        net = program.net
        position = next((i for i, op in enumerate(net.ops) if missing in op.inputs), 0)
        raise missing_blob(
            missing,
            [n for n in (*self.raw, *program.writes) if n != missing],
            f"net '{net.name}' op #{position} {net.ops[position].type}: Encountered a non-existing input blob: "
            f"{missing}{creation_text(net.name, position)}",
            next(
                (f"op #{i} {op.type} makes it, but later" for i, op in enumerate(net.ops) if missing in op.outputs), ""
            ),
        )

    def net(self, name: str) -> CreatedNet:
        """A created net; raises ``EnforceError``."""
        if name not in self.created:
            near = near_names(name, self.created)
            known = f"near names: {near}" if near else f"nets: {', '.join(self.created) or 'none'}"
            raise EnforceError(f"Can't find net {name}", f"create it first (CreateNet); {known}")
        return self.created[name]

    def run_once(self, data: bytes) -> None:
        """Run a serialised NetDef; every blob that it writes is kept."""
        program = program_of(data)
        self._require_inputs(program)
        run_program(program, self)

    def run_operator(self, data: bytes) -> None:
        """Run a serialised OperatorDef."""
        program = program_of(data, single=True)
        for name in program.reads:
            if name not in self.raw:
                message = f"op {program.net.ops[0].type}: Encountered a non-existing input blob: {name}"
                raise missing_blob(name, self.raw, message)
        run_program(program, self)

    # ---- Caffe2's class ----------------------------------------------------------------------------------------------

    @property
    def blobs(self) -> Mapping[str, Blob]:
        """Handles of all blobs by name."""
        return {name: Blob(self, name) for name in self.raw}

    @property
    def nets(self) -> Mapping[str, NetHandle]:
        """Handles of the created nets by name."""
        return {name: NetHandle(self, net) for name, net in self.created.items()}

    def create_net(self, net: Any, overwrite: bool = False) -> NetHandle:
        """Create a net, given as an object or a message; raises ``EnforceError``, ``TypeError`` for anything else."""
        if isinstance(net, str):
            raise TypeError(f"a net is needed, not the text '{net}'")
        with enforced():
            return NetHandle(self, self.create_program(StringifyProto(net), overwrite))

    def run(self, obj: Any) -> bool:
        """Run a net, a plan or an operator, given as an object or a message; raises ``ValueError`` for others."""
        proto = obj.Proto() if hasattr(obj, "Proto") else obj
        if isinstance(proto, caffe2_pb2.NetDef):
            self.run_once(proto.SerializeToString())
        elif isinstance(proto, caffe2_pb2.OperatorDef):
            self.run_operator(proto.SerializeToString())
        elif isinstance(proto, caffe2_pb2.PlanDef):
            with enforced():
                run_plan(proto, self)
        else:
            raise ValueError(f"Don't know how to do Workspace.run() on {type(obj)}")
        return True

    def create_blob(self, name: Any) -> Blob:
        """A handle of a blob, which is made if need be."""
        self.create(str(name))
        return Blob(self, str(name))

    def has_blob(self, name: Any) -> bool:
        """There is a blob of this name."""
        return str(name) in self.raw

    def feed_blob(self, name: Any, arr: Any, device_option: Any = None) -> bool:
        """Put a copy of an object into a blob."""
        self.feed(str(name), arr)
        return True

    def fetch_blob(self, name: Any) -> Any:
        """A copy of what a blob holds."""
        return self.fetch(str(name))

    def remove_blob(self, name: Any) -> None:
        """Remove a blob."""
        self.remove(str(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)


class Scope(Workspace):
    """A workspace that Do makes: some of its blobs are blobs of the workspace around, under other names."""

    def __init__(self, outer: Workspace, names: Mapping[str, str]) -> None:
        super().__init__(outer.root_folder)
        self.raw = self._blobs = BoundBlobs()
        self.bind(outer, names)

    def bind(self, outer: Workspace, names: Mapping[str, str]) -> None:
        """Bind blobs, in the place of those that were bound before. names: inner name -> outer name."""
        self._outer = outer
        self._blobs.bind(outer.raw, names)

    def release(self) -> None:
        """Let the blobs that were bound be the scope's own, with what they hold now."""
        for name, outer in self._blobs.release().items():
            if outer in self._outer.raw:
                self.raw[name] = self._outer.value(outer)

    def value(self, name: str) -> Value:
        """What a blob holds, here or around; raises ``EnforceError`` for one that does not exist."""
        outer = self._blobs.outer_name(name)
        return super().value(name) if outer is None else self._outer.value(outer)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


class NetHandle:
    """A handle of a created net in a workspace."""

    def __init__(self, workspace: Workspace, net: CreatedNet) -> None:
        self._workspace, self._net = workspace, net

    @property
    def name(self) -> str:
        """The net's name."""
        return self._net.name

    def run(self) -> None:
        """Run it once; raises ``EnforceError``."""
        self._net.run(self._workspace)

    def cancel(self) -> None:
        """End a run, in another thread, that waits for a queue: it raises ``EnforceError``."""
        self._net.cancel()


class Blob:
    """A handle of a blob in a workspace."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._workspace, self._name = workspace, name

    def feed(self, arg: Any, device_option: Any = None) -> bool:
        """Put a copy of an object into the blob."""
        self._workspace.feed(self._name, arg)
        return True

    def fetch(self) -> Any:
        """A copy of what the blob holds."""
        return self._workspace.fetch(self._name)

    def serialize(self, name: Any) -> bytes:
        """The blob as the bytes of a ``BlobProto`` of this name; raises ``EnforceError``."""
        return serialize_value(str(name), self._workspace.value(self._name))

    def deserialize(self, data: bytes) -> None:
        """Put what ``serialize`` gave into the blob; raises ``EnforceError``."""
        self._workspace.put(self._name, deserialize_value(parse_blob(data)), True)

    def is_tensor(self) -> bool:
        """The blob holds a tensor."""
        return type_name(self._workspace.value(self._name)) == "caffe2::Tensor"

    def tensor(self) -> Tensor:
        """The blob's tensor, to be written to."""
        return Tensor(self._workspace, self._name)

    as_tensor = tensor


class Tensor:
    """A tensor in a blob, whose elements Python may write to."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._workspace, self._name = workspace, name

    @property
    def data(self) -> np.ndarray:
        """The elements themselves: what is written to them is in the blob."""
        value = self._workspace.value(self._name)
        if not isinstance(value, np.ndarray):
            raise EnforceError(f"blob '{self._name}' contains {type_name(value)}, a tensor is needed", "feed an array")
        if isinstance(value, SharedArray):
            return value
        shared: np.ndarray = np.array(value).view(SharedArray)
        self._workspace.raw[self._name] = shared
        return shared

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions."""
        return self.data.shape

    def init(self, dims: Any, dtype: int) -> None:
        """Make it a tensor of zeros; raises ``EnforceError`` for strings."""
        if dtype == DType.STRING.value:
            raise EnforceError("Cannot initialize a tensor of strings from Python", "feed an array of texts")
        self._workspace.raw[self._name] = np.zeros(tuple(dims), DType(dtype).numpy)

    def feed(self, obj: Any) -> None:
        """Put a copy of an array into it."""
        self._workspace.feed(self._name, obj)

    def fetch(self) -> Any:
        """A copy of it."""
        return self._workspace.fetch(self._name)
