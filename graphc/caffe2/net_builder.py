"""``caffe2.python.net_builder``: nets, loops and branches written as ``with`` blocks of ``ops``."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.building import NetBuilder as NetBuilder
from graphc.caffe2.control_ops_util import add_if_op, add_while_op
from graphc.caffe2.task import Cluster, Node, Task, TaskGroup


class Operations:
    """Operators and control flow of the current ``NetBuilder``: ``ops.Add([a, b])`` adds to its last net."""

    def net(self, net: Any = None, name: str | None = None) -> Any:
        """The last net; with a net given that is appended, with a name a new one is. Raises ``AssertionError``."""
        if name is not None and net is not None:
            raise AssertionError("Cannot provide both `net` and `name`.")
        if net is not None:
            return NetBuilder.current().add(net)
        return NetBuilder.current().current_net(name=name)

    def __getattr__(self, op_type: str) -> Any:
        if op_type.startswith("__"):
            raise AttributeError(op_type)
        if NetBuilder.current(required=False) is None:
            raise AttributeError(f"No active NetBuilder: {op_type} needs `with NetBuilder():` or `with Task():`")
        return getattr(self.net(), op_type)

    def task_group(self) -> TaskGroup:
        """A group of tasks that runs as the next step."""
        with Cluster(), Node("local"):
            group = TaskGroup()
            NetBuilder.current().add(group)
            return group

    def stop(self) -> None:
        """End the current step here."""
        self.stop_if(self.Const(True))

    def stop_if(self, blob: Any) -> None:
        """End the current step here if a blob is true."""
        NetBuilder.current().stop_if(blob)

    def loop(self, iters: Any = None, name: str | None = None) -> Any:
        """A block that runs ``iters`` times, a number or a blob, or until ``stop`` or ``stop_if`` ends it."""
        return NetBuilder.current().add(_Loop(iters, name=name))

    def stop_guard(self, has_stopped_blob: Any = None, name: str | None = None) -> Any:
        """A block whose ``has_stopped()`` is a blob that says whether ``stop`` or ``stop_if`` ended it."""
        return NetBuilder.current().add(_StopGuard(has_stopped_blob=has_stopped_blob, name=name))

    def If(self, cond: Any, name: str | None = None) -> Any:
        """A block that runs if a blob is true; the object has ``Elif(cond)`` and ``Else()``."""
        return NetBuilder.current().add(_RunIf(cond, name=name))

    def IfNet(self, cond: Any, name: str | None = None) -> Any:
        """``If`` as one operator of a net; ``Else`` may follow."""
        return NetBuilder.current().add(_RunIfNet(cond, name=name))

    def Else(self, name: str | None = None) -> Any:
        """The other branch of the ``IfNet`` before."""
        return _RunElseNet(name=name)

    def WhileNet(self, name: str | None = None) -> Any:
        """A loop as one operator of a net; its block begins with ``Condition``."""
        return NetBuilder.current().add(_RunWhileNet(name=name))

    def Condition(self, name: str | None = None) -> Any:
        """The block that computes the condition of a ``WhileNet``: the output of its last operator."""
        if not isinstance(NetBuilder.current(), _RunWhileNet):
            raise AssertionError("Use of Condition outside of WhileNet")
        return _RunWhileCondition(name=name)

    def _setup(self, key: str, kind: str, name: str | None = None) -> Any:
        setup = _SetupBuilder(kind, name)
        self.net().add_attribute(key, setup)
        return setup

    def task_init(self) -> Any:
        """A block that runs once before the task."""
        return self._setup(Task.TASK_SETUP, _SetupBuilder.INIT)

    def task_exit(self) -> Any:
        """A block that runs once after the task."""
        return self._setup(Task.TASK_SETUP, _SetupBuilder.EXIT)

    def task_instance_init(self) -> Any:
        """A block that runs before each copy of the task."""
        return self._setup(Task.TASK_INSTANCE_SETUP, _SetupBuilder.INIT)

    def task_instance_exit(self) -> Any:
        """A block that runs after each copy of the task."""
        return self._setup(Task.TASK_INSTANCE_SETUP, _SetupBuilder.EXIT)

    def local_init(self) -> Any:
        """A block that runs before the group of tasks."""
        return self._setup(TaskGroup.LOCAL_SETUP, _SetupBuilder.INIT)

    def local_exit(self, name: str | None = None) -> Any:
        """A block that runs after the group of tasks."""
        return self._setup(TaskGroup.LOCAL_SETUP, _SetupBuilder.EXIT, name)

    def task_reporter(self, interval_ms: int = 1000, name: str | None = None) -> Any:
        """A block that runs every so many milliseconds while the task runs, and once after it."""
        return _ReporterBuilder(interval_ms, net=self.net(), name=name)

    def local_reporter(self, interval_ms: int = 1000, name: str | None = None) -> Any:
        """A block that runs every so many milliseconds while the group runs, and once after it."""
        return _ReporterBuilder(interval_ms, name=name)


ops = Operations()


class _ReporterBuilder(NetBuilder):
    def __init__(self, interval_ms: int, net: Any = None, name: str | None = None) -> None:
        super().__init__(name)
        self._net, self.interval_ms = net, interval_ms

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        super().__exit__(etype, *args)
        if etype is not None:
            return
        step = core.to_execution_step(self)
        step.RunEveryMillis(self.interval_ms)
        if self._net is not None:
            self._net.add_attribute(Task.REPORT_STEP, step)
        else:
            TaskGroup.current().report_step(step, interval_ms=self.interval_ms)


class _SetupBuilder(NetBuilder):
    INIT, EXIT = "init", "exit"

    def __init__(self, type: str, name: str | None = None) -> None:
        super().__init__(name)
        self.type = type

    def setup(self, net: Any) -> Any:
        return core.to_execution_step(self) if self.type == _SetupBuilder.INIT else None

    def exit(self, net: Any) -> Any:
        return core.to_execution_step(self) if self.type == _SetupBuilder.EXIT else None


class _RunOnce(NetBuilder):
    """A block whose step ends after one round, though it may have a blob that ends it before."""

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None and self._stop_blob is not None:
            ops.stop()
        super().__exit__(etype, *args)


class _StopGuard(_RunOnce):
    def __init__(self, has_stopped_blob: Any = None, name: str | None = None) -> None:
        super().__init__(name)
        self._stopped, self._ran = has_stopped_blob, False

    def __enter__(self) -> Any:
        super().__enter__()
        self._stopped = ops.Const(True, blob_out=self._stopped)
        return self

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None:
            self._ran = True
            ops.Const(False, blob_out=self._stopped)
        super().__exit__(etype, *args)

    def has_stopped(self) -> Any:
        """The blob that says whether the block was ended early."""
        if not self._ran:
            raise AssertionError("Context not used yet.")
        return self._stopped


class _Loop(NetBuilder):
    def __init__(self, iters: Any = None, name: str | None = None) -> None:
        super().__init__(name, _stop_blob_required=True)
        self._num_iters: Any = None
        self._iter: Any = None
        if iters is not None:
            self._inc, self._iter = ops.Const(1), ops.Const(0)
            self._num_iters = iters if isinstance(iters, core.BlobReference) else ops.Const(iters)

    def iter(self) -> Any:
        """The blob that holds the number of the round, from 0 on."""
        if self._num_iters is None:
            raise AssertionError("This loop does not have a number of iterations.")
        return self._iter

    def __enter__(self) -> Any:
        super().__enter__()
        if self._num_iters is not None:
            ops.stop_if(ops.GE([self._iter, self._num_iters]))
        return self

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None and self._num_iters is not None:
            self.current_net().Add([self._iter, self._inc], [self._iter])
        super().__exit__(etype, *args)


class _RunIf(_RunOnce):
    """A branch. already_ran: the blob that says whether a branch before it ran."""

    def __init__(self, cond_blob: Any = None, name: str | None = None, _already_ran: Any = None) -> None:
        super().__init__(name)
        if cond_blob is None and _already_ran is None:
            raise AssertionError("a condition is needed")
        self._is_else = cond_blob is None
        if _already_ran is None:
            self._else_blob, self._already_ran = ops.Not(cond_blob), ops.Const(False)
        else:
            self._already_ran = _already_ran
            self._else_blob = _already_ran if self._is_else else ops.Or([_already_ran, ops.Not(cond_blob)])

    def __enter__(self) -> Any:
        super().__enter__()
        ops.stop_if(self._else_blob)
        ops.Const(True, blob_out=self._already_ran)
        return self

    def _another(self, cond: Any, name: str | None) -> Any:
        if self._is_else:
            raise AssertionError("nothing may follow an Else")
        branch = _RunIf(cond, name=name or self.name, _already_ran=self._already_ran)
        return NetBuilder.current().add(branch)

    def Elif(self, cond: Any, name: str | None = None) -> Any:
        """A block that runs if no branch before it did and a blob is true."""
        return self._another(cond, name)

    def Else(self, name: str | None = None) -> Any:
        """A block that runs if no branch before it did."""
        return self._another(None, name)


class _ControlBuilder(NetBuilder):
    """A block that becomes an argument of an operator."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name, _use_control_ops=True)

    def _body(self, empty: str | None = None) -> tuple[Any, set[str]]:
        """What the block holds as one net, and the blobs around that it may use; the block is empty from then on."""
        children = self._reset_children()
        body = NetBuilder.merge_nets(children, self.lexical_scope())
        return (core.Net(empty) if body is None and empty is not None else body), self.lexical_scope()


