from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graphc.ir import Graph, GraphcError, TensorType, Value, VerifyError
from graphc.ir.builder import Builder
from graphc.passes import (
    Cse,
    Dce,
    InferTypes,
    Pass,
    PassError,
    dump_to,
    first_wrong_pass,
    print_after,
    run_pipeline,
    together,
)


def relu_net(stage: str = "typed") -> Graph:
    graph = Graph("net", stage)
    b = Builder(graph)
    x = b.input("x", "float[2]")
    b.op("Tanh", [x], {}, "unread")
    b.output(b.op("Relu", [x], {}, "y"))
    return graph


@dataclass(frozen=True)
class LoseRelu(Pass):
    """A wrong pass: Relu is not the identity."""

    def run(self, graph: Graph) -> bool:
        graph.outputs = [graph.inputs[0]]
        return True


@dataclass(frozen=True)
class Lie(Pass):
    """A wrong pass: it changes the text and denies it."""

    def run(self, graph: Graph) -> bool:
        graph.notes.append("changed")
        return False


@dataclass(frozen=True)
class Break(Pass):
    """A wrong pass: it reads a value that is not in the graph."""

    def run(self, graph: Graph) -> bool:
        graph.nodes[-1].set_operand(0, Value(TensorType.parse("float[2]"), "stray"))
        return True


@dataclass(frozen=True)
class Crash(Pass):
    """A wrong pass: it raises."""

    def run(self, graph: Graph) -> bool:
        raise KeyError("gone")


def test_records_say_what_changed() -> None:
    records = run_pipeline(relu_net(), (Dce(), Cse()))
    assert [(str(r.step), r.changed) for r in records] == [("dce", True), ("cse", False)]
    assert all(r.seconds >= 0 for r in records)


def test_stop_after_runs_the_first_passes_only() -> None:
    assert len(run_pipeline(relu_net(), (Cse(), Dce(), Cse()), stop_after=1)) == 1


def test_a_graph_that_is_wrong_to_begin_with_is_not_blamed_on_a_pass() -> None:
    graph = relu_net()
    Break().run(graph)
    with pytest.raises(VerifyError, match="stray"):
        run_pipeline(graph, (Dce(),))


def test_a_pass_that_breaks_the_graph_is_named_with_its_predecessors() -> None:
    with pytest.raises(PassError, match=r"pass break \(after dce,cse\) broke the graph: .*stray"):
        run_pipeline(relu_net(), (Dce(), Cse(), Break()))


def test_checks_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CHECK", "0")
    assert run_pipeline(relu_net(), (Break(),))[0].changed


def test_an_unknown_check_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CHECK", "yes")
    with pytest.raises(GraphcError, match="GRAPHC_CHECK is 'yes'"):
        run_pipeline(relu_net(), (Dce(),))


def test_a_pass_that_crashes_is_named() -> None:
    with pytest.raises(PassError, match=r"pass crash \(after no other\) failed: KeyError: 'gone'"):
        run_pipeline(relu_net(), (Crash(),))


def test_a_pass_that_denies_a_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    run_pipeline(relu_net(), (Lie(),), check=1)
    monkeypatch.setenv("GRAPHC_CHECK", "2")
    with pytest.raises(PassError, match=r"pass lie \(after dce\) changed the graph and said that it did not"):
        run_pipeline(relu_net(), (Dce(), Lie()))


def test_a_pass_that_needs_types_refuses_an_imported_graph() -> None:
    with pytest.raises(GraphcError, match=r"lose_relu .* needs a graph of stage typed, this one is imported"):
        run_pipeline(relu_net("imported"), (LoseRelu(),))
    assert run_pipeline(relu_net("imported"), (InferTypes(), LoseRelu()))[0].changed


def test_the_callback_sees_every_gap() -> None:
    seen = []
    run_pipeline(relu_net(), (Dce(), Cse()), lambda a, graph, b: seen.append((a, len(graph.nodes), b)))
    assert seen == [(None, 2, Dce()), (Dce(), 1, Cse()), (Cse(), 1, None)]


def test_graphs_are_printed_and_dumped(tmp_path: Path) -> None:
    written: list[str] = []
    run_pipeline(relu_net(), (Dce(), Cse()), together(print_after({"dce"}, written.append), dump_to(tmp_path / "d")))
    assert len(written) == 1
    assert written[0].startswith("// after dce\ngraph")
    files = sorted(p.name for p in (tmp_path / "d").iterdir())
    assert files == ["00_input.gir", "01_dce.gir", "02_cse.gir"]
    assert "Tanh" in (tmp_path / "d" / files[0]).read_text()
    assert "Tanh" not in (tmp_path / "d" / files[1]).read_text()


def test_the_first_pass_that_changes_the_outputs_is_found() -> None:
    inputs = {"x": np.array([-1, 2], np.float32)}
    assert first_wrong_pass(relu_net(), (Dce(), LoseRelu(), Cse()), inputs) == 1
    assert first_wrong_pass(relu_net(), (Dce(), Break(), Cse()), inputs) == 1
    assert first_wrong_pass(relu_net(), (Dce(), Cse()), inputs) is None


def test_infer_types_types_an_imported_graph_once() -> None:
    graph = relu_net("imported")
    assert InferTypes().run(graph)
    assert graph.stage == "typed"
    assert not InferTypes().run(graph)
