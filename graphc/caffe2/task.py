"""``caffe2.python.task``: tasks, groups of tasks that run at once, and the nodes on which they run.

graphc runs everything in one process (``session.LocalSession``); nodes are kept as names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from graphc.caffe2 import context, core
from graphc.caffe2.building import NetBuilder
from graphc.caffe2.schema import Field, from_blob_list


class Cluster(context.DefaultManaged):
    """The nodes that were named within it."""

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._node_kwargs: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"Cluster(nodes={self._nodes}, node_kwargs={self._node_kwargs})"

    def add_node(self, node: Node) -> None:
        """Note a node; what several objects of one name say adds up, the first counts."""
        name = str(node)
        if name not in self._nodes:
            self._nodes.append(name)
        self._node_kwargs[name] = {**node.kwargs(), **self._node_kwargs.get(name, {})}

    def nodes(self) -> list[str]:
        """The names, in the order in which they came."""
        return self._nodes

    def node_kwargs(self) -> dict[str, dict[str, Any]]:
        """Properties of the nodes by name."""
        return self._node_kwargs


class Node(context.DefaultManaged):
    """Tasks made within it run on the node of this name."""

    def __init__(self, node: Any = "local", **kwargs: Any) -> None:
        self._name, self._kwargs = str(node), kwargs
        Cluster.current().add_node(self)

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Node(name={self._name}, kwargs={self._kwargs})"

    def kwargs(self) -> dict[str, Any]:
        """Properties of the node."""
        return self._kwargs


class WorkspaceType:
    """Where tasks run: in a workspace of their own, which ends with the run, or in the session's."""

    PRIVATE = "private"
    GLOBAL = "global"


def get_setup_nets(key: str, steps_or_nets: Sequence[Any], target: Any) -> tuple[list[Any], list[Any]]:
    """Nets and steps that objects, which nets keep under a key, want to run before and after.

    An object has ``setup(net)``, ``exit(net)`` or both: they add operators to a net, or give nets. Each object is asked
    once. Raises ``TypeError`` where it gives something else.
    """
    init_net, exit_net = core.Net(f"{key}/init"), core.Net(f"{key}/exit")
    before: list[Any] = []
    after: list[Any] = []
    for obj in _kept(key, steps_or_nets):
        if getattr(obj, "_setup_used", False) or getattr(obj, "_setup_target", target) != target:
            continue
        for name, net, found in (("setup", init_net, before), ("exit", exit_net, after)):
            if hasattr(obj, name):
                found += _as_nets(getattr(obj, name)(net))
                obj._setup_used = True
    made = [[net] if len(net.Proto().op) else [] for net in (init_net, exit_net)]
    return made[0] + before, made[1] + after


