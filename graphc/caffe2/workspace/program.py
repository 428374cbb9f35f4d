"""A net that can run: checked, cut into stages, with the plans that its runs have needed so far."""

from __future__ import annotations

import threading

from google.protobuf.message import DecodeError

from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.compiled import CompiledStage
from graphc.caffe2.workspace.errors import EnforceError, enforced
from graphc.caffe2.workspace.fills import FillStage
from graphc.caffe2.workspace.host_operators import HOST_OPERATORS, HostFunction
from graphc.caffe2.workspace.stages import Kind, Stage, is_compiled, keeps_scopes, scope_prefixes, split_stages
from graphc.caffe2.workspace.unknown_arguments import without_unknown
from graphc.frontends.netdef import check, read_net
from graphc.frontends.netdef.blobs import free_blobs, written_blobs
from graphc.frontends.netdef.nested import expand
from graphc.frontends.netdef.net import Net
from graphc.ir.ops.unsupported import refusal

MOST_PROGRAMS = 1000
"""Programs that a process keeps; the oldest is forgotten first."""
LARGEST = 1 << 20
"""Bytes of the largest net that is kept; what is larger is weights."""


class HostStage:
    """One operator that runs as a function of the workspace. scoped: see ``Program``."""

    def __init__(self, stage: Stage, scoped: bool) -> None:
        self.stage, self.op, self.scoped = stage, stage.net.ops[0], scoped
        self.function: HostFunction = HOST_OPERATORS[self.op.type]
        self.where = f"net '{stage.net.name}' op #{stage.positions[0]}"
        self._programs: dict[int, Program] = {}

    def program(self, net: Net) -> Program:
        """The program of a net among the operator's arguments; raises ``EnforceError``."""
        if id(net) not in self._programs:
            self._programs[id(net)] = Program(net, scoped=self.scoped)
        return self._programs[id(net)]


AnyStage = CompiledStage | FillStage | HostStage


class Program:
    """A net and its stages; programs of the same net are one object.

    single: it is an operator that runs by itself. scoped: it is part of a net whose scopes are kept
    (``stages.keeps_scopes``). Raises ``EnforceError`` for a net that cannot run, with every reason.
    """

    def __init__(self, net: Net, single: bool = False, scoped: bool = False) -> None:
        self.net = net = without_unknown(net)
        _require_valid(net)
        expanded, _ = expand(net)
        self.scoped = scoped or keeps_scopes(net)
        inside = scope_prefixes(net) if self.scoped else ()
        self.reads = [n for n in free_blobs(expanded) if n and not n.startswith(inside)]
        self.writes = [n for n in written_blobs(expanded) if n and not n.startswith(inside)]
        stages = split_stages(net, self.scoped)
        self.stages: list[AnyStage] = [self._stage(s, single) for s in stages]

    def _stage(self, stage: Stage, single: bool) -> AnyStage:
        if stage.kind is Kind.HOST:
            return HostStage(stage, self.scoped)
        if stage.kind is Kind.FILL:
            return FillStage(stage)
        return CompiledStage(stage, self.net.external_outputs, self.writes, single)

    def forget_weights(self) -> None:
        """Forget the plans that hold weights."""
        for stage in self.stages:
            if isinstance(stage, CompiledStage):
                stage.forget_weights()


def _require_valid(net: Net) -> None:
    """Raise ``EnforceError`` that lists what is wrong with a net, but for what host operators take care of."""
    lines = [str(p) for p in check(net).problems if p.op_type not in HOST_OPERATORS]
    for i, op in enumerate(net.ops):
        known = refusal(op.type)
        if known is not None and op.type not in HOST_OPERATORS and is_compiled(op):
            lines.append(f"net '{net.name}' op #{i} {op.type}: {known.reason}; help: {known.remedy}")
    if lines:
        more = f" (and {len(lines) - 1} problems more)" if len(lines) > 1 else ""
        raise EnforceError(f"net '{net.name}' cannot run: {lines[0]}{more}", "", "\n".join(lines[1:]))


_PROGRAMS: dict[bytes, Program] = {}
_LOCK = threading.RLock()


def program_of(data: bytes, single: bool = False) -> Program:
    """The program of a serialised NetDef, or with ``single`` of a serialised OperatorDef; raises ``EnforceError``."""
    key = b"operator " + data if single else data
    found = _PROGRAMS.get(key)
    if found is not None:
        return found
    with _LOCK, enforced():
        made = Program(single_net(data) if single else parse_net(data), single)
        if len(data) < LARGEST:
            _PROGRAMS[key] = made
        if len(_PROGRAMS) > MOST_PROGRAMS:
            del _PROGRAMS[next(iter(_PROGRAMS))]
    return made


def parse_net(data: bytes) -> Net:
    """A serialised NetDef as plain data; one without operators counts as a net. Raises ``GraphcError``."""
    try:
        message = caffe2_pb2.NetDef.FromString(data) if len(data) < LARGEST else None
    except DecodeError:
        message = None
    if message is not None and not message.op:
        inputs, outputs = list(message.external_input), list(message.external_output)
        return Net(message.name, [], inputs, outputs, type=message.type)
    return read_net(data)


def single_net(data: bytes) -> Net:
    """A net of one serialised operator."""
    message = caffe2_pb2.NetDef()
    try:
        message.op.add().ParseFromString(data)
    except DecodeError:
        raise EnforceError("the bytes are no OperatorDef", "serialise an operator of core.CreateOperator") from None
    message.name = message.op[0].type
    return read_net(message.SerializeToString())


def each_program() -> list[Program]:
    """The programs that the process keeps."""
    with _LOCK:
        return list(_PROGRAMS.values())
