"""``caffe2.python.net_printer``: nets, steps, plans, tasks and jobs as text, and a check that every blob is made first.

With ``c2_syntax`` the text of a net is Python that makes it again, given ``core``.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from graphc.caffe2.checkpoint import Job
from graphc.caffe2.core import ExecutionStep, Net, Plan
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.task import Task, TaskGroup, TaskOutput, WorkspaceType
from graphc.frontends.netdef.schema import Message

LONGEST_TEXT = 64
"""Characters of a string argument that are printed."""
LARGEST_TASK = 1 << 26
"""Bytes of a task as a message."""


class Visitor:
    """Calls the function that was registered for an object's class; raises ``TypeError`` for another class."""

    visitors: ClassVar[list[tuple[Any, Callable[..., None]]]]

    @classmethod
    def register(cls, Type: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """A decorator: the function, of the visitor and the object, is for objects of a class."""

        def note(function: Callable[..., None]) -> Callable[..., None]:
            cls.visitors.append((Type, function))
            return function

        return note

    def __call__(self, obj: Any, *args: Any, **kwargs: Any) -> None:
        if obj is None:
            return
        for kind, function in self.visitors:
            if isinstance(obj, kind):
                function(self, obj, *args, **kwargs)
                return
        raise TypeError(f"{type(self).__name__}: unsupported object type: {type(obj)}")


# ---- analysis --------------------------------------------------------------------------------------------------------


class Analyzer(Visitor):
    """Follows an object in the order in which it runs and notes the blobs that it makes, for each node by itself."""

    visitors = []
    PREFIXES_TO_IGNORE: ClassVar[set[str]] = {"distributed_ctx_init"}

    def __init__(self) -> None:
        self.workspaces: dict[str, Counter[str]] = {}
        self.workspace_ctx: list[Counter[str]] = [Counter()]

    @property
    def workspace(self) -> Counter[str]:
        """The blobs that are there now, with the number of operators that wrote them."""
        return self.workspace_ctx[-1]

    @contextmanager
    def set_workspace(self, node: Any = None, ws: Any = None, do_copy: bool = False) -> Iterator[Counter[str]]:
        """Blobs made in the block go to this workspace, or to the one of a node. do_copy: and are gone after it."""
        if ws is None:
            ws = self.workspace if node is None else self.workspaces.setdefault(str(node), Counter())
        self.workspace_ctx.append(Counter(ws) if do_copy else ws)
        try:
            yield self.workspace
        finally:
            self.workspace_ctx.pop()

    def define_blob(self, blob: str) -> None:
        """Note that a blob is made."""
        self.workspace[blob] += 1

    def need_blob(self, blob: str) -> None:
        """Raise ``AssertionError`` unless a blob is there."""
        if blob not in self.workspace and not blob.startswith(tuple(self.PREFIXES_TO_IGNORE)):
            raise AssertionError(f"Blob undefined: {blob}")


@Analyzer.register(caffe2_pb2.OperatorDef)
def analyze_op(analyzer: Analyzer, op: Message) -> None:
    """The inputs have to be there; the outputs are then."""
    for blob in op.input:
        analyzer.need_blob(blob)
    for blob in op.output:
        analyzer.define_blob(blob)


@Analyzer.register(caffe2_pb2.NetDef)
@Analyzer.register(Net)
def analyze_net(analyzer: Analyzer, net: Any) -> None:
    """One operator after another."""
    for op in (net.Proto() if isinstance(net, Net) else net).op:
        analyzer(op)


@Analyzer.register(ExecutionStep)
def analyze_step(analyzer: Analyzer, step: ExecutionStep) -> None:
    """Nets or steps inside; such as run at once may not make the same blob and do not see each other's."""
    proto = step.Proto()
    made: set[str] = set()
    with analyzer.set_workspace(do_copy=proto.create_workspace):
        if proto.report_net:
            with analyzer.set_workspace(do_copy=True):
                analyzer(step.get_net(proto.report_net))
        for part in _parts(step):
            with analyzer.set_workspace(do_copy=proto.concurrent_substeps) as inside:
                analyzer(part)
                if proto.should_stop_blob:
                    analyzer.need_blob(proto.should_stop_blob)
            if proto.concurrent_substeps:
                new = inside.keys() - analyzer.workspace.keys()
                if made & new:
                    raise AssertionError(f"Error: Blobs created by multiple parallel steps: {', '.join(made & new)}")
                made |= new
    for blob in made:
        analyzer.define_blob(blob)


@Analyzer.register(Plan)
def analyze_plan(analyzer: Analyzer, plan: Plan) -> None:
    """One step after another."""
    for step in plan.Steps():
        analyzer(step)


@Analyzer.register(Task)
def analyze_task(analyzer: Analyzer, task: Task) -> None:
    """Its step; blobs of a task with a workspace of its own are gone after it."""
    step = task.get_step()
    plan = Plan(task.node)
    plan.AddStep(step)
    size = len(plan.Proto().SerializeToString())
    if size >= LARGEST_TASK:
        raise AssertionError(f"serialized tasks must be smaller than 64Mb, but this task has {size} bytes.")
    with analyzer.set_workspace(do_copy=task.workspace_type() != WorkspaceType.GLOBAL):
        analyzer(step)


@Analyzer.register(TaskGroup)
def analyze_task_group(analyzer: Analyzer, tg: TaskGroup) -> None:
    """The task of each node."""
    for task in tg.tasks_by_node().tasks():
        with analyzer.set_workspace(node=task.node):
            analyzer(task)


@Analyzer.register(Job)
def analyze_job(analyzer: Analyzer, job: Job) -> None:
    """What runs at the beginning, then an epoch."""
    analyzer(job.init_group)
    analyzer(job.epoch_group)


def analyze(obj: Any) -> None:
    """Raise ``AssertionError`` where an operator reads a blob that nothing made, or parallel steps make the same one.

    obj: a Job, TaskGroup, Task, Plan, ExecutionStep, Net or NetDef. External inputs of a net given by itself are there.
    """
    analyzer = Analyzer()
    if isinstance(obj, Net | caffe2_pb2.NetDef):
        for blob in (obj.Proto() if isinstance(obj, Net) else obj).external_input:
            analyzer.define_blob(blob)
    analyzer(obj)


def _parts(step: ExecutionStep) -> list[Any]:
    """The steps and nets of a step."""
    return [*step.Substeps(), *(step.get_net(name) for name in step.Proto().network)]


# ---- text ------------------------------------------------------------------------------------------------------------


class Text:
    """Lines with indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._indent = 0

    @contextmanager
    def context(self, text: str | None) -> Iterator[None]:
        """Lines added in the block stand under ``with text:``; under None they stand where they are."""
        if text is None:
            yield
            return
        self.add(f"with {text}:")
        before = len(self.lines)
        self._indent += 4
        yield
        if len(self.lines) == before:
            self.add("pass")
        self._indent -= 4

    def add(self, text: str) -> None:
        """Add a line."""
        self.lines.append(" " * self._indent + text)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Printer(Visitor, Text):
    """Objects as lines. factor_prefixes: ``a/[x, y]`` for ``a/x, a/y``. c2_syntax: nets as calls of Caffe2's API."""

    visitors = []

    def __init__(self, factor_prefixes: bool = False, c2_syntax: bool = True) -> None:
        Text.__init__(self)
        self.factor_prefixes, self.c2_syntax = factor_prefixes, c2_syntax
        self.c2_net_name: str | None = None


def _sanitize_str(s: str | bytes) -> str:
    text = s.decode("ascii", "ignore") if isinstance(s, bytes) else str(s)
    rest = len(text) - LONGEST_TEXT
    return repr(text if rest <= 0 else f"{text[:LONGEST_TEXT]}...<+len={rest}>")


def _arg_val(arg: Message) -> str:
    """The value of an argument, or what is written for one without."""
    for field, value in arg.ListFields():
        if field.name == "s":
            return _sanitize_str(value)
        if field.name == "strings":
            return f"[{', '.join(map(_sanitize_str, value))}]"
        if field.name in ("f", "i"):
            return str(value)
        if field.name in ("floats", "ints"):
            return str(list(value))
        if field.name in ("t", "tensors", "qtensors"):
            return "'<tensors>'"
    return "[]"


def factor_prefix(vals: Sequence[Any], do_it: bool) -> str:
    """Values with commas between; with ``do_it`` what all begin with stands once in front of brackets."""
    texts = [repr([str(x) for x in v]) if isinstance(v, list) else str(v) for v in vals]
    prefix = _common_beginning(texts) if len(texts) > 1 and do_it else ""
    joined = ", ".join(text[len(prefix) :] for text in texts)
    return f"{prefix}[{joined}]" if prefix else joined


def _common_beginning(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), len(first))]


