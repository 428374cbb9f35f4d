"""``caffe2.python.session``: running nets, steps, plans, tasks and groups of tasks."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.task import Cluster, Task, TaskGroup, WorkspaceType
from graphc.caffe2.workspace.current import current


class CompiledRunnable:
    """What ``Session.compile`` gives."""

    def __init__(self, obj: Any, session_class: type) -> None:
        self.obj, self.session_class = obj, session_class


class Session:
    """What runs things; its subclasses say where."""

    _compiled_cache: dict[Any, CompiledRunnable] = {}

    def __init__(self) -> None:
        self._open = True

    def is_open(self) -> bool:
        """It was not closed."""
        return self._open

    @classmethod
    def compile(cls, runnable: Any, workspace_type: str | None = None, setup_net_list: Any = None) -> CompiledRunnable:
        """A form that can run, made once for each object. workspace_type: by default the session's workspace.

        Raises ``AssertionError`` for something that another class of sessions compiled, and for a group whose
        workspace is of another type.
        """
        if isinstance(runnable, CompiledRunnable):
            if cls is not runnable.session_class:
                raise AssertionError(
                    "Runnable was compiled for different session type. "
                    f"Need: {cls.__name__}, got: {runnable.session_class.__name__}"
                )
            return runnable
        if runnable not in cls._compiled_cache:
            group = _as_group(runnable, workspace_type)
            cls._compiled_cache[runnable] = CompiledRunnable(cls._compile_task_group(group, setup_net_list), cls)
        return cls._compiled_cache[runnable]

    def run(self, runnable: Any, workspace_type: str | None = None, setup_net_list: Any = None) -> None:
        """Run a group, task, plan, step or net; raises ``RuntimeError``, ``AssertionError``."""
        if not self.is_open():
            raise AssertionError("Session is closed.")
        if runnable is None:
            raise AssertionError("Got a none runnable.")
        self._run_compiled(self.compile(runnable, workspace_type, setup_net_list).obj)

    def close(self) -> None:
        """Take nothing else."""
        if self.is_open():
            self._do_close()
            self._open = False

    def fetch_output(self, output: Any) -> Any:
        """The value of an output."""
        raise NotImplementedError

    def _run_compiled(self, task_group: Any) -> None:
        raise NotImplementedError

    @classmethod
    def _compile_task_group(cls, task_group: Any, setup_net_list: Any = None) -> Any:
        return task_group

    def _do_close(self) -> None:
        """What closing means for the subclass."""

    def __enter__(self) -> Session:
        if not self._open:
            raise AssertionError("Session already closed.")
        return self

    def __exit__(self, ex_type: Any, value: Any, traceback: Any) -> None:
        if ex_type is None:
            self.close()


def _as_group(runnable: Any, workspace_type: str | None) -> TaskGroup:
    """A group of tasks that runs the object."""
    if isinstance(runnable, TaskGroup):
        if workspace_type and runnable.workspace_type() not in (None, workspace_type):
            raise AssertionError(f"Require {workspace_type} but already have {runnable.workspace_type()}")
        runnable._workspace_type = runnable._workspace_type or workspace_type
        return runnable
    group = TaskGroup(workspace_type=workspace_type or WorkspaceType.GLOBAL)
    group.add(runnable if isinstance(runnable, Task) else Task(step=_as_step(runnable)))
    return group


def _as_step(runnable: Any) -> Any:
    if isinstance(runnable, core.ExecutionStep):
        return runnable
    if isinstance(runnable, core.Plan):
        steps = runnable.Steps()
        if not steps:
            raise AssertionError("the plan has no steps")
        return steps[0] if len(steps) == 1 else core.to_execution_step(steps)
    return core.execution_step("runnable", runnable)


class LocalSession(Session):
    """A session in this process; all nodes are one. ws: the workspace, by default the current one."""

    def __init__(self, ws: Any = None) -> None:
        super().__init__()
        self._ws = ws if ws is not None else current()

    @classmethod
    def _compile_task_group(cls, task_group: Any, setup_net_list: Any = None) -> Any:
        with Cluster():
            task = task_group.to_task()
        plan = core.Plan("task_group_plan")
        plan.AddStep(task.get_step())
        return plan, task.output_list()

    def _run_compiled(self, compiled: Any) -> None:
        plan, outputs = compiled
        for name in outputs.names():
            self._ws.create_blob(str(name))
        outputs.set_values([core.BlobReference(str(name)) for name in outputs.names()], _fetch_func=self._fetch_output)
        self._ws.run(plan)

    def _fetch_output(self, output: Any) -> Any:
        return self._ws.fetch_blob(str(output))
