"""Graphs of nets: DOT by its grammar, pictures without Graphviz, JSON, the command."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graphc.caffe2 import core, net_drawer
from graphc.caffe2.net_drawer.__main__ import main
from graphc.caffe2.proto import caffe2_pb2

ID = r"(?:[A-Za-z_]\w*|-?(?:\.\d+|\d+(?:\.\d*)?)|\"(?:\\.|[^\"\\])*\")"
ATTRIBUTES = rf"(?: \[{ID}={ID}(?:, {ID}={ID})*\])?"
LINE = re.compile(rf"(?:{ID}={ID}|{ID}{ATTRIBUTES}|{ID} -> {ID}{ATTRIBUTES});", re.ASCII)
"""Statements of the DOT language, of the kinds that are written."""


def example() -> core.Net:
    net = core.Net("draw/it")
    net.Conv(["data", "w"], "c", kernel=3)
    net.Relu("c", "c")
    net.Sum(["c", "data"], 'odd "name"\\', name="join")
    net.Softmax(['odd "name"\\'], "p")
    return net


def statements(graph: Any) -> list[str]:
    first, *lines, last = graph.to_string().rstrip().split("\n")
    assert re.fullmatch(rf"digraph {ID} {{", first)
    assert last == "}"
    assert all(LINE.fullmatch(line) for line in lines)
    return lines


def edges(graph: Any) -> list[tuple[str, str]]:
    return [(e.get_source().strip('"'), e.get_destination().strip('"')) for e in graph.get_edges()]


@pytest.fixture(autouse=True)
def _no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)


def test_operators_and_blobs() -> None:
    graph = net_drawer.GetPydotGraph(example(), rankdir="TB")
    assert statements(graph)[0] == "rankdir=TB;"
    assert graph.get_name().startswith('"draw/it')
    assert edges(graph)[:5] == [
        ("data0", "Conv (op#0)"),
        ("w0", "Conv (op#0)"),
        ("Conv (op#0)", "c0"),
        ("c0", "Relu (op#1)"),
        ("Relu (op#1)", "c1"),
    ]
    assert ("c1", "join/Sum (op#2)") in edges(graph)
    labels = [node.get_label() for node in graph.get_nodes() if node.get("shape") == "octagon"]
    assert labels == ['"data"', '"w"', '"c"', '"c"', '"odd \\"name\\"\\\\"', '"p"']
    assert graph.get_node("Conv (op#0)")[0].get_color() == "#0F9D58"
    assert net_drawer.GetPydotGraph(list(example().Proto().op)).get_name() == "unnamed"


def test_operators_alone() -> None:
    net = core.Net("chain")
    a = net.Relu("x", "a")
    b = net.Relu(a, "b")
    net.Add([a, b], "c")
    every = net_drawer.GetPydotGraphMinimal(net, "n")
    needed = net_drawer.GetPydotGraphMinimal(net, "n", minimal_dependency=True)
    assert len(every.get_edges()) == 3
    assert edges(needed) == [("Relu (op#0)", "Relu (op#1)"), ("Relu (op#1)", "Add (op#2)")]
    producer = net_drawer.GetOpNodeProducer(True, shape="box")
    (line,) = [s for s in statements(net_drawer.GetPydotGraphMinimal(net, op_node_producer=producer)) if "Add" in s][:1]
    assert line == '"Add (op#2)\\nc" [shape=box];'


def test_pictures(tmp_path: Path) -> None:
    for rankdir in ("LR", "TB"):
        graph = net_drawer.GetPydotGraph(example(), rankdir=rankdir)
        svg = ET.fromstring(graph.create_svg())
        width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
        assert (width > height) == (rankdir == "LR")
        texts = [element.text for element in svg.iter() if element.tag.endswith("text")]
        assert {"Conv (op#0)", 'odd "name"\\', "p"} <= set(texts)
        assert len([e for e in svg.iter() if e.tag.endswith("path")]) == len(graph.get_edges()) + 1  # and the arrow
        corners = [e.attrib["points"] for e in svg.iter() if e.tag.endswith("polygon")]
        numbers = [[float(n) for n in p.replace(",", " ").split()] for p in corners]
        assert all(min(n) >= 0 and max(n[::2]) <= width and max(n[1::2]) <= height for n in numbers)
        with Image.open(io.BytesIO(graph.create_png())) as picture:
            assert abs(picture.width - width) <= 1
            assert (15, 157, 88) in {colour for _, colour in picture.getcolors(1 << 16)}  # type: ignore[union-attr]
    graph.write_png(str(tmp_path / "net.png"))
    graph.write(str(tmp_path / "net.dot"))
    assert (tmp_path / "net.png").read_bytes() == graph.create_png()
    assert (tmp_path / "net.dot").read_text() == graph.to_string()
    assert graph.create_pdf().startswith(b"%PDF")
    with pytest.raises(RuntimeError, match="svg, png, pdf, not gif; help: install graphviz"):
        graph.create_gif()
    with pytest.raises(AttributeError, match="graphc's Dot of a drawing has no 'add_subgraph'"):
        graph.add_subgraph(graph)


def test_circles_and_nodes_that_only_edges_name() -> None:
    graph = net_drawer.Dot("circle")
    for ends in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")):
        graph.add_edge(net_drawer.Edge(*ends, style="dashed"))
    svg = graph.create_svg().decode()
    assert svg.count("stroke-dasharray") == 3
    assert net_drawer.Dot("none").create_png().startswith(b"\x89PNG")


def test_a_safe_picture(caplog: pytest.LogCaptureFixture) -> None:
    net = example()
    assert net_drawer.GetGraphPngSafe(net_drawer.GetPydotGraph, net) == net_drawer.GetPydotGraph(net).create_png()
    assert net_drawer.GetGraphPngSafe(net_drawer.GetPlanGraph, 3).startswith(b"\x89PNG")
    assert "Failed to draw graph" in caplog.text


def test_json(tmp_path: Path) -> None:
    net_drawer.GetGraphInJson(example(), str(tmp_path / "net.json"))
    found = json.loads((tmp_path / "net.json").read_text())
    assert found["nodes"][0] == {"id": 0, "label": "Conv", "op_id": 0, "type": "op"}
    assert [node["id"] for node in found["nodes"]] == list(range(10))
    assert {"source": 1, "target": 0} in found["edges"]
    assert [node["label"] for node in found["nodes"] if node["type"] == "op"] == ["Conv", "Relu", "join/Sum", "Softmax"]


def plan() -> Any:
    net = core.Net("drawn")
    net.Relu("x", "y")
    steps = [core.execution_step(f"s{i}", net) for i in range(5)]
    made = core.Plan("drawn_plan")
    made.AddStep(core.execution_step("all", steps, concurrent_substeps=True))
    made.AddStep(core.execution_step("last", net, num_iter=3))
    return made


def test_plans() -> None:
    graph = net_drawer.GetPlanGraph(plan().Proto())
    labels = [json.loads(node.get_label()) for node in graph.get_nodes()]
    assert labels[:2] == ["all\nConcurrent", "last"]
    assert labels.count("drawn") == 4
    assert "2 more steps" in labels
    statements(graph)
    with pytest.raises(ValueError, match="'empty' has neither nets nor steps"):
        net_drawer.GetPlanGraph(caffe2_pb2.PlanDef(execution_step=[caffe2_pb2.ExecutionStep(name="empty")]))
    with pytest.raises(RuntimeError, match="Expecting NetDef, but got PlanDef"):
        net_drawer.GetPydotGraph(plan())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.pb").write_bytes(example().Proto().SerializeToString())
    assert main(["--input", "net.pb", "--output_prefix", "o_"]) == 0
    dot, pdf = capsys.readouterr().out.split()
    assert re.fullmatch(r"o_draw_it(_\d+)?\.dot", dot)
    assert Path(dot).read_text().startswith("digraph")
    assert Path(pdf).read_bytes().startswith(b"%PDF")
    Path("plan.pbtxt").write_text(str(plan().Proto()))
    assert main(["--input", "plan.pbtxt", "--minimal", "--minimal_dependency", "--append_output"]) == 0
    assert re.match(r"drawn_plan(_\d+)?_drawn(_\d+)?\.dot", capsys.readouterr().out)
    Path("page.pb").write_text("<html></html>")
    assert main(["--input", "page.pb"]) == 2
    assert "web page" in capsys.readouterr().err
