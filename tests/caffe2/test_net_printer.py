"""Nets as text that Python makes nets of again; plans, jobs, and blobs that nothing makes."""

from __future__ import annotations

import pytest

from graphc.caffe2 import core, net_printer, workspace
from graphc.caffe2.checkpoint import Job
from graphc.caffe2.net_builder import ops
from graphc.caffe2.task import Task, WorkspaceType, final_output


def example() -> core.Net:
    net = core.Net("print/example")
    net.Conv(["a/x", "a/w"], "a/y", kernel=3, order="NCHW", pads=[1, 1, 1, 1], engine="CUDNN")
    net.GivenTensorFill([], "w", shape=[2], values=[0.5, 1.0])
    gpu = core.DeviceOption(1, 2, node_name="n")
    net.Relu(["a/y"], ["a/y"], device_option=gpu)
    net.Print("a/y", [], message='it\'s "here"')
    return net


def test_the_text_makes_the_net_again() -> None:
    net = example()
    text = net_printer.to_string(net)
    assert text.splitlines()[:3] == [
        "print_example = core.Net('print/example')",
        "print_example.Conv(['a/x', 'a/w'], ['a/y'], kernel=3, order='NCHW', pads=[1, 1, 1, 1], engine='CUDNN')",
        "print_example.GivenTensorFill([], ['w'], shape=[2], values=[0.5, 1.0])",
    ]
    names = {"core": core}
    exec(text, names)
    assert list(names["print_example"].Proto().op) == list(net.Proto().op)
    assert net_printer.to_string(net.Proto()) == text


def test_plain_syntax_and_prefixes() -> None:
    lines = net_printer.to_string(example(), c2_syntax=False, factor_prefixes=True).splitlines()
    assert lines[0].startswith("# net: print/example")
    assert lines[1] == "a/y = Conv(a/[x, w], kernel=3, order='NCHW', pads=[1, 1, 1, 1], engine='CUDNN')"
    op = core.CreateOperator("Print", ["x"], [], message="m" * 70)
    assert net_printer.to_string(op) == f"Print(x, message='{'m' * 64}...<+len=6>')"
    outer, inner = core.Net("outer_if"), core.Net("inner_if")
    inner.Relu("x", "y")
    outer.If("c", "y", then_net=inner.Proto())
    assert net_printer.to_string(outer).splitlines()[1:] == [
        "inner_if = core.Net('inner_if')",
        "inner_if.Relu(['x'], ['y'])",
        "outer_if.If(['c'], ['y'], then_net=inner_if.Proto())",
    ]
    assert net_printer.to_string(outer, c2_syntax=False).splitlines()[2:] == [
        "with arg: then_net:",
        "    # net: inner_if",
        "    y = Relu(x)",
    ]


def test_steps_and_plans() -> None:
    net, report = core.Net("printed_step"), core.Net("printed_report")
    stop = net.ConstantFill([], "stop", dtype=core.DataType.BOOL, value=True)
    step = core.execution_step("loop", net, should_stop_blob=stop, report_net=report, report_interval=5)
    both = core.execution_step("both", [step, core.execution_step("two", report, num_iter=2)], concurrent_substeps=True)
    plan = core.Plan("printed_plan")
    plan.AddStep(both)
    assert net_printer.to_string(plan).splitlines() == [
        "with Plan(printed_plan):",
        "    with parallel():",
        "        with step(loop):",
        "            with loop():",
        "                with report_net(5):",
        "                    printed_report = core.Net('printed_report')",
        "                printed_step = core.Net('printed_step')",
        "                printed_step.ConstantFill([], ['stop'], dtype=5, value=1)",
        "                yield stop_if(stop)",
        "        with step(two):",
        "            with loop(2):",
        "                printed_report = core.Net('printed_report')",
    ]
    net_printer.analyze(plan)


def job() -> Job:
    with Job() as made:
        with made.init_group, Task(), ops.loop(10) as loop, ops.If(ops.GE([loop.iter(), ops.Const(5)])):
            ops.Add([loop.iter(), ops.Const(1)])
        with Task():
            with ops.task_init():
                one = ops.Const(1)
            final_output(ops.Add([one, one]))
    return made


def test_jobs() -> None:
    text = net_printer.to_string(job())
    headings = [line for line in text.splitlines() if line.startswith("with Job")]
    parts = ("init_group", "epoch_group", "stop_conditions", "download_group", "exit_group")
    assert headings == [f"with Job.current().{part}:" for part in parts]
    assert "outputs=Output[" in text
    net_printer.analyze(job())
    ignored = job()
    with ignored, Task():
        ops.Add(["distributed_ctx_init_a", "distributed_ctx_init_b"])
    net_printer.analyze(ignored)


def test_blobs_that_nothing_makes_or_two_steps_make() -> None:
    wrong = job()
    with wrong, Task():
        ops.Add(["a", "b"])
    with pytest.raises(AssertionError, match="Blob undefined: a"):
        net_printer.analyze(wrong)
    twice = Job()
    with twice:
        for _ in range(2):
            with Task(workspace_type=WorkspaceType.GLOBAL):
                ops.Add([ops.Const(0), ops.Const(1)], "out1")
    with pytest.raises(AssertionError, match=r"created by multiple parallel steps: .*out1"):
        net_printer.analyze(twice)
    net = core.Net("declared")
    net.Relu("x", "y")
    net_printer.analyze(net)
    net.Proto().op.add(type="Relu", input=["z"], output=["x"])
    with pytest.raises(AssertionError, match="Blob undefined: z"):
        net_printer.analyze(net)
    with pytest.raises(TypeError, match="unsupported object type"):
        net_printer.to_string(3)


def test_a_net_that_logs() -> None:
    net = core.Net("logged")
    net.ConstantFill([], "x", shape=[2], value=1.0)
    net.Relu("x", "y")
    logged = net_printer.debug_net(net)
    texts = [arg.strings[0] for op in logged.Proto().op for arg in op.arg if arg.name == "values"]
    assert texts == [b"x = ConstantFill(shape=[2], value=1.0)", b"y = Relu(x)"]
    assert [op.type for op in logged.Proto().op].count("Print") == 2
    workspace.RunNetOnce(logged)
    assert workspace.FetchBlob("y").tolist() == [1, 1]