class _RunIfNet(_ControlBuilder):
    def __init__(self, cond_blob: Any, name: str | None = None) -> None:
        super().__init__(name)
        if not cond_blob:
            raise AssertionError("Conditional blob is not specified for an If net")
        self._cond_blob = cond_blob
        self._then_net: Any = None

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None:
            self._then_net, known = self._body("empty_then_net")
            self._children = [_if_net(f"{self.name}/if_net", self._cond_blob, known, self._then_net)]
        super().__exit__(etype, *args)


def _if_net(name: str, condition: Any, known: set[str], then_net: Any, else_net: Any = None) -> Any:
    net = core.Net(name)
    add_if_op(net, condition, known, then_net, else_net)
    return net


class _RunElseNet(_ControlBuilder):
    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        parent = NetBuilder.current(required=False)
        if parent is None or not parent._children or not isinstance(parent._children[-1], _RunIfNet):
            raise AssertionError("Invalid use of Else builder")
        self._if_builder = parent._children[-1]

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None:
            body, known = self._body()
            before = self._if_builder
            if body is not None:
                name = f"{self.name}/if_else_net"
                before._children = [_if_net(name, before._cond_blob, known, before._then_net, body)]
        super().__exit__(etype, *args)


class _RunWhileNet(_ControlBuilder):
    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._condition: _RunWhileCondition | None = None

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None:
            if self._condition is None:
                raise AssertionError("Condition builder must be specified in While op")
            body, known = self._body("empty_loop_body_net")
            net = core.Net(f"{self.name}/while_net")
            add_while_op(net, self._condition._cond_blob, known, body, self._condition._cond_net)
            self._children = [net]
        super().__exit__(etype, *args)


class _RunWhileCondition(_ControlBuilder):
    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        parent = NetBuilder.current(required=False)
        if not isinstance(parent, _RunWhileNet):
            raise AssertionError("Invalid use of loop condition builder")
        if parent._condition is not None:
            raise AssertionError("Multiple loop condition builders specified")
        if parent._children:
            raise AssertionError("Condition definition must be specified before the loop's body")
        parent._condition = self
        self._cond_blob: Any = None
        self._cond_net: Any = None

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        if etype is None:
            self._cond_net, _ = self._body()
            last = list(self._cond_net.Proto().op)[-1:] if self._cond_net is not None else []
            if not last or len(last[0].output) != 1:
                raise AssertionError("a condition's last operator has to have one output")
            self._cond_blob = core.BlobReference(last[0].output[0])
            self._children = [self._cond_net]
        super().__exit__(etype, *args)