def call(op: str, inputs: Any = None, outputs: Any = None, factor_prefixes: bool = False) -> str:
    """``outputs = op(inputs)``; inputs that are pairs are keywords with their values as text."""
    values = [i for i in inputs or () if not isinstance(i, tuple)]
    keywords = [_keyword(*i) for i in inputs or () if isinstance(i, tuple)]
    text = f"{op}({', '.join(filter(None, [factor_prefix(values, factor_prefixes), *keywords]))})"
    return f"{factor_prefix(outputs, factor_prefixes)} = {text}" if outputs else text


def _keyword(name: str, value: Any) -> str:
    plain = name.isidentifier() and not keyword.iskeyword(name)
    return f"{name}={value}" if plain else f"**{{{name!r}: {value}}}"


def _variable(name: str) -> str:
    """A name as one of Python's."""
    word = re.sub(r"\W", "_", name)
    return word if word.isidentifier() and not keyword.iskeyword(word) else f"net_{word}"


def format_device_option(dev_opt: Message | None) -> str | None:
    """A ``DeviceOption`` as the call that makes it; None for the CPU."""
    if not dev_opt or not (dev_opt.device_type or dev_opt.device_id or dev_opt.node_name):
        return None
    node = f"'{dev_opt.node_name}'"
    return call("core.DeviceOption", [dev_opt.device_type, dev_opt.device_id, ("node_name", node)])


