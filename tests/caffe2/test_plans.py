"""Steps and plans, counted."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.workspace.current import current
from graphc.caffe2.workspace.stages import Kind, split_stages
from graphc.frontends.netdef import read_net


def counting(name: str) -> tuple[core.Net, str]:
    """A net that counts up, and the counter, which is 0."""
    init, net = core.Net(f"{name}_init"), core.Net(name)
    counter = init.CreateCounter([], f"{name}_counter")
    workspace.RunNetOnce(init)
    net.CountUp(counter, f"{name}_before")
    return net, str(counter)


def count(counter: str) -> int:
    workspace.RunOperatorOnce(core.CreateOperator("RetrieveCount", counter, "count"))
    return int(workspace.FetchBlob("count"))


def test_steps_in_steps() -> None:
    inner, outer = counting("inner"), counting("outer")
    once = counting("once")
    step = core.execution_step(
        "all",
        [
            core.execution_step("in", inner[0], num_iter=3),
            core.execution_step("out", outer[0]),
            core.execution_step("only", once[0], should_stop_blob=core.BlobReference("never"), only_once=True),
        ],
        num_iter=4,
    )
    workspace.FeedBlob("never", np.array(False))
    assert workspace.RunPlan(step) is True
    assert [count(c) for _, c in (inner, outer, once)] == [12, 4, 4]
    assert len(workspace.Nets()) == 3


def test_a_blob_ends_a_step() -> None:
    init, net = core.Net("stop_init"), core.Net("stop")
    counter = init.CreateCounter([], "down", init_count=3)
    workspace.RunNetOnce(init)
    done = net.CountDown(counter, "done")
    late, late_counter = counting("late")
    step = core.execution_step("until", [net, late], should_stop_blob=done)
    plan = core.Plan("plan")
    plan.AddStep(step)
    assert workspace.RunPlan(plan.Proto().SerializeToString()) is True
    assert bool(workspace.FetchBlob("done")) is True
    assert count(late_counter) == 3  # the step ends before the second net of its fourth round
    with pytest.raises(AssertionError, match="Cannot set both"):
        core.execution_step("both", net, num_iter=2, should_stop_blob=done)


def test_steps_at_once() -> None:
    first, second = counting("first"), counting("second")
    steps = [core.execution_step(None, net, num_iter=50) for net, _ in (first, second)]
    shared = core.execution_step("shared", first[0], num_iter=10, num_concurrent_instances=3)
    workspace.RunPlan(core.execution_step("both", [*steps, shared], concurrent_substeps=True))
    assert (count(first[1]), count(second[1])) == (80, 50)


def test_a_failure_ends_steps_at_once() -> None:
    good, _ = counting("good")
    bad = core.Net("bad")
    bad.CountUp("nothing", "n")
    workspace.CreateBlob("nothing")
    forever = core.execution_step("forever", good, should_stop_blob=core.BlobReference("never"))
    workspace.FeedBlob("never", np.array(False))
    step = core.execution_step("fails", [forever, core.execution_step(None, bad)], concurrent_substeps=True)
    with pytest.raises(RuntimeError, match="input 'nothing' is empty"):
        workspace.RunPlan(step)


def test_reports_and_background() -> None:
    net, counter = counting("work")
    report, reported = counting("report")
    step = core.execution_step("reported", net, num_iter=3, report_net=report, report_interval=1000)
    plan = workspace.RunPlanInBackground(step)
    deadline = time.monotonic() + 20
    while not plan.is_done() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert plan.is_succeeded()
    assert (count(counter), count(reported)) == (3, 1)  # reports come after the interval, and once at the end


def test_a_step_with_a_workspace_of_its_own() -> None:
    workspace.FeedBlob("outer", np.zeros(1, np.float32))
    net = core.Net("own")
    net.ConstantFill([], "outer", shape=[2], value=1.0)
    net.ConstantFill([], "inner", shape=[2], value=1.0)
    workspace.RunPlan(core.execution_step("own", net, create_workspace=True))
    assert workspace.FetchBlob("outer").tolist() == [1, 1]
    assert not workspace.HasBlob("inner")


def test_protos_of_plans() -> None:
    a, b = core.Net("first_of_plan"), core.Net("second_of_plan")
    a.ConstantFill([], "x", shape=[1])
    b.ConstantFill([], "y", shape=[1])
    inner = core.ExecutionStep("inner", [a, b], num_iter=2)
    plan = core.Plan(core.execution_step("outer", [inner]))
    assert [net.name for net in plan.Proto().network] == ["first_of_plan", "second_of_plan"]
    assert list(plan.Proto().execution_step[0].substep[0].network) == ["first_of_plan", "second_of_plan"]
    with pytest.raises(AssertionError, match="Cannot mutate"):
        inner.SetIter(3)
    copy = core.Plan.create_from_proto(plan.Proto())
    assert workspace.RunPlan(copy) is True
    assert workspace.Blobs() == ["x", "y"]


def test_a_plan_takes_the_place_of_a_net() -> None:
    """A net of the same name and other content is overwritten, once a plan; an equal one keeps what it compiled."""
    for value in (1.0, 2.0):
        net = core.Net(None)
        net.Proto().name = "renewed"
        net.ConstantFill([], "x", shape=[1], value=value)
        workspace.RunPlan(core.execution_step("fill", net, num_iter=2))
        assert workspace.FetchBlob("x") == [value]
    created = current().created["renewed"]
    workspace.RunPlan(core.execution_step("fill", net))
    assert current().created["renewed"] is created


def test_a_plan_draws_the_numbers_of_a_seed_again() -> None:
    net = core.Net("seeded")
    net.UniformFill([], "drawn", shape=[4], device_option=core.DeviceOption(0, random_seed=7))
    found = []
    for rounds in (1, 2, 1):
        workspace.RunPlan(core.execution_step("draw", net, num_iter=rounds))
        found.append(workspace.FetchBlob("drawn").tolist())
    assert found[0] == found[2] != found[1]


def test_iterations_that_threads_count_together() -> None:
    mutex = core.CreateOperator("CreateMutex", [], ["mutex"])
    workspace.RunOperatorOnce(mutex)
    workspace.RunOperatorOnce(core.CreateOperator("StatRegistryExport", [], ["names", "sums", "times"]))
    workspace.FeedBlob("iter", np.array([5], np.int64))
    nets = [core.Net(f"count_{i}") for i in range(4)]
    for net in nets:
        net.AtomicIter(["mutex", "iter"], ["iter"])
    together = core.execution_step("together", [core.execution_step(n.Name(), n, num_iter=100) for n in nets])
    together.SetConcurrentSubsteps(True)
    workspace.RunPlan(together)
    assert workspace.FetchBlob("iter").tolist() == [405]
    workspace.RunOperatorOnce(core.CreateOperator("StatRegistryExport", [], ["names", "sums", "times"]))
    sums = dict(zip(workspace.FetchBlob("names").tolist(), workspace.FetchBlob("sums").tolist()))
    assert sums[b"atomic_iter/stats/iter/num_iter"] == 400
    workspace.FeedBlob("iter", np.array(7, np.int64))
    workspace.RunNetOnce(nets[0])
    assert workspace.FetchBlob("iter") == 8
    workspace.FeedBlob("iter", np.zeros(2, np.int64))
    with pytest.raises(RuntimeError, match="one int64"):
        workspace.RunNetOnce(nets[0])


def test_a_counter_does_not_part_what_is_compiled_around_it() -> None:
    net = core.Net("train")
    net.Relu("x", "y")
    net.AtomicIter(["mutex", "iter"], ["iter"])
    net.LearningRate("iter", "rate", base_lr=1.0, policy="fixed")
    stages = split_stages(read_net(net.Proto().SerializeToString()))
    assert [(s.kind, s.positions) for s in stages] == [(Kind.HOST, [1]), (Kind.COMPILED, [0, 2])]
