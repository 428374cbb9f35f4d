"""Nets, loops and branches as blocks, against the same loops in Python."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.net_builder import NetBuilder, ops
from graphc.caffe2.session import LocalSession
from graphc.caffe2.task import Cluster, Node, SetupNets, Task, TaskGroup, TaskOutput, WorkspaceType, final_output


def run(builder: NetBuilder) -> None:
    plan = core.Plan("plan")
    plan.AddStep(core.to_execution_step(builder))
    workspace.C.Workspace.current.run(plan)


def value(blob: core.BlobReference) -> object:
    return workspace.FetchBlob(blob).tolist()


def test_a_loop_until_something_is_true() -> None:
    with NetBuilder(name="countdown") as builder:
        x, y, one = ops.Const(-5), ops.Const(0), ops.Const(1)
        with ops.loop():
            ops.stop_if(ops.GE([x, ops.Const(0)]))
            ops.Add([x, one], [x])
            ops.Add([y, x], [y])
    run(builder)
    assert (value(x), value(y)) == (0, -10)
    assert str(y).startswith("countdown/")


def test_guards_and_branches() -> None:
    with NetBuilder() as builder:
        x = ops.Const(10)
        guards = []
        for limit in (5, 20):
            with ops.stop_guard() as guard:
                ops.stop_if(ops.GE([ops.Const(limit), x]))
            guards.append(guard.has_stopped())
        y = ops.Const(1)
        with ops.If(ops.GE([x, ops.Const(5)])) as branch:
            ops.Const(2, blob_out=y)
            ops.stop()
            ops.Const(3, blob_out=y)
        with branch.Elif(ops.GE([x, ops.Const(1)])):
            ops.Const(4, blob_out=y)
        with branch.Else():
            ops.Const(5, blob_out=y)
    run(builder)
    assert [value(g) for g in guards] == [False, True]
    assert value(y) == 2
    with pytest.raises(AssertionError, match="built already"):
        builder.current_net()


def test_loops_in_loops() -> None:
    with Task() as task:
        total, large, small = ops.Const(0), ops.Const(0), ops.Const(0)
        with ops.loop(4) as outer, ops.loop(outer.iter()) as inner:
            number = ops.Add([outer.iter(), inner.iter()])
            with ops.If(ops.GE([number, ops.Const(4)])) as branch:
                ops.Add([large, number], [large])
            with branch.Else():
                ops.Add([small, number], [small])
            ops.Add([total, number], [total])
        outputs = [final_output(blob) for blob in (total, large, small)]
    with LocalSession() as session:
        session.run(task)
    numbers = [i + j for i in range(4) for j in range(i)]
    want = [sum(numbers), sum(n for n in numbers if n >= 4), sum(n for n in numbers if n < 4)]
    assert [int(o.fetch()) for o in outputs] == want
    assert not session.is_open()
    with pytest.raises(AssertionError, match="Session is closed"):
        session.run(task)


def test_setup_and_reports() -> None:
    with Task() as task:
        with ops.task_init():
            one = ops.Const(1)
        two = ops.Add([one, one])
        with ops.task_exit():
            after = ops.Add([two, one])
        with ops.task_reporter(interval_ms=60_000):
            reported = ops.Add([two, two])
        ops.Add([two, one], [two])
        outputs = [final_output(blob) for blob in (after, reported)]
    LocalSession().run(task)
    assert [int(o.fetch()) for o in outputs] == [4, 6]  # both see what the task left


def test_instances_share_what_comes_before() -> None:
    with Task(num_instances=3) as task:
        with ops.task_init():
            total = ops.Const(0)
            counter = ops.CreateCounter([])
        with ops.task_instance_init():
            own = ops.Const(2)
        with ops.loop(5):
            ops.CountUp(counter)
        with ops.task_exit():
            ops.RetrieveCount(counter, total)
        output = final_output(total)
    LocalSession().run(task)
    assert int(output.fetch()) == 15
    assert not workspace.HasBlob(own)


def test_groups_and_nodes() -> None:
    with Cluster() as cluster, TaskGroup(WorkspaceType.GLOBAL) as group:
        for name in ("one", "two"):
            net = core.Net(name)
            net.ConstantFill([], name, shape=[2], value=1.0)
            with Node(name, kind="small"):
                Task(step=net, outputs=[core.BlobReference(name)])
    assert cluster.nodes() == ["one", "two"]
    assert cluster.node_kwargs()["one"] == {"kind": "small"}
    assert group.used_nodes() == ["one", "two"]
    LocalSession().run(group)
    assert {"one", "two"} <= set(workspace.Blobs())
    with pytest.raises(AssertionError, match="already used TaskGroup"):
        group.add(Task())


def test_nets_around_a_group() -> None:
    before, net = core.Net("before"), core.Net("during")
    before.ConstantFill([], "start", shape=[1], value=3.0)
    workspace.CreateBlob("sum")
    net.Add(["start", "start"], "sum")
    net.add_attribute(TaskGroup.LOCAL_SETUP, SetupNets([before]))
    workspace.CreateBlob("start")
    with TaskGroup() as group:
        Task(step=net)
    LocalSession().run(group)
    assert workspace.FetchBlob("sum").tolist() == [6]


def test_outputs_have_to_be_set() -> None:
    output = TaskOutput([core.BlobReference("a"), core.BlobReference("b")])
    with pytest.raises(AssertionError, match="not set"):
        output.get()
    with pytest.raises(AssertionError, match="Cannot fetch"):
        output.fetch()
    with pytest.raises(AssertionError, match="1 values for 2"):
        output.set([1])


@pytest.mark.parametrize("x", [3.0, 7.0])
def test_branches_as_operators(x: float) -> None:
    with NetBuilder(_use_control_ops=True, initial_scope=["x"]) as builder:
        y = ops.ConstantFill([], "y", shape=[1], value=0.0)
        with ops.IfNet(ops.GT(["x", ops.ConstantFill([], "five", shape=[1], value=5.0)], "large")):
            twice = ops.Add(["x", "x"], "twice")
            ops.Copy(twice, y)
        with ops.Else():
            ops.Negative("x", y)
    (net,) = builder.get()
    assert [op.type for op in net.Proto().op][-3:] == ["CreateScope", "CreateScope", "If"]
    workspace.FeedBlob("x", np.array([x], np.float32))
    workspace.RunNetOnce(net)
    assert workspace.FetchBlob("y").tolist() == [2 * x if x > 5 else -x]
    assert not workspace.HasBlob("twice")


def test_loops_as_operators() -> None:
    with NetBuilder(_use_control_ops=True, initial_scope=["n"]) as builder:
        total = ops.ConstantFill([], "total", shape=[1], value=0.0)
        one = ops.ConstantFill([], "one", shape=[1], value=1.0)
        with ops.WhileNet():
            with ops.Condition():
                ops.GT(["n", total], "more")
            ops.Add([total, one], [total])
    workspace.FeedBlob("n", np.array([4], np.float32))
    workspace.RunNetOnce(builder.get()[0])
    assert workspace.FetchBlob("total").tolist() == [4]


def test_a_branch_that_nothing_but_itself_knows() -> None:
    """The If runs by itself, because only one way through it writes y; the workspaces of its branches are not kept."""
    with NetBuilder(_use_control_ops=True) as builder:
        flag = ops.Const(True, blob_out="flag")
        x = ops.Const(2.0, blob_out="x")
        ops.Const(1.0, blob_out="y")
    with (
        NetBuilder(_use_control_ops=True, initial_scope=["flag", "x", "y"]) as second,
        ops.IfNet(flag),
        ops.IfNet(flag),
    ):
        ops.Copy(ops.Mul([x, x]), "y")
    for (net,) in (builder.get(), second.get()):
        workspace.RunNetOnce(net)
    assert workspace.FetchBlob("y") == 4