@Printer.register(caffe2_pb2.OperatorDef)
def print_op(text: Printer, op: Message) -> None:
    """A call; in the syntax of Caffe2 nets in arguments come before it."""
    net = text.c2_net_name
    arguments = []
    for arg in op.arg:
        if net and (arg.HasField("n") or arg.nets):
            names = [_nested(text, n) for n in ([arg.n] if arg.HasField("n") else arg.nets)]
            arguments.append((arg.name, f"{names[0]}.Proto()" if arg.HasField("n") else f"[{', '.join(names)}]"))
        else:
            arguments.append((arg.name, _arg_val(arg)))
    if op.engine:
        arguments.append(("engine", repr(op.engine)))
    if device := format_device_option(op.device_option):
        arguments.append(("device_option", device))
    if net:
        text.add(call(f"{net}.{op.type}", [list(op.input), list(op.output), *arguments]))
        return
    text.add(call(op.type, [*op.input, *arguments], op.output, text.factor_prefixes))
    for arg in op.arg:
        for inner in [arg.n] if arg.HasField("n") else arg.nets:
            with text.context(f"arg: {arg.name}"):
                text(inner)


def _nested(text: Printer, net: Message) -> str:
    outer = text.c2_net_name
    text(net)
    text.c2_net_name = outer
    return _variable(net.name)


@Printer.register(caffe2_pb2.NetDef)
def print_net_def(text: Printer, net_def: Message) -> None:
    """A heading, and the operators."""
    if text.c2_syntax:
        text.c2_net_name = _variable(net_def.name)
        text.add(call("core.Net", [f"'{net_def.name}'"], [text.c2_net_name]))
    else:
        text.add(f"# net: {net_def.name}")
    for op in net_def.op:
        text(op)
    text.c2_net_name = None


