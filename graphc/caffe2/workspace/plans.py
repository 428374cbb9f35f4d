"""Running plans: steps of nets and of further steps, until a number of times, a blob or a failure ends them.

Rules from Caffe2's ``plan_executor.cc``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from graphc.caffe2.workspace.errors import EnforceError
from graphc.frontends.netdef.schema import Message

Run = Callable[[], None]


class Workspace(Protocol):
    """What plans need of a workspace (``store.Workspace``)."""

    created: dict[str, Any]

    def child(self) -> Workspace:
        """A workspace inside it."""

    def create_program(self, data: bytes, overwrite: bool = False) -> Any:
        """Create a net from a serialised NetDef."""

    def renew_program(self, name: str, data: bytes) -> None:
        """Create a net from a serialised NetDef, in the place of the one of its name."""

    def net(self, name: str) -> Any:
        """A created net."""

    def value(self, name: str) -> Any:
        """What a blob holds."""


def run_plan(plan: Message, workspace: Workspace) -> None:
    """Run the steps of a ``PlanDef`` in order, each net created before its first step; raises ``EnforceError``.

    A net takes the place of one of its name that the workspace has.
    """
    nets = {net.name: net.SerializeToString() for net in plan.network}
    renewed: set[str] = set()
    for step in plan.execution_step:
        _Runner(nets, threading.Event(), workspace, renewed).instances(step, workspace)


class _Runner:
    """Runs steps. stop: set when a step beside the running one has failed. renewed: the nets that the plan has created
    in its own workspace."""

    def __init__(self, nets: dict[str, bytes], stop: threading.Event, workspace: Workspace, renewed: set[str]) -> None:
        self.nets, self.stop, self.workspace, self.renewed = nets, stop, workspace, renewed
        self._lock = threading.Lock()

    def instances(self, step: Message, workspace: Workspace) -> None:
        """Run a step, or so many copies of it at once as it says."""
        count = max(step.num_concurrent_instances, 1)
        self._together([partial(self._step, step, workspace)] * count)

    def _step(self, step: Message, workspace: Workspace) -> None:
        own = workspace.child() if step.create_workspace else workspace
        self._create(step, own)
        with _Repeated(self._report(step, own), step.report_interval):
            iteration = 0
            while self._goes_on(step, iteration):
                if not self._once(step, own):
                    return
                iteration += 1

    def _create(self, step: Message, workspace: Workspace) -> None:
        for name in (*step.network, *([step.report_net] if step.report_net else [])):
            if name not in self.nets:
                continue
            with self._lock:
                if workspace is self.workspace and name not in self.renewed:
                    self.renewed.add(name)
                    workspace.renew_program(name, self.nets[name])
                elif name not in workspace.created:
                    workspace.create_program(self.nets[name])

    def _report(self, step: Message, workspace: Workspace) -> Run | None:
        return workspace.net(step.report_net).bound(workspace) if step.report_net else None

    def _goes_on(self, step: Message, iteration: int) -> bool:
        if self.stop.is_set():
            return False
        if step.HasField("should_stop_blob") and not step.HasField("num_iter"):
            return iteration == 0 or not step.only_once
        return iteration < (step.num_iter if step.HasField("num_iter") else 1)

    def _once(self, step: Message, workspace: Workspace) -> bool:
        """Run what is in a step once; False where its blob, or a failure, ends it."""
        substeps = list(step.substep)
        if step.concurrent_substeps:
            self._together([partial(self.instances, s, workspace) for s in substeps])
            return not self._stopped(step, workspace)
        timed = [s for s in substeps if s.run_every_ms]
        with _AllRepeated([(partial(self.instances, s, workspace), s.run_every_ms / 1000) for s in timed]):
            parts: list[Run] = [partial(self.instances, s, workspace) for s in substeps if not s.run_every_ms]
            parts += [workspace.net(name).bound(workspace) for name in step.network]
            for part in parts:
                part()
                if self.stop.is_set() or self._stopped(step, workspace):
                    return False
        return True

    @staticmethod
    def _stopped(step: Message, workspace: Workspace) -> bool:
        if not step.HasField("should_stop_blob"):
            return False
        value = np.asarray(workspace.value(step.should_stop_blob))
        if value.dtype != np.bool_ or value.size != 1:
            raise EnforceError(f"should_stop_blob '{step.should_stop_blob}' is no bool", "fill it with one bool")
        return bool(value.reshape(-1)[0])

    def _together(self, parts: Sequence[Run]) -> None:
        """Run parts at once, each in a thread; the first failure stops the others and is raised."""
        if len(parts) == 1:
            parts[0]()
            return
        failures: list[BaseException] = []

        def guarded(part: Run) -> None:
            try:
                part()
            except BaseException as error:
                failures.append(error)
                self.stop.set()

        threads = [threading.Thread(target=guarded, args=(part,), daemon=True) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


class _Repeated:
    """Within the block a function is called every so many seconds, and once at its end."""

    def __init__(self, function: Run | None, seconds: float) -> None:
        self._function, self._seconds, self._done = function, seconds, threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def _repeat(self) -> None:
        while self._function is not None and not self._done.wait(self._seconds):
            self._function()

    def __enter__(self) -> None:
        if self._function is not None:
            self._thread.start()

    def __exit__(self, *error: object) -> None:
        if self._function is None:
            return
        self._done.set()
        self._thread.join()
        if error[0] is None:
            self._function()


class _AllRepeated:
    """Several functions, each with its interval in seconds."""

    def __init__(self, functions: Sequence[tuple[Run, float]]) -> None:
        self._all = [_Repeated(function, seconds) for function, seconds in functions]

    def __enter__(self) -> None:
        for one in self._all:
            one.__enter__()

    def __exit__(self, *error: object) -> None:
        for one in self._all:
            one.__exit__(*error)


class BackgroundPlan:
    """A plan that runs in a thread."""

    def __init__(self, plan: Message, workspace: Workspace) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(plan, workspace), daemon=True)
        self._thread.start()

    def _run(self, plan: Message, workspace: Workspace) -> None:
        try:
            run_plan(plan, workspace)
        except BaseException as error:
            self._error = error

    def is_done(self) -> bool:
        """The plan has come to its end."""
        return not self._thread.is_alive()

    def is_succeeded(self) -> bool:
        """It has, and nothing failed."""
        return self.is_done() and self._error is None
