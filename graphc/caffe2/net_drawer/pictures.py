"""What is to be seen of a graph in DOT."""

from __future__ import annotations

import re
from typing import Any

from graphc.caffe2.net_drawer.scene import Scene, scene


def said(text: Any) -> str:
    """What text of DOT says: without quotes, with line breaks."""
    word = str(text)
    if len(word) < 2 or word[0] != '"' or word[-1] != '"':
        return word
    marks = {"n": "\n", "l": "\n", "r": "\n"}
    return re.sub(r"\\(.)", lambda m: marks.get(m[1], m[1]), word[1:-1])


def scene_of(graph: Any) -> Scene:
    """The places of a ``Dot``'s nodes and edges; its ``rankdir`` says whether it flows downwards or to the right."""
    nodes = graph.get_nodes()
    number = {node.get_name(): i for i, node in enumerate(nodes)}
    looks = [(said(node.get_attributes().get("label", node.get_name())), node.get_attributes()) for node in nodes]
    edges = []
    for edge in graph.get_edges():
        ends = [number.setdefault(name, len(number)) for name in (edge.get_source(), edge.get_destination())]
        edges.append((ends[0], ends[1], "dashed" in str(edge.get_attributes().get("style", ""))))
    looks += [(said(name), {}) for name in list(number)[len(looks) :]]
    return scene(looks, edges, str(graph.get_attributes().get("rankdir", "TB")).strip('"') in ("LR", "RL"))