def _kept(key: str, steps_or_nets: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for part in steps_or_nets:
        look = getattr(part, "get_all_attributes", None) or getattr(part, "get_attributes", None)
        found += look(key) if look is not None else []
    return found


def _as_nets(nets: Any) -> list[Any]:
    if nets is None or isinstance(nets, list | tuple):
        return list(nets or ())
    if isinstance(nets, core.Net | core.ExecutionStep):
        return [nets]
    raise TypeError(f"Unsupported type for setup: {type(nets)}")


def add_setup_steps(step: Any, init_nets: Sequence[Any], exit_nets: Sequence[Any], name: str) -> Any:
    """A step that runs nets before and after another one."""
    steps = [core.execution_step(f"{name}:init", list(init_nets))] if init_nets else []
    steps.append(step)
    steps += [core.execution_step(f"{name}:exit", list(exit_nets))] if exit_nets else []
    return step if len(steps) == 1 else core.execution_step(name, steps)


class TaskGroup(context.Managed):
    """Tasks that start at once; the group ends with the last of them."""

    LOCAL_SETUP = "local_setup"

    def __init__(self, workspace_type: str | None = None) -> None:
        self._plan_cache: Any = None
        self._tasks: list[Task] = []
        self._tasks_to_add: list[Task] = []
        self._already_used = False
        self._report_nets: dict[str, tuple[Any, int]] = {}
        self._report_steps: list[tuple[str, Any]] = []
        self._workspace_type = workspace_type
        self._tasks_by_node: tuple[TaskGroup, dict[str, str]] | None = None
        self._remote_nets: list[Any] = []

    def __repr__(self) -> str:
        tasks, kind = self._tasks + self._tasks_to_add, self._workspace_type
        return f"TaskGroup(tasks={tasks}, workspace_type={kind}, remote_nets={self._remote_nets})"

    def add(self, task: Task) -> None:
        """Append a task, whose workspace has to be of the group's type."""
        if self._already_used:
            raise AssertionError("Cannot add Task to an already used TaskGroup.")
        types = {t for t in (self._workspace_type, task._workspace_type) if t is not None}
        if len(types) > 1:
            raise AssertionError(f"the task wants a {task._workspace_type} workspace, the group {self._workspace_type}")
        task._workspace_type = task._workspace_type or self._workspace_type or WorkspaceType.PRIVATE
        self._workspace_type = self._workspace_type or task._workspace_type
        task._notify_used()
        self._tasks.append(task)

    def tasks(self) -> list[Task]:
        """The tasks; the group takes no others from now on."""
        if not self._already_used:
            for task in self._tasks_to_add:
                self.add(task)
            self._tasks_to_add = []
            self._already_used = True
        return self._tasks

    def num_registered_tasks(self) -> int:
        """The number of tasks."""
        return len(self._tasks_to_add) + len(self._tasks)

    def used_nodes(self) -> list[str]:
        """The nodes of the tasks, in the order in which they came."""
        return list(dict.fromkeys(task.node for task in [*self._tasks, *self._tasks_to_add]))

    def remote_nets(self) -> list[Any]:
        """Nets that other processes have to have."""
        return self._remote_nets

    def add_remote_net(self, net: Any) -> None:
        """Note a net that other processes have to have."""
        self._remote_nets.append(net)

    def report_step(self, step: Any = None, node: Any = None, interval_ms: int = 1000) -> None:
        """Let a step run every so many milliseconds on a node, and once at the end."""
        step = core.to_execution_step(step)
        step.RunEveryMillis(interval_ms)
        self._report_steps.append((_node_name(node), step))

    def report_net(self, net: Any = None, node: Any = None, report_interval: int = 5) -> Any:
        """The net that runs every so many seconds on a node; a new one where there is none."""
        name = _node_name(node)
        if net is not None and name in self._report_nets:
            raise AssertionError(f"node {name} has a report net already")
        if name not in self._report_nets:
            self._report_nets[name] = (net if net is not None else core.Net(f"{name}/reporter"), report_interval)
        return self._report_nets[name][0]

    def tasks_by_node(self, node_remap: Callable[[str], str] | None = None) -> TaskGroup:
        """A group of one task for each node; node_remap: from a node's name to that of another one."""
        nodes = {node: node_remap(node) if node_remap else node for node in self.used_nodes()}
        if self._tasks_by_node is not None:
            group, before = self._tasks_by_node
            if before != nodes:
                raise AssertionError("Cannot call tasks_by_node multiple times.")
            return group
        for node, (net, interval) in self._report_nets.items():
            self.report_step(net, node=node, interval_ms=interval * 1000)
        self._report_nets = {}
        tasks: dict[str, list[Task]] = defaultdict(list)
        for task in self.tasks():
            tasks[nodes[task.node]].append(task)
        reports: dict[str, list[Any]] = defaultdict(list)
        for node, step in self._report_steps:
            reports[nodes[node]].append(step)
        group = TaskGroup()
        for node, members in tasks.items():
            self._add_joined(group, node, members, reports[node])
        self._tasks_by_node = (group, nodes)
        return group

    def _add_joined(self, group: TaskGroup, node: str, tasks: Sequence[Task], reports: Sequence[Any]) -> None:
        """Append one task that runs those of a node at once."""
        steps = [task.get_step() for task in tasks]
        for task, step in zip(tasks, steps):
            step.SetCreateWorkspace(task.workspace_type() == WorkspaceType.PRIVATE)
        shared = any(task.workspace_type() == WorkspaceType.GLOBAL for task in tasks)
        parts = [*reports, *steps]
        joined = parts[0]
        if len(parts) > 1:
            joined = core.execution_step(f"{node}:body", parts, concurrent_substeps=True)
        before, after = get_setup_nets(TaskGroup.LOCAL_SETUP, [*steps, *reports], self)
        Task(
            node=node,
            step=add_setup_steps(joined, before, after, node),
            outputs=[output for task in tasks for output in task.outputs()],
            name="grouped_by_node",
            group=group,
            workspace_type=WorkspaceType.GLOBAL if shared else WorkspaceType.PRIVATE,
        )

    def to_task(self, node: Any = None) -> Task:
        """One task that runs all of the group on one node."""
        name = _node_name(node)
        tasks = self.tasks_by_node(lambda _: name).tasks()
        return tasks[0] if tasks else Task()

    def workspace_type(self) -> str | None:
        """The type of the tasks' workspace; None while no task has said."""
        return self._workspace_type


def _node_name(node: Any) -> str:
    return str(node if isinstance(node, str) else Node.current(node))


class TaskOutput:
    """What a task gives: a blob, a list of blobs, or a record."""

    def __init__(self, names: Any) -> None:
        self._schema = names if isinstance(names, Field) else None
        blobs = names.field_blobs() if isinstance(names, Field) else names
        self._is_scalar = not isinstance(blobs, list | tuple)
        self.names: list[Any] = [blobs] if self._is_scalar else list(blobs)
        self._values: list[Any] | None = None
        self._fetch_func: Callable[[Any], Any] | None = None

    def __repr__(self) -> str:
        return f"TaskOutput(names={self.names}, values={self._values})"

    def set(self, values: Sequence[Any], _fetch_func: Callable[[Any], Any] | None = None) -> None:
        """Set what ``get`` gives, and how ``fetch`` fetches it."""
        if len(values) != len(self.names):
            raise AssertionError(f"{len(values)} values for {len(self.names)} blobs")
        self._values, self._fetch_func = list(values), _fetch_func

    def get(self) -> Any:
        """The blobs after a run; raises ``AssertionError`` before it."""
        if self._values is None:
            raise AssertionError("Output value not set yet.")
        return self._shaped(self._values)

    def fetch(self) -> Any:
        """The values of the blobs after a run; raises ``AssertionError`` before it."""
        if self._fetch_func is None or self._values is None:
            raise AssertionError("Cannot fetch value for this output.")
        return self._shaped([self._fetch_func(value) for value in self._values])

    def _shaped(self, values: list[Any]) -> Any:
        if self._is_scalar:
            return values[0]
        return values if self._schema is None else from_blob_list(self._schema, values)


def final_output(blob_or_record: Any) -> TaskOutput:
    """Let the current task, or a new one, give a blob or record."""
    task = Task.current(required=False)
    return (Task() if task is None else task).add_output(blob_or_record)


class TaskOutputList:
    """The outputs of a task."""

    def __init__(self, outputs: list[TaskOutput] | None = None) -> None:
        self.outputs = outputs or []

    def __repr__(self) -> str:
        return f"TaskOutputList(outputs={self.outputs})"

    def names(self) -> list[Any]:
        """Their blobs."""
        return [name for output in self.outputs for name in output.names]

    def set_values(self, values: Sequence[Any], _fetch_func: Callable[[Any], Any] | None = None) -> None:
        """Set the values of all, one for each blob."""
        if len(values) != len(self.names()):
            raise AssertionError("Wrong number of output values.")
        at = 0
        for output in self.outputs:
            output.set(values[at : at + len(output.names)], _fetch_func)
            at += len(output.names)


class Task(context.Managed):
    """A step and its outputs, in the current group and on the current node.

    ``with Task():`` is a ``NetBuilder``, whose content becomes the step. num_instances: so many copies run at once.
    """

    TASK_SETUP = "task_setup"
    TASK_INSTANCE_SETUP = "task_instance_setup"
    REPORT_STEP = "report_step"
    _global_names_used: set[str] = set()

    @staticmethod
    def _get_next_name(node: str, group: TaskGroup | None, name: str) -> str:
        base = full = f"{node}/{name}"
        used = Task._global_names_used if group is None else {task.name for task in group._tasks_to_add}
        k = 0
        while full in used:
            k += 1
            full = f"{base}:{k}"
        return full

    def __init__(
        self,
        step: Any = None,
        outputs: Any = None,
        workspace_type: str | None = None,
        group: TaskGroup | None = None,
        node: Any = None,
        name: str | None = None,
        num_instances: int | None = None,
    ) -> None:
        if not name and isinstance(step, core.ExecutionStep):
            name = step.Proto().name
        self.node = str(Node.current(None if node is None else Node(node)))
        self.group = TaskGroup.current(group, required=False)
        self.name = Task._get_next_name(self.node, self.group, name or "task")
        if self.group is not None:
            self.group._tasks_to_add.append(self)
        self._already_used = False
        self._step: Any = None
        self._step_with_setup: Any = None
        self._outputs: list[TaskOutput] = []
        self._workspace_type = workspace_type
        self._num_instances = num_instances
        self._net_builder: NetBuilder | None = None
        if step is not None:
            self.set_step(step)
        if outputs is not None:
            self.add_outputs(outputs)

    def __repr__(self) -> str:
        return f"Task(name={self.name}, node={self.node}, outputs={self._outputs})"

    def __enter__(self) -> Task:
        super().__enter__()
        if self.group is not None:
            self.group._tasks_to_add.remove(self)
        self._require_unused()
        if self._step is not None:
            raise AssertionError("This Task already has an execution step.")
        self._net_builder = NetBuilder(_fullname=self.name)
        self._net_builder.__enter__()
        return self

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        super().__exit__(etype, *args)
        builder, self._net_builder = self._net_builder, None
        if builder is not None:
            builder.__exit__(etype, *args)
        if etype is None:
            self.set_step(builder)
        if self.group is not None:
            self.group._tasks_to_add.append(self)

    def workspace_type(self) -> str | None:
        """The type of the workspace in which it runs; None while nothing has said."""
        return self._workspace_type

    def _require_unused(self) -> None:
        if self._already_used:
            raise AssertionError("Cannot modify task since it is already been used.")

    def add_output(self, output: Any) -> TaskOutput:
        """Let the task give a blob, a list of blobs or a record."""
        self._require_unused()
        found = output if isinstance(output, TaskOutput) else TaskOutput(output)
        self._outputs.append(found)
        return found

    def add_outputs(self, outputs: Any) -> Any:
        """``add_output`` of each of a list; of a single one where it is none."""
        if not isinstance(outputs, list | tuple):
            return self.add_output(outputs)
        return [self.add_output(output) for output in outputs]

    def set_step(self, step: Any) -> None:
        """Set what the task runs."""
        self._require_unused()
        self._step = core.to_execution_step(step)

    def get_step(self) -> Any:
        """What the task runs, with the nets around it that its nets ask for."""
        if self._step_with_setup is None:
            self._step_with_setup = (
                core.execution_step(self.name, []) if self._step is None else self._surrounded(self._step)
            )
        return self._step_with_setup

    def _surrounded(self, body: Any) -> Any:
        reports = [s for s in body.get_all_attributes(Task.REPORT_STEP) if not hasattr(s, "_report_step_used")]
        for step in reports:
            step._report_step_used = True
            if not step.Proto().run_every_ms:
                step.RunEveryMillis(1000)
        before, after = get_setup_nets(Task.TASK_SETUP, [body, *reports], self)
        instance_before, instance_after = get_setup_nets(Task.TASK_INSTANCE_SETUP, [body, *reports], self)
        if not self._outputs:  # every task of Caffe2 gives something
            output = core.Net(f"{self.name}:output")
            self.add_output(output.ConstantFill([], 1, dtype=core.DataType.INT32, value=0))
            after.append(output)
        if reports:
            body = core.execution_step(f"{self.name}:body", [*reports, body])
        body = add_setup_steps(body, instance_before, instance_after, f"{self.name}:instance")
        if self._num_instances and self._num_instances > 1:
            body.SetCreateWorkspace(True)
            body = core.execution_step(
                f"{self.name}:parallel", [body], num_concurrent_instances=self._num_instances
            )  # fmt: skip
        return add_setup_steps(body, before, after, self.name)

    def output_list(self) -> TaskOutputList:
        """The outputs, as an object that sets their values."""
        return TaskOutputList(self._outputs)

    def outputs(self) -> list[TaskOutput]:
        """The outputs."""
        return self._outputs

    def _notify_used(self) -> None:
        self.get_step()
        self._already_used = True


class SetupNets:
    """Nets that run before and after the task or group of the net that keeps this object (``net.add_attribute``)."""

    def __init__(self, init_nets: Any = None, exit_nets: Any = None) -> None:
        self.init_nets, self.exit_nets = init_nets, exit_nets

    def __repr__(self) -> str:
        return f"SetupNets(init_nets={self.init_nets}, exit_nets={self.exit_nets})"

    def setup(self, init_net: Any) -> Any:
        """The nets that run before."""
        return self.init_nets

    def exit(self, exit_net: Any) -> Any:
        """The nets that run after."""
        return self.exit_nets
