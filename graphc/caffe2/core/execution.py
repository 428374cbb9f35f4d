"""Steps and plans: which nets run how often, one after another or at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from graphc.caffe2.core.blob_reference import BlobReference, ScopedName
from graphc.caffe2.core.net import Net
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def get_net_name(netlike: Any) -> Any:
    """The name of a Net or NetDef; a name as it is."""
    if isinstance(netlike, Net):
        return netlike.Name()
    return netlike.name if isinstance(netlike, caffe2_pb2.NetDef) else netlike


def output_to_list(op_output: Any) -> list[BlobReference]:
    """The outputs of an operator as a list, whether it has one or several."""
    return [op_output] if isinstance(op_output, BlobReference) else list(op_output)


def _add_net(nets: dict[str, Any], net: Any) -> bool:
    """Note a net by name; False where it is noted already. Raises ``AssertionError`` for another net of that name."""
    name = get_net_name(net)
    if name not in nets:
        nets[name] = net if isinstance(net, Net) else None
        return True
    if nets[name] is not None and nets[name] is not net:
        raise AssertionError(f"Different nets with same name: {name}")
    return False


class ExecutionStep:
    """A step: nets, or further steps, that run ``num_iter`` times or until a blob is true."""

    _step_names_used: set[str] = set()

    @staticmethod
    def _get_next_step_name(basename: str) -> str:
        name, k = basename, 1
        while name in ExecutionStep._step_names_used:
            name, k = f"{basename}_{k}", k + 1
        ExecutionStep._step_names_used.add(name)
        return name

    def __init__(self, name: str | None, nets: Any = None, num_iter: int | None = None) -> None:
        self._step = caffe2_pb2.ExecutionStep()
        self._step.name = name or ExecutionStep._get_next_step_name("step")
        self._net_dict: dict[str, Any] = {}
        self._is_used = False
        self._substeps: list[Any] = []
        for net in [nets] if isinstance(nets, Net) else nets or ():
            if _add_net(self._net_dict, net):
                self._step.network.append(get_net_name(net))
        if num_iter is not None:
            self._step.num_iter = num_iter

    def Proto(self) -> Message:
        """The ``ExecutionStep`` message itself."""
        return self._step

    def Name(self) -> str:
        """The step's name."""
        return str(self._step.name)

    def __str__(self) -> str:
        return self.Name()

    def get_net(self, name: str) -> Any:
        """A net of the step or of one inside it, by name."""
        return self._net_dict[name]

    def HasNets(self) -> bool:
        """The step runs nets."""
        return len(self._step.network) > 0

    def HasSubsteps(self) -> bool:
        """The step runs steps."""
        return len(self._step.substep) > 0

    def Nets(self) -> list[Any]:
        """The nets of the step and of those inside it."""
        return list(self._net_dict.values())

    def Substeps(self) -> list[Any]:
        """The steps inside."""
        return self._substeps

    def _changeable(self) -> Message:
        if self._is_used:
            raise AssertionError("Cannot mutate a step that has already been added to a plan/step.")
        return self._step

    def _notify_is_used(self) -> None:
        self._is_used = True

    def SetIter(self, num_iter: int) -> None:
        """How often it runs."""
        self._changeable().num_iter = num_iter

    def SetCreateWorkspace(self, create_workspace: bool) -> None:
        """It runs in a workspace of its own, which sees the blobs around it."""
        self._changeable().create_workspace = create_workspace

    def SetNumConcurrentInstances(self, num_concurrent_instances: int) -> None:
        """So many copies of it run at once."""
        self._changeable().num_concurrent_instances = num_concurrent_instances

    def SetOnlyOnce(self, only_once: bool) -> None:
        """It ends after one round though it has a blob that ends it; nothing for other steps."""
        self._changeable().only_once = only_once

    def SetShouldStopBlob(self, should_stop_blob: BlobReference) -> None:
        """It ends when this blob, looked at after every net or step in it, is true."""
        if not isinstance(should_stop_blob, BlobReference):
            raise AssertionError(f"expects BlobReference here, got {type(should_stop_blob)}")
        self._changeable().should_stop_blob = str(should_stop_blob)

    def RunEveryMillis(self, interval: int) -> None:
        """It runs every so many milliseconds while the steps beside it run, and once after them."""
        self._step.run_every_ms = interval

    def SetReportNet(self, report_net: Any, report_interval: int) -> None:
        """A net that runs every so many seconds while the step runs, and once at its end."""
        step = self._changeable()
        _add_net(self._net_dict, report_net)
        step.report_net, step.report_interval = get_net_name(report_net), report_interval

    def SetConcurrentSubsteps(self, concurrent_substeps: bool) -> None:
        """The steps inside run at once, each in a thread."""
        step = self._changeable()
        if self.HasNets():
            raise AssertionError("Cannot have both network and substeps.")
        step.concurrent_substeps = concurrent_substeps

    def AddSubstep(self, substep: Any) -> ExecutionStep:
        """Append a step; one that runs nothing is left out."""
        step = self._changeable()
        if self.HasNets():
            raise AssertionError("Cannot have both network and substeps.")
        if isinstance(substep, ExecutionStep):
            substep._notify_is_used()
            if not substep.HasNets() and not substep.HasSubsteps():
                return self
            for name, net in substep._net_dict.items():
                _add_net(self._net_dict, net if net is not None else name)
            self._substeps.append(substep)
            substep = substep.Proto()
        step.substep.add().CopyFrom(substep)
        return self

    def AddNet(self, net: Net) -> ExecutionStep:
        """Append a net."""
        step = self._changeable()
        if self.HasSubsteps():
            raise AssertionError("Cannot have both network and substeps.")
        if not isinstance(net, Net):
            raise AssertionError(f"a core.Net is needed, not {type(net).__name__}")
        _add_net(self._net_dict, net)
        step.network.append(net.Name())
        return self

    def get_all_attributes(self, name: str) -> list[Any]:
        """The objects that the nets keep under a name."""
        return [attr for net in self._net_dict.values() if net is not None for attr in net.get_attributes(name)]

    @classmethod
    def create_from_proto(
        cls, step_proto: Message, net_obj_dict: dict[str, Net], net_proto_dict: Mapping[str, Message]
    ) -> ExecutionStep:
        """The step of a message. net_obj_dict: nets made so far; net_proto_dict: the plan's NetDefs, both by name."""
        parts: list[Any] = [cls.create_from_proto(inner, net_obj_dict, net_proto_dict) for inner in step_proto.substep]
        for name in step_proto.network if not parts else ():
            if name not in net_obj_dict:
                net_obj_dict[name] = Net(net_proto_dict[name])
            parts.append(net_obj_dict[name])
        fields = {field.name: value for field, value in step_proto.ListFields()}
        kept = ("num_iter", "concurrent_substeps", "only_once", "num_concurrent_instances", "run_every_ms")
        settings = {name: fields.get(name) for name in kept}
        stop = BlobReference(fields["should_stop_blob"]) if "should_stop_blob" in fields else None
        own = bool(fields.get("create_workspace", False))
        return execution_step(step_proto.name, parts, should_stop_blob=stop, create_workspace=own, **settings)


