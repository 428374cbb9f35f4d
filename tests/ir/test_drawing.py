"""Drawings and data of graphs: well-formed, complete, and without boxes on top of each other."""

from __future__ import annotations

import json
import random
import xml.dom.minidom
from itertools import combinations, pairwise

import pytest
from random_graphs import random_graph

from graphc.ir import graph_dot, graph_html, graph_json, graph_svg, parse
from graphc.ir.layers import lay_out

TEXT = """graph "net" stage=typed {
  input %data : float[1,3,8,8]
  constant %w : float[4,3,1,1] = @w
  %conv : float[1,4,8,8] = Conv(%data, %w) {kernel=1}
  %a : float[1,4,8,8] = Relu(%conv)
  %b : float[1,4,8,8] = Tanh(%conv)
  %sum : float[1,4,8,8] = Add(%a, %b)
  output %sum as "out <&>"
}"""


def test_the_data_of_a_graph() -> None:
    data = graph_json(parse(TEXT))
    assert [n["op"] for n in data["nodes"]] == ["Conv", "Relu", "Tanh", "Add"]
    assert data["nodes"][0]["inputs"] == ["data", "w"]
    assert data["nodes"][0]["outputs"] == [{"name": "conv", "type": "float[1,4,8,8]", "bytes": 1024}]
    assert data["nodes"][0]["flops"] == 2 * 4 * 3 * 64  # a multiply-add counts twice
    assert data["weight_bytes"] == 48
    assert data["outputs"] == [{"name": "out <&>", "value": "sum"}]


@pytest.mark.parametrize("seed", range(30))
def test_every_graph_can_be_drawn(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    json.loads(json.dumps(graph_json(graph), allow_nan=False))
    assert graph_dot(graph).count("{") >= 1
    xml.dom.minidom.parseString(graph_svg(graph).encode())
    assert "<details>" in graph_html(graph)


def test_an_operator_is_a_box_with_its_text_as_tooltip() -> None:
    svg = xml.dom.minidom.parseString(graph_svg(parse(TEXT)))
    titles = [t.firstChild.data for t in svg.getElementsByTagName("title") if t.firstChild]
    assert "%conv : float[1,4,8,8] = Conv(%data, %w) {kernel=1}" in titles
    assert len(titles) == 6
    assert len(svg.getElementsByTagName("path")) == 6 + 1  # six edges and the arrow head


def test_dot_names_operators_and_edges() -> None:
    dot = graph_dot(parse(TEXT))
    assert dot.startswith('digraph "net" {')
    assert r'label="Conv\nconv\n1 x 4 x 8 x 8\nw 4 x 3 x 1 x 1"' in dot
    assert dot.count(" -> ") == 6


@pytest.mark.parametrize("seed", range(20))
def test_boxes_do_not_overlap_and_edges_lead_down(seed: int) -> None:
    r = random.Random(seed)
    sizes = [(r.uniform(20, 200), r.uniform(10, 60)) for _ in range(r.randrange(1, 40))]
    edges = [(a, b) for a, b in combinations(range(len(sizes)), 2) if r.random() < 0.08]
    drawing = lay_out(sizes, edges)
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(drawing.centres, sizes)]
    for (l1, t1, r1, b1), (l2, t2, r2, b2) in combinations(boxes, 2):
        assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1
    assert all(
        left >= 0 and top >= 0 and right <= drawing.width and foot <= drawing.height for left, top, right, foot in boxes
    )
    for (a, b), route in zip(edges, drawing.routes):
        assert boxes[a][3] == pytest.approx(route[0][1])
        assert boxes[b][1] == pytest.approx(route[-1][1])
        assert all(p[1] <= q[1] + 1e-9 for p, q in pairwise(route))


def test_a_notebook_shows_the_drawing() -> None:
    graph = parse(TEXT)
    assert graph._repr_svg_() == graph_svg(graph)
    assert graph._repr_html_() == graph_html(graph)
