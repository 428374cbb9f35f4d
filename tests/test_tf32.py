"""TF32 as users ask for it: precisions of compile, mixed ones, plans for cards without a card, the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from one_net import nets, operator
from test_half_precision import DIGITS, INIT, NET, run

import graphc
from graphc.comparison_sides import parse_side
from graphc.ir import DType, GraphcError, evaluate
from graphc.ir.fpmath import is_tf32
from graphc.ir.parser import parse
from graphc.ir.printer import constant_arrays, print_graph
from graphc.ir.verify import verify
from graphc.plan import Plan

CARDS = ("cuda:sm_80", "cuda:sm_90a")


def compiled(
    precision: graphc.compiler.Precision, target: str = CARDS[1], level: int = 2, pipeline: str | None = None
) -> Plan:
    """The digits net for a card, for 20 images, without machine code."""
    graph = graphc.import_model(NET, INIT, {"data": (20, 1, 8, 8)})
    return graphc.compile_graph(
        graph, target=target, level=level, precision=precision, pipeline=pipeline, prepare=False
    )


def in_tf32(plan: Plan) -> list[str]:
    return [n.results[0].name for n in plan.graph.nodes if is_tf32(n)]


@pytest.mark.parametrize("target", CARDS)
def test_a_net_in_tf32(target: str) -> None:
    plan = compiled("tf32", target)
    assert in_tf32(plan) == ["conv2", "conv3"]  # conv1 reads the image as it is, fc4 has ten results
    blobs = plan.graph.blobs()
    assert [blobs[n].type.layout.text for n in ("data", "conv1", "pool1", "conv2", "conv3", "pool3", "softmax")] == [
        "plain", "nchw8c", "nchw8c", "nchw8c", "nchw8c", "plain", "plain",
    ]  # fmt: skip
    assert {v.type.dtype for v in plan.graph.values()} == {DType.FLOAT}
    assert not any(part.host or part.beside for part in plan.cut.parts)
    assert all(task.kernel.template for s in plan.schedules for step in s.steps for task in step)


def test_answers_are_near_those_of_float() -> None:
    with np.load(DIGITS / "test_images.npz") as data:
        images = (data["images"][:20, None] / np.float32(255)).astype(np.float32)
    scores = [evaluate(compiled(kind).graph, {"data": images})["softmax"] for kind in ("float", "tf32")]
    assert 0 < np.abs(scores[1] - scores[0]).max() <= 2e-3
    np.testing.assert_array_equal(scores[0].argmax(1), scores[1].argmax(1))


@pytest.mark.parametrize(
    ("precision", "tf32", "halves"),
    [
        ({"*": "float", "conv2": "tf32"}, ["conv2"], []),
        ({"conv3": "tf32"}, ["conv3"], []),
        ({"*": "tf32", "conv2": "float"}, ["conv3"], []),
        ({"*": "float16", "conv2": "tf32"}, ["conv2"], ["conv1", "conv3"]),
        ({"*": "tf32", "conv3": "bf16"}, ["conv2"], ["conv3"]),
        ({"conv2": "tf32", "conv3": "half"}, ["conv2"], ["conv3"]),
    ],
)
def test_mixtures(precision: dict[str, str], tf32: list[str], halves: list[str]) -> None:
    plan = compiled(precision)
    assert in_tf32(plan) == tf32
    assert [n.results[0].name for n in plan.graph.nodes if n.op == "Conv" and "precision" in n.attrs] == halves
    kinds = {n.results[0].name: n.operands[1].type.dtype for n in plan.graph.nodes if n.op == "Conv" and n.operands[1]}
    assert all(kinds[name] is DType.FLOAT for name in tf32)


def test_text_comes_back(tmp_path: Path) -> None:
    graph = compiled("tf32").graph
    text = print_graph(graph)
    again = parse(text, constant_arrays(graph))
    verify(again)
    assert print_graph(again) == text
    (tmp_path / "net.gir").write_text(text)
    shown = run("dump", str(tmp_path / "net.gir")).stdout
    assert shown.startswith(text.rstrip())
    assert shown.count('fpmath="tf32"') == 2


def test_a_pipeline_of_ones_own() -> None:
    passes = "infer_types,canonicalize,fold_constants,fuse_epilogue,assign_layout{block=8},dce"
    plan = compiled("float", pipeline=f"{passes},tf32{{precision=float,requests=conv3:tf32}}")
    assert in_tf32(plan) == ["conv3"]
    with pytest.raises(GraphcError, match="the target 'avx2' is a CPU"):
        compiled("float", "avx2", pipeline=f"{passes},tf32")


@pytest.mark.parametrize("precision", ["tf32", {"conv2": "tf32"}, {"*": "float16", "conv2": "tf32"}])
@pytest.mark.parametrize("target", ["native", "portable"])
def test_targets_that_are_no_cards(precision: graphc.compiler.Precision, target: str) -> None:
    with pytest.raises(GraphcError, match=r"TF32 is what cards multiply, and the target '.*' is a CPU") as raised:
        compiled(precision, target)
    assert "cuda:sm_90a" in raised.value.help


def test_a_graph_in_tf32_is_for_cards() -> None:
    """Its text says what is multiplied; a CPU would answer otherwise, and say nothing."""
    graph = compiled("tf32").graph
    again = parse(print_graph(graph), constant_arrays(graph))
    with pytest.raises(GraphcError, match="the target 'portable' is a CPU"):
        graphc.compile_graph(again, target="portable", pipeline="")


@pytest.mark.parametrize(
    ("precision", "level", "message"),
    [
        ({"conv1": "tf32"}, 2, "Conv -> 'conv1' cannot multiply in TF32: it reads an image as it is"),
        ({"fc4": "tf32"}, 2, "FC -> 'fc4' cannot multiply in TF32: it has fewer than 16 maps"),
        ({"*": "half", "pool1": "tf32"}, 2, "MaxPool -> 'pool1' cannot multiply in TF32: it multiplies no matrices"),
        (
            {"conv2": "tf32"},
            1,
            "Conv -> 'conv2' cannot multiply in TF32: its result does not lie in blocks of channels",
        ),
        (
            {"conv2": "tf32"},
            0,
            "Conv -> 'conv2' cannot multiply in TF32: its result does not lie in blocks of channels",
        ),
        ({"conv22": "tf32"}, 2, "'conv22', which no operator computes"),
        ({"conv22": "float"}, 2, "'conv22', which no operator computes"),
        ({"*": "half", "conv22": "tf32"}, 2, "'conv22', which no operator computes"),
        ("tf16", 2, "the precision of '\\*' is 'tf16'"),
    ],
)
def test_requests_that_cannot_be_met(precision: graphc.compiler.Precision, level: int, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        compiled(precision, level=level)


def test_a_blob_that_fusion_leaves_out_is_explained() -> None:
    ops = [operator("FC", "x w b", "inner"), operator("Relu", "inner", "y")]
    given = {"x": np.ones((9, 64), np.float32)}
    weights = {"w": np.ones((32, 64), np.float32), "b": np.ones(32, np.float32)}
    graph = graphc.import_model(*nets(ops, given, "y", weights), given)
    with pytest.raises(GraphcError, match="'inner', which no operator computes") as raised:
        graphc.compile_graph(graph, target=CARDS[0], precision={"inner": "tf32"}, prepare=False)
    assert "operators that are fused go by the last one's blob" in raised.value.help


def test_float_by_name_is_float() -> None:
    """Images lie as in any net of float32, for which cards have no tensor cores."""
    assert print_graph(compiled({"conv2": "float"}).graph) == print_graph(compiled("float").graph)


def test_levels_without_blocks() -> None:
    assert in_tf32(compiled("tf32", level=1)) == []


# ---- the command line ------------------------------------------------------------------------------------------------


def test_command_line(tmp_path: Path) -> None:
    plan = str(tmp_path / "t.pkl")
    compile_ = ("compile", NET, "--init", INIT, "-o", plan)
    on_cpu = run(*compile_, "--tf32", "--target", "portable", code=2)
    assert "the target 'portable' is a CPU" in on_cpu.stderr
    card = ("--target", CARDS[0])
    both = run(*compile_, *card, "--tf32", "--half", code=2)
    assert "--tf32 and --half are different precisions" in both.stderr
    refused = run(*compile_, *card, "--half", "--precision", "conv1=tf32", code=2)
    assert "cannot multiply in TF32: it reads an image as it is" in refused.stderr
    unknown = run("tune", NET, "--init", INIT, *card, "--tf32", "--precision", "conv4=tf32", "-o", plan, code=2)
    assert "near names: conv" in unknown.stderr
    assert "--tf32" in run("compile", "--help").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("tf32", "the target '.*' is a CPU"),
        ("cuda:sm_90a,tf32,half", "'tf32' and 'half' are both a precision"),
        ("cuda:sm_90a,cuda:sm_80", "are both a target"),
        ("cuda:sm_90a,sse9", "options: .*cuda:sm_80, cuda:sm_90a, .*tf32"),
        ("cuda:sm_7,tf32", "unknown target 'cuda:sm_7'"),
    ],
)
def test_sides_of_a_comparison(options: str, message: str) -> None:
    with pytest.raises(GraphcError) as raised:
        parse_side(f"{NET}@{options}", INIT, {})
    assert raised.match(message)