class Plan:
    """Steps and the nets that they run."""

    def __init__(self, name_or_step: Any) -> None:
        self._plan = caffe2_pb2.PlanDef()
        self._net_dict: dict[str, Any] = {}
        self._steps: list[ExecutionStep] = []
        if isinstance(name_or_step, ExecutionStep):
            self._plan.name = name_or_step.Name()
            self.AddStep(name_or_step)
        elif isinstance(name_or_step, str):
            self._plan.name = name_or_step
        else:
            raise ValueError("name_or_step must be a string or ExecutionStep")

    def Proto(self) -> Message:
        """The ``PlanDef`` message itself."""
        return self._plan

    def __str__(self) -> str:
        return str(self._plan.name)

    def Nets(self) -> list[Any]:
        """The nets."""
        return list(self._net_dict.values())

    def Steps(self) -> list[ExecutionStep]:
        """The steps."""
        return self._steps

    def AddNets(self, nets: Sequence[Net]) -> None:
        """Append nets that the plan does not have yet."""
        for net in nets:
            if _add_net(self._net_dict, net):
                self._plan.network.add().CopyFrom(net.Proto())

    def AddStep(self, step: ExecutionStep) -> None:
        """Append a step and its nets; one that runs nothing is left out."""
        if not isinstance(step, ExecutionStep):
            raise AssertionError(f"an ExecutionStep is needed, not {type(step).__name__}")
        step._notify_is_used()
        if not step.HasNets() and not step.HasSubsteps():
            return
        self._plan.execution_step.add().CopyFrom(step.Proto())
        self._steps.append(step)
        self.AddNets([step.get_net(name) for name in _net_names(step.Proto()) if step.get_net(name) is not None])

    def get_all_attributes(self, name: str) -> list[Any]:
        """The objects that the nets keep under a name."""
        return [attr for net in self._net_dict.values() if net is not None for attr in net.get_attributes(name)]

    @classmethod
    def create_from_proto(cls, plan_proto: Message) -> Plan:
        """The plan of a ``PlanDef``; its nets get names of their own where these are taken."""
        plan = Plan(plan_proto.name)
        protos = {net.name: net for net in plan_proto.network}
        nets: dict[str, Net] = {}
        for step in plan_proto.execution_step:
            plan.AddStep(ExecutionStep.create_from_proto(step, nets, protos))
        return plan


