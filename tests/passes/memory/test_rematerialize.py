"""Values that are computed again to save memory: the same bits, within the limit, or an error that says why not."""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from one_net import nets, operator

import graphc
from graphc.cli.compile import compile_command
from graphc.compiler import byte_count
from graphc.frontends.netdef import write_net
from graphc.ir import evaluate, parse, verify
from graphc.ir.memory_check import check_memory
from graphc.plan import Plan

RESNET = runpy.run_path(str(Path(__file__).resolve().parents[3] / "benchmarks" / "training_nets.py"))["resnet"]

CHAIN = """graph "g" stage=imported {
  input %x : float[64,64]
  %a = Exp(%x)
  %b = Transpose(%a)
  %c = Softmax(%b)
  %t = Tile(%c) {tiles=8, axis=1}
  %s = Slice(%t) {starts=[0, 0], ends=[-1, 64]}
  %u = Softmax(%s)
  %v = Transpose(%u)
  %w = Sub(%v, %a)
  %y = Transpose(%w)
  output %y
}"""
"""%a waits while eight times its bytes are in use, and is one Exp away from the input."""


def compiled(text: str, **options: object) -> Plan:
    return graphc.compile_graph(parse(text), threads=1, level=0, **options)  # type: ignore[arg-type]


def arena(plan: Plan) -> int:
    return sum(s.arena_bytes for s in plan.schedules)