@Printer.register(Net)
def print_net(text: Printer, net: Net) -> None:
    """Its NetDef."""
    text(net.Proto())


def _get_step_context(step: ExecutionStep) -> tuple[str | None, bool]:
    """What stands over a step, and whether the steps in it have a heading each."""
    proto = step.Proto()
    several = len(step.Substeps()) > 1
    if proto.should_stop_blob:
        return call("loop"), False
    if proto.num_iter and proto.num_iter != 1:
        return call("loop", [proto.num_iter]), False
    if proto.num_concurrent_instances > 1:
        return call("parallel", [("num_instances", proto.num_concurrent_instances)]), several
    if proto.concurrent_substeps and several:
        return call("parallel"), True
    return (call("run_once"), False) if proto.report_net else (None, False)


@Printer.register(ExecutionStep)
def print_step(text: Printer, step: ExecutionStep) -> None:
    """Loops and parallel parts as ``with`` blocks around the nets."""
    proto = step.Proto()
    heading, each = _get_step_context(step)
    with text.context(heading):
        if proto.report_net:
            with text.context(call("report_net", [proto.report_interval])):
                text(step.get_net(proto.report_net))
        for part in _parts(step):
            with text.context(_part_heading(part, each)):
                text(part)
                if proto.should_stop_blob:
                    text.add(call("yield stop_if", [proto.should_stop_blob]))


def _part_heading(part: Any, each: bool) -> str | None:
    proto = part.Proto() if isinstance(part, ExecutionStep) else None
    if proto is not None and proto.run_every_ms:
        return call("reporter", [str(part), ("interval_ms", proto.run_every_ms)])
    title = "workspace" if proto is not None and proto.create_workspace else "step"
    return call(title, [str(part)]) if each else None


@Printer.register(Plan)
def print_plan(text: Printer, plan: Plan) -> None:
    """Its steps."""
    with text.context(call("Plan", [str(plan)])):
        for step in plan.Steps():
            text(step)


def _output(x: TaskOutput) -> str:
    return f"Output[{', '.join(map(str, x.names))}]"


@Printer.register(Task)
def print_task(text: Printer, task: Task) -> None:
    """Node, name and outputs, and its step."""
    outputs = ", ".join(map(_output, task.outputs()))
    with text.context(call("Task", [("node", task.node), ("name", task.name), ("outputs", outputs)])):
        text(task.get_step())


@Printer.register(TaskGroup)
def print_task_group(text: Printer, tg: TaskGroup, header: str | None = None) -> None:
    """The task of each node."""
    with text.context(header or call("TaskGroup")):
        for task in tg.tasks_by_node().tasks():
            text(task)


@Printer.register(Job)
def print_job(text: Printer, job: Job) -> None:
    """Its groups of tasks, and the outputs that end it."""
    text(job.init_group, "Job.current().init_group")
    text(job.epoch_group, "Job.current().epoch_group")
    with text.context("Job.current().stop_conditions"):
        for output in job.stop_conditions:
            text.add(_output(output))
    text(job.download_group, "Job.current().download_group")
    text(job.exit_group, "Job.current().exit_group")


def to_string(obj: Any, **kwargs: Any) -> str:
    """The text of a NetDef, Net, OperatorDef, ExecutionStep, Plan, Task, TaskGroup or Job.

    kwargs: ``factor_prefixes``, ``c2_syntax`` (see ``Printer``). Raises ``TypeError`` for another object.
    """
    printer = Printer(**kwargs)
    printer(obj)
    return str(printer)


def debug_net(net: Net) -> Net:
    """A net that logs each operator as text before it runs it."""
    if not isinstance(net, Net):
        raise AssertionError(f"a Net is wanted, not a {type(net).__name__}")
    logged = Net(str(net))
    for op in net.Proto().op:
        logged.LogInfo(to_string(op))
        logged.Proto().op.append(op)
    return logged