def _net_names(step: Message) -> list[str]:
    """The nets of a step in the order in which they run, each once."""
    inside = [name for inner in step.substep for name in _net_names(inner)]
    return list(dict.fromkeys([*inside, *step.network, *([step.report_net] if step.report_net else [])]))


@runtime_checkable
class Builder(Protocol):
    """A ``NetBuilder``: it holds nets and steps, which end when a blob is true."""

    _stop_blob: BlobReference | None

    def get(self) -> list[Any]:
        """Its nets, steps and builders; it takes no others from then on."""


def to_execution_step(step_or_nets: Any, default_name: str | None = None) -> ExecutionStep:
    """A step as it is; nets, and what a builder or a group of tasks holds, as a step that runs them once."""
    if isinstance(step_or_nets, ExecutionStep):
        return step_or_nets
    if hasattr(step_or_nets, "to_task"):
        step: ExecutionStep = step_or_nets.to_task().get_step()
        return step
    name = default_name or getattr(step_or_nets, "name", None)
    if isinstance(step_or_nets, Builder):
        return execution_step(name, step_or_nets.get(), should_stop_blob=step_or_nets._stop_blob)
    return execution_step(name, step_or_nets)


def execution_step(
    default_name: str | None,
    steps_or_nets: Any,
    num_iter: int | None = None,
    report_net: Any = None,
    report_interval: int | None = None,
    concurrent_substeps: bool | None = None,
    should_stop_blob: BlobReference | None = None,
    only_once: bool | None = None,
    num_concurrent_instances: int | None = None,
    create_workspace: bool = False,
    run_every_ms: int | None = None,
) -> ExecutionStep:
    """A step of a net, a step, or a list of either.

    It runs ``num_iter`` times, or until ``should_stop_blob`` is true, or else once. Raises ``AssertionError`` where
    both are given, ``ValueError`` for things that are no nets or steps.
    """
    if should_stop_blob is not None and num_iter is not None:
        raise AssertionError("Cannot set both should_stop_blob and num_iter.")
    step = ExecutionStep(default_name)
    if should_stop_blob is not None:
        step.SetShouldStopBlob(should_stop_blob)
    else:
        step.SetIter(1 if num_iter is None else num_iter)
    if only_once is not None:
        step.SetOnlyOnce(only_once)
    if concurrent_substeps is not None:
        step.SetConcurrentSubsteps(concurrent_substeps)
    if report_net is not None:
        if report_interval is None:
            raise AssertionError("report_net needs report_interval, in seconds")
        step.SetReportNet(report_net, report_interval)
    if num_concurrent_instances is not None:
        step.SetNumConcurrentInstances(num_concurrent_instances)
    if create_workspace:
        step.SetCreateWorkspace(True)
    if run_every_ms:
        step.RunEveryMillis(run_every_ms)
    _add_parts(step, steps_or_nets)
    return step


def _add_parts(step: ExecutionStep, parts: Any) -> None:
    if isinstance(parts, ExecutionStep):
        step.AddSubstep(parts)
    elif isinstance(parts, Net):
        step.AddNet(parts)
    elif isinstance(parts, list):
        nets = all(isinstance(part, Net) for part in parts)
        for part in parts:
            step.AddNet(part) if nets else step.AddSubstep(to_execution_step(part))
    elif parts:
        raise ValueError("steps_or_nets must be a step, a net, or a list of nets or steps.")


def scoped_execution_step(name: str | None, *args: Any, **kwargs: Any) -> ExecutionStep:
    """``execution_step`` whose name has the current name scope before it."""
    return execution_step(ScopedName(name) if name else name, *args, **kwargs)