def test_a_value_that_waits_is_computed_again(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    free = compiled(CHAIN)
    limit = arena(free) - 64 * 64 * 4
    plan = compiled(CHAIN, max_memory=limit)
    memory = plan.schedules[0].memory
    assert arena(plan) <= limit
    assert memory.recomputed == ("a",)
    assert memory.recomputed_bytes == 2 * 64 * 64 * 4
    assert [n.op for n in plan.graph.nodes].count("Exp") == 2
    assert check_memory(plan.schedules[0]).ok
    plan.save(tmp_path / "plan.pkl")
    for p in (plan, graphc.load(tmp_path / "plan.pkl")):
        np.testing.assert_array_equal(p.run({"x": x})["y"], free.run({"x": x})["y"])
        np.testing.assert_array_equal(p.run({"x": x}, fetch=["a"])["a"], free.run({"x": x}, fetch=["a"])["a"])
        assert p.schedules[0].memory == memory


def test_random_numbers_are_not_drawn_twice() -> None:
    text = CHAIN.replace("%a = Exp(%x)", "%e = UniformFill() {shape=[64,64]}\n  %a = Copy(%e)").replace("level=0", "")
    limit = arena(compiled(text)) - 1
    with pytest.raises(graphc.LoweringError, match="no plan was found"):
        compiled(text, max_memory=limit)


def test_the_smallest_arena_that_an_error_names_can_be_had() -> None:
    with pytest.raises(graphc.LoweringError) as told:
        compiled(CHAIN, max_memory=1000)
    message = told.value.message
    assert "at most 1,000 bytes" in message
    assert re.search(r"step \d+, which computes 'copy_bytes'", message), message
    assert "'t' 131,072" in message
    smallest = int(re.findall(r"--max-memory (\d+)", told.value.help)[0])
    assert arena(compiled(CHAIN, max_memory=smallest)) == smallest
    with pytest.raises(graphc.LoweringError):
        compiled(CHAIN, max_memory=smallest - 1)


NORMALISED = """graph "g" stage=imported {
  input %x : float[2,8,16,16]
  input %s : float[8]
  input %b : float[8]
  input %m : float[8]
  input %v : float[8]
LAYERS
  output %y3
  output %m1
  output %v3
  output %g0
}"""
FORWARD = """  %n{i}, %m{i}, %v{i}, %sm{i}, %sv{i} = SpatialBN(%y{h}, %s, %b, %m, %v) {{is_test=0}}
  %y{i} = Tanh(%n{i})"""
BACKWARD = """  %t{i} = TanhGradient(%y{i}, %g{i})
  %g{h}, %ds{i}, %db{i} = SpatialBNGradient(%y{h}, %s, %t{i}, %sm{i}, %sv{i})"""


def normalised() -> str:
    """Three layers, each a normalisation by the batch, and the gradients back to the input."""
    layers = [FORWARD.format(i=i, h=i - 1) for i in (1, 2, 3)] + ["  %g3 = Exp(%y3)"]
    layers += [BACKWARD.format(i=i, h=i - 1) for i in (3, 2, 1)]
    text = "\n".join(layers).replace("%y0", "%x")
    return NORMALISED.replace("LAYERS", text)


def test_what_is_normalised_twice_is_counted_once() -> None:
    """The same bits, running means and variances included."""
    r = np.random.default_rng(1)
    feeds = {n: r.uniform(0.5, 1.5, 8).astype(np.float32) for n in "sbmv"}
    feeds["x"] = r.standard_normal((2, 8, 16, 16)).astype(np.float32)
    free = compiled(normalised())
    plan = compiled(normalised(), max_memory=arena(free) - 1)
    again = plan.schedules[0].memory.recomputed
    assert any(name.startswith("n") for name in again), again
    assert check_memory(plan.schedules[0]).ok
    want = free.run(feeds)
    for _ in range(2):
        for name, value in plan.run(feeds).items():
            np.testing.assert_array_equal(value, want[name], err_msg=name)


@cache
def training() -> tuple[Any, dict[str, np.ndarray]]:
    made = RESNET((1, 1), 4, 32, 16, 10)
    return made, made.example(10)


def trained(max_memory: int | None = None) -> Plan:
    """The plan of a small residual net with gradients, without machine code."""
    made, feeds = training()
    graph = graphc.import_model(write_net(made.net), None, feeds)
    return graphc.compile_graph(graph, threads=1, max_memory=max_memory, prepare=False)


@pytest.mark.parametrize("share", [0.85, 0.7])
def test_training_within_a_limit_means_the_same(share: float) -> None:
    _, feeds = training()
    free = trained()
    plan = trained(int(arena(free) * share))
    assert arena(plan) <= arena(free) * share
    assert plan.schedules[0].memory.recomputed
    assert plan.schedules[0].memory.recomputed_bytes > 0
    assert check_memory(plan.schedules[0]).ok
    verify(plan.graph)
    want = evaluate(free.graph, feeds)
    for name, value in evaluate(plan.graph, feeds).items():
        np.testing.assert_array_equal(value, want[name], err_msg=name)


def test_sharing_halves_what_training_takes() -> None:
    plan = trained()
    assert arena(plan) < 0.6 * plan.schedules[0].memory.unshared


def test_a_limit_that_is_met_anyway_changes_nothing() -> None:
    free = compiled(CHAIN)
    plan = compiled(CHAIN, max_memory=arena(free))
    assert plan.schedules == free.schedules
    assert not plan.schedules[0].memory.recomputed


@pytest.mark.parametrize(
    ("text", "value"),
    [("4194304", 1 << 22), ("4096K", 1 << 22), ("4m", 1 << 22), ("1.5G", 3 << 29), (7, 7), ("2MiB", 2 << 20)],
)
def test_numbers_of_bytes(text: str | int, value: int) -> None:
    assert byte_count(text) == value


@pytest.mark.parametrize("text", ["", "M", "-1", "four", "1T", "1e6", True, "1..5M"])
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(graphc.GraphcError, match="no number of bytes"):
        compiled(CHAIN, max_memory=text)


def test_sizes_that_depend_on_data_have_no_limit() -> None:
    text = """graph "g" stage=imported {
  input %x : int32[64]
  %u, %r = Unique(%x)
  %y = Cast(%u) {to=1}
  output %y
}"""
    with pytest.raises(graphc.LoweringError, match="sizes that depend on data"):
        compiled(text, max_memory="1M")


def test_the_command_says_what_is_computed_twice(tmp_path: Path) -> None:
    op = operator
    ops = [op("Exp", "x", "a"), op("Transpose", "a", "b"), op("Tile", "b", "t", tiles=8, axis=1)]
    ops += [op("Slice", "t", "s", starts=[0, 0], ends=[-1, 64]), op("Transpose", "s", "v"), op("Sub", "v a", "y")]
    predict, _ = nets([*ops, op("Transpose", "y", "z")], {"x": np.zeros((64, 64), np.float32)}, "z", {})
    (tmp_path / "net.pb").write_bytes(predict)
    given = ["compile", str(tmp_path / "net.pb"), "--input", "x=64,64", "-O0", "-o", str(tmp_path / "plan.pkl")]
    done = CliRunner().invoke(compile_command, [*given[1:], "--max-memory", "144K"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "note: values computed twice to save memory: 1, for 4.1e-06 GFLOP and 0.0328 MB more" in done.output
