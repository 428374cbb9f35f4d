"""Running the stages of a net on a workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from graphc.caffe2.workspace.compiled import CompiledStage, Demands
from graphc.caffe2.workspace.errors import EnforceError, enforce_error
from graphc.caffe2.workspace.fills import FillStage
from graphc.caffe2.workspace.host_operators import HostCall, RunMemory
from graphc.caffe2.workspace.observers import Observer
from graphc.caffe2.workspace.pending import Pending
from graphc.caffe2.workspace.program import HostStage, Program
from graphc.caffe2.workspace.values import Value
from graphc.frontends.netdef.net import Net
from graphc.ir import GraphcError


class Target(Protocol):
    """The workspace that a net runs on."""

    raw: dict[str, Value]
    filled: set[str]
    root_folder: str

    def value(self, name: str) -> Value: ...
    def put(self, name: str, value: Value, filled: bool = False) -> None: ...
    def remove(self, name: str) -> bool: ...
    def names(self) -> list[str]: ...
    def own_names(self) -> list[str]: ...
    def scope(self, names: Mapping[str, str]) -> Any: ...


class CreatedNet:
    """A net of a workspace: its program, and what its runs taught it. digest: of the bytes that it was created from."""

    def __init__(self, program: Program, digest: bytes = b"") -> None:
        self.program, self.digest = program, digest
        self.demands = [Demands() for _ in program.stages]
        self.observers: list[Observer] = []
        self.begin()

    def begin(self) -> None:
        """Forget the runs, but for what they taught."""
        self.runs = 0
        self.memory = RunMemory()

    @property
    def name(self) -> str:
        """The net's name."""
        return self.program.net.name

    def run(self, target: Target) -> None:
        """Run it once; raises ``EnforceError``. Blobs that no plan gives are computed when they are looked at."""
        start = time.perf_counter() if self.observers else 0.0
        self.memory.cancelled.clear()
        try:
            for stage, demands in zip(self.program.stages, self.demands):
                if isinstance(stage, CompiledStage):
                    _run_compiled(stage, target, demands)
                else:
                    _run_other(stage, target, self.runs, self.memory)
        except EnforceError:
            raise
        except GraphcError as error:
            raise enforce_error(error, self.name) from error
        self.runs += 1
        for observer in self.observers:
            observer.note(time.perf_counter() - start)

    def cancel(self) -> None:
        """Let an operator that waits in a run end it with an error."""
        self.memory.cancelled.set()

    def bound(self, target: Target) -> Callable[[], None]:
        """A function that runs it."""
        return lambda: self.run(target)


def run_program(program: Program, target: Target, memory: RunMemory | None = None) -> None:
    """Run a program once, by plans that give every blob; raises ``EnforceError``.

    memory: what operators keep, of a net that is part of another one.
    """
    memory = RunMemory() if memory is None else memory
    try:
        for stage in program.stages:
            if isinstance(stage, CompiledStage):
                found = stage.run(target, stage.once, True)
                target.raw.update(found)
            else:
                _run_other(stage, target, 0, memory)
    except EnforceError:
        raise
    except GraphcError as error:
        raise enforce_error(error, program.net.name) from error


def _run_compiled(stage: CompiledStage, target: Target, demands: Demands) -> None:
    found, raw = stage.run(target, demands, False), target.raw
    prepared = demands.prepared
    if prepared is not None and len(found) < len(stage.stage.writes):
        pending = Pending(stage, prepared.variant, {n: raw.get(n) for n in prepared.variant.names}, demands)
        for name in stage.stage.writes:
            if name not in found:
                raw[name] = pending
    raw.update(found)


def _run_other(stage: FillStage | HostStage, target: Target, runs: int, memory: RunMemory) -> None:
    if isinstance(stage, FillStage):
        for name, value in stage.run(target, runs).items():
            target.put(name, value, True)
        return

    def run_net(net: Net, blobs: Target) -> None:
        run_program(stage.program(net), blobs, memory)

    stage.function(HostCall(target, stage.op, stage.where, run_net, memory))
