"""``graphc check-memory`` and ``graphc dump --memory``, on the digits net and on nets of a few operators."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.cli import app
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import DType, TensorType
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.runtime.planfile import read_plan, write_plan

Command = Callable[..., str]

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plan") / "digits.pkl"
    graphc.compile(NET, INIT).save(path)
    return str(path)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command(arguments..., code=0)``: what the command line prints, its exit code checked."""

    def run(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["graphc", *arguments])
        try:
            app.main()
            left = 0
        except SystemExit as stop:
            left = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert left == code, out + err
        return str(out + err)

    return run


def tampered(plan: str, target: Path, old: str, new: str) -> str:
    """The plan with its schedule's text changed and all checksums right."""
    body, tail = read_plan(plan)
    segment = body["segments"][0]
    changed = re.sub(old, new, segment["schedule"], count=1)
    assert changed != segment["schedule"]
    write_plan(target, {**body, "segments": [{**segment, "schedule": changed}]}, [tail], tail.nbytes)
    return str(target)


def test_a_sound_plan(command: Command, plan: str) -> None:
    text = command("check-memory", plan)
    assert "holds" in text
    assert text.rstrip().endswith("the memory is sound")
    (found,) = json.loads(command("check-memory", plan, "--json"))["schedules"]
    assert found["violations"] == []
    assert found["arena"] == graphc.load(plan).schedules[0].arena_bytes
    assert max(found["live"]) == found["lower_bound"] == sum(-(-b["size"] // 64) * 64 for b in found["at_peak"])


def test_poisoned_runs(command: Command, plan: str) -> None:
    text = command("check-memory", plan, "--poison", "--input", "data=3,1,8,8", "--fetch", "conv1")
    assert text.count("results equal bit for bit") == 2
    assert "data[1,1,8,8]" in text
    assert "data[3,1,8,8], keeping conv1" in text


def test_runs_on_arrays(command: Command, plan: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", data=np.ones((2, 1, 8, 8), np.float32))
    assert "data[2,1,8,8]" in command("check-memory", plan, "--run", "--inputs", str(tmp_path / "in.npz"))
    assert "no input 'image'" in command("check-memory", plan, "--run", "--input", "image=1,1,8,8", code=2)
    assert "--run or --poison" in command("check-memory", plan, "--fetch", "conv1", code=2)


def test_other_sizes_without_a_run(command: Command, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a kernel is compiled")

    monkeypatch.setattr("graphc.machine_code.MachineCode.load", refuse)
    text = command("check-memory", plan, "--input", "data=7,1,8,8")
    assert text.count("holds") == 2
    assert "data[7,1,8,8]" in text
    text = command("dump", plan, "--memory", "--input", "data=7,1,8,8")
    assert text.count("equal to the lower bound") == 2
    for wrong in ("data=1,2,8,8", "data=1,1,8", "image=1,1,8,8"):
        command("check-memory", plan, "--input", wrong, code=2)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (r"buffer at \d+ ", "buffer at 64000000 ", "buffer: buffer 0"),
        (r"steps=0\.\.1", "steps=0..0", "lifetime: step 1"),
        (r"arena=\d+", "arena=64", "does not lie in the arena"),
        (r"bound=\d+", "bound=1", "claim: the lower bound"),
        (r"const(\[\d+\])?,", "const[99],", "which does not exist"),
        (r"(?s)  buffer [^\n]*\n", "", "arena["),
    ],
)
def test_tampered_plans(command: Command, plan: str, tmp_path: Path, old: str, new: str, told: str) -> None:
    text = command("check-memory", tampered(plan, tmp_path / "bad.pkl", old, new), "--poison", code=1)
    assert told in text
    assert text.rstrip().endswith("the memory is NOT sound: do not run this plan")


def test_bad_input(command: Command, plan: str, tmp_path: Path) -> None:
    (tmp_path / "no.pkl").write_bytes(b"\x80\x04no plan")
    command("check-memory", str(tmp_path / "no.pkl"), code=2)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(print, protocol=4))
    assert "do not trust this file" in command("check-memory", str(tmp_path / "evil.pkl"), code=2)
    command("check-memory", tampered(plan, tmp_path / "text.pkl", "buffer at", "buffer of"), code=2)


def test_names_that_control_a_terminal(command: Command, plan: str, tmp_path: Path) -> None:
    bad = tampered(plan, tmp_path / "bad.pkl", r'(steps=0\.\.)1 : "[^"]*"', r'\g<1>0 : "\\x1b[2J\\ud800"')
    assert "\x1b" not in command("check-memory", bad, code=1)


def test_segments_whose_sizes_depend_on_data(command: Command, tmp_path: Path) -> None:
    """The second segment has a schedule after a run only."""
    b = Builder(Graph("dynamic", "imported"))
    x = b.input("x", TensorType(DType.INT32, (8,)))
    b.output(b.op("Cast", [b.op("Unique", [x], {}, "u")], {"to": 1}, "y"), "y")
    graphc.compile_graph(b.graph).save(tmp_path / "dynamic.pkl")
    path = str(tmp_path / "dynamic.pkl")
    assert "not proved" in command("check-memory", path)
    assert "not proved" not in command("check-memory", path, "--run")
    assert command("check-memory", path, "--poison").count("results equal") >= 4


def test_dump_of_memory(command: Command, plan: str, tmp_path: Path) -> None:
    text = command("dump", plan, "--memory")
    schedule = graphc.load(plan).schedules[0]
    for b in schedule.buffers:
        assert re.search(rf"^\d+ +\w+ +{b.size} +{b.offset} +{b.first}-{b.last} +{b.names[0]}", text, re.MULTILINE)
    assert f"arena {schedule.arena_bytes} bytes" in text
    for suffix, start in (("svg", "<svg"), ("html", "<!doctype html>"), ("json", "[")):
        command("dump", plan, "--memory", "-o", str(tmp_path / f"arena.{suffix}"))
        assert (tmp_path / f"arena.{suffix}").read_text().startswith(start)
    assert command("dump", plan, "--memory", "--format", "svg").startswith("<svg")
    command("dump", plan, "--memory", "--stage", "kernels", code=2)


def test_dump_of_a_net_compiles_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a kernel is compiled")

    monkeypatch.setattr("graphc.machine_code.MachineCode.load", refuse)
    assert "lower bound" in command("dump", NET, "--init", INIT, "--memory")
    assert "lower bound" in command("dump", NET, "--init", INIT, "--stage", "scheduled")


def test_no_picture_of_an_unsound_plan(command: Command, plan: str, tmp_path: Path) -> None:
    bad = tampered(plan, tmp_path / "bad.pkl", r"arena=\d+", "arena=64")
    assert "not sound" in command("dump", bad, "--memory", "--format", "svg", code=2)


def test_graphs_inside_operators_that_run_in_python(command: Command, tmp_path: Path) -> None:
    branch = Net("branch", [Operator("Relu", ["x"], ["y"])], ["x"], ["y"])
    branches = {"then_net": branch, "else_net": branch}
    net = Net("n", [Operator("If", ["c"], ["y"], branches)], ["c", "x"], ["y"])
    types = {"c": TensorType(DType.BOOL, (1,)), "x": TensorType(DType.FLOAT, (4, 4))}
    graphc.compile(write_net(net), inputs=types).save(tmp_path / "if.pkl")
    assert "run in Python: If" in command("check-memory", str(tmp_path / "if.pkl"))
    (inner,) = json.loads(command("check-memory", str(tmp_path / "if.pkl"), "--run", "--json"))["schedules"]
    assert inner["segment"] == "0.0.0"
