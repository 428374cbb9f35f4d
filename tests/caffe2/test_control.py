"""Loops and branches made of steps, counted."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.caffe2 import control, core, workspace
from graphc.caffe2.net_builder import NetBuilder, ops

N = 4
LESS, NOT_LESS, TRUE, FALSE = "less", "not_less", "yes", "no"


@pytest.fixture
def nets() -> dict[str, core.Net]:
    """Nets: ``count`` counts up, ``twice`` by two; the others have conditions as outputs. ``init`` begins anew."""
    init, count, twice, idle = (core.Net(n) for n in ("init", "count", "twice", "idle"))
    init.CreateCounter([], "counter")
    for name, value in (("n", N), ("zero", 0), ("now", 0)):
        init.ConstantFill([], name, shape=[], value=value, dtype=core.DataType.INT64)
    for net, rounds in ((count, 1), (twice, 2)):
        for _ in range(rounds):
            net.CountUp("counter")
        net.RetrieveCount("counter", "now")
    idle.ConstantFill([], "idle", shape=[1])
    found = {"init": init, "count": count, "twice": twice, "idle": idle}
    for name, operator, a in (
        (LESS, "LT", "now"),
        (NOT_LESS, "GE", "now"),
        (TRUE, "LT", "zero"),
        (FALSE, "GT", "zero"),
    ):
        found[name] = core.Net(name)
        blob = getattr(found[name], operator)([a, "n"], f"is_{name}")
        found[name].AddExternalOutput(blob)
    return found


def counted(nets: dict[str, core.Net], step: core.ExecutionStep) -> int:
    plan = core.Plan("plan")
    plan.AddStep(control.Do("init", nets["init"]))
    plan.AddStep(step)
    workspace.RunPlan(plan)
    return int(workspace.FetchBlob("now"))


@pytest.mark.parametrize("as_step", [False, True])
@pytest.mark.parametrize(
    ("loop", "condition"), [("While", LESS), ("Until", NOT_LESS), ("DoWhile", LESS), ("DoUntil", NOT_LESS)]
)
def test_loops(nets: dict[str, core.Net], loop: str, condition: str, as_step: bool) -> None:
    body = [control.Do("body", nets["count"]), nets["idle"]] if as_step else [nets["count"], nets["idle"]]
    assert counted(nets, getattr(control, loop)("loop", nets[condition], body)) == N


def test_for(nets: dict[str, core.Net]) -> None:
    assert counted(nets, control.For("for", nets["count"], 6)) == 6


@pytest.mark.parametrize("on_blob", [False, True])
@pytest.mark.parametrize(
    ("branch", "condition", "wants"),
    [("If", TRUE, (1, 1)), ("If", FALSE, (0, 2)), ("IfNot", TRUE, (0, 2)), ("IfNot", FALSE, (1, 1))],
)
def test_branches(nets: dict[str, core.Net], branch: str, condition: str, wants: tuple, on_blob: bool) -> None:
    given = core.BlobReference(f"is_{condition}") if on_blob else nets[condition]
    for others, want in zip(([], [nets["twice"]]), wants):
        step = getattr(control, branch)("branch", given, nets["count"], *others)
        assert counted(nets, control.Do("all", control.Do("before", nets[condition]), step)) == want


def test_switches(nets: dict[str, core.Net]) -> None:
    pairs = [(nets[FALSE], nets["count"]), (nets[TRUE], nets["twice"])]
    assert counted(nets, control.Switch("switch", *pairs)) == 2
    assert counted(nets, control.SwitchNot("switch", pairs)) == 1


def test_conditions(nets: dict[str, core.Net]) -> None:
    both = [nets[TRUE], nets[FALSE]]
    for relation, want in (("Or", True), ("And", False)):
        merged = control.MergeConditionNets("merged", both, relation)
        counted(nets, control.Do("merged", merged))
        assert bool(workspace.FetchBlob(control.GetConditionBlobFromNet(merged))) is want
        combined = control.CombineConditions("combined", both, relation)
        counted(nets, control.Do("combined", *both, combined))
        assert bool(workspace.FetchBlob(control.GetConditionBlobFromNet(combined))) is want
    workspace.RunNetOnce(control.BoolNet(("a", True), ("b", False)))
    assert [bool(v) for v in workspace.FetchBlobs(["a", "b"])] == [True, False]
    with pytest.raises(ValueError, match="cannot be empty"):
        control.Do("nothing")


def test_what_a_branch_leaves_alone_keeps_its_value() -> None:
    then = core.Net("then")
    then.ConstantFill([], "y", shape=[1], value=1.0)
    net = core.Net("branches")
    net.If(["condition"], ["y"], then_net=then.Proto())
    for condition, want in ((False, 5.0), (True, 1.0)):
        workspace.FeedBlob("condition", np.array(condition))
        workspace.FeedBlob("y", np.array([5.0], np.float32))
        workspace.RunNetOnce(net)
        assert workspace.FetchBlob("y") == [want]
    workspace.CreateNet(net, overwrite=True)
    for condition, given, want in ((False, 5.0, 5.0), (True, 5.0, 1.0), (False, 6.0, 6.0)):
        workspace.FeedBlob("condition", np.array(condition))
        workspace.FeedBlob("y", np.array([given], np.float32))
        workspace.RunNet(net)
        assert workspace.FetchBlob("y") == [want]


def test_branches_inside_a_branch() -> None:
    with NetBuilder(_use_control_ops=True) as builder:
        yes, no = ops.Const(True, blob_out="yes"), ops.Const(False, blob_out="no")
        y, z = ops.Const(1.0, blob_out="y"), ops.Const(2.0, blob_out="z")
        with ops.IfNet(yes):
            with ops.IfNet(no):
                pass
            with ops.Else():
                ops.Copy(z, y)
            with ops.IfNet(yes):
                ops.Const(7.0, blob_out=z)
    (net,) = builder.get()
    workspace.RunNetOnce(net)
    assert (workspace.FetchBlob("y"), workspace.FetchBlob("z")) == (2.0, 7.0)


def test_what_only_one_branch_makes() -> None:
    """A blob of the branch that ran is there afterwards; one of the other branch is not, or is as it was."""
    then, other = core.Net("then"), core.Net("other")
    then.Mul(["x", "x"], "square")
    then.Copy("square", "y")
    other.Copy("x", "y")
    net = core.Net("one_branch")
    net.If(["condition", "x"], ["y"], then_net=then.Proto(), else_net=other.Proto())
    workspace.FeedBlob("x", np.array([3.0], np.float32))
    workspace.FeedBlob("condition", np.array(False))
    workspace.RunNetOnce(net)
    assert workspace.FetchBlob("y") == [3.0]
    with pytest.raises(RuntimeError):
        workspace.FetchBlob("square")
    workspace.CreateNet(net)
    for condition, fed, want in ((True, None, [9.0]), (False, None, [9.0]), (False, [7.0, 8.0], [7.0, 8.0])):
        workspace.FeedBlob("condition", np.array(condition))
        if fed is not None:
            workspace.FeedBlob("square", np.array(fed, np.float32))
        workspace.RunNet(net)
        assert workspace.FetchBlob("square").tolist() == want


def test_branches_draw_other_numbers_in_every_run() -> None:
    then = core.Net("drawing")
    then.UniformFill([], "drawn", shape=[4], min=0.0, max=1.0)
    net = core.Net("draws")
    net.If(["condition"], ["drawn"], then_net=then.Proto())
    workspace.FeedBlob("condition", np.array(True))
    workspace.CreateNet(net)
    found = set()
    for _ in range(3):
        workspace.RunNet(net)
        found.add(workspace.FetchBlob("drawn").tobytes())
    assert len(found) == 3
