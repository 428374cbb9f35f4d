"""Where the boxes and edges of a drawing are, without Graphviz."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphc.ir.layers import Point, lay_out

FONT, LINE, PAD = 11, 14, 10
CHARACTER = 6.4
"""Width of a character of the font size, in pixels, on the average."""


@dataclass(frozen=True)
class Box:
    """A node: its middle, size, lines of text, shape (box, octagon, ellipse) and colours."""

    centre: Point
    size: tuple[float, float]
    lines: Sequence[str]
    shape: str
    fill: str
    text_colour: str


@dataclass(frozen=True)
class Scene:
    """Boxes, and edges as points from one to another; dashed: which of the edges are."""

    width: float
    height: float
    boxes: Sequence[Box]
    routes: Sequence[Sequence[Point]]
    dashed: Sequence[bool]
    sideways: bool


def scene(nodes: Sequence[tuple[str, dict[str, Any]]], edges: Sequence[tuple[int, int, bool]], sideways: bool) -> Scene:
    """Places for nodes, given as label and attributes, and edges, as two numbers of nodes and whether they are dashed.

    sideways: from left to right instead of downwards. Edges that close a circle are drawn against the flow.
    """
    lines = [label.split("\n") for label, _ in nodes]
    sizes = [(PAD * 2 + CHARACTER * max(map(len, text)), PAD + LINE * len(text)) for text in lines]
    order = _order(len(nodes), [(a, b) for a, b, _ in edges])
    place = {node: k for k, node in enumerate(order)}
    pairs = list(dict.fromkeys(tuple(sorted((place[a], place[b]))) for a, b, _ in edges if a != b))
    kinds = {tuple(sorted((place[a], place[b]))): dashed for a, b, dashed in edges}
    backwards = {tuple(sorted((place[a], place[b]))) for a, b, _ in edges if place[a] > place[b]}
    turned = [sizes[i][::-1] if sideways else sizes[i] for i in order]
    drawing = lay_out(turned, [(a, b) for a, b in pairs])
    flip = (lambda p: (p[1], p[0])) if sideways else (lambda p: p)
    boxes = [
        Box(flip(drawing.centres[place[i]]), sizes[i], lines[i], *_look(attributes))
        for i, (_, attributes) in enumerate(nodes)
    ]
    routes = [
        [flip(p) for p in (route[::-1] if pair in backwards else route)] for pair, route in zip(pairs, drawing.routes)
    ]
    width, height = flip((drawing.width, drawing.height))
    return Scene(width, height, boxes, routes, [kinds[pair] for pair in pairs], sideways)


def _look(attributes: dict[str, Any]) -> tuple[str, str, str]:
    filled = "filled" in str(attributes.get("style", ""))
    colour = attributes.get("fillcolor", attributes.get("color", "#d3d3d3")) if filled else "#ffffff"
    return str(attributes.get("shape", "ellipse")), str(colour), str(attributes.get("fontcolor", "#000000"))


def _order(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The nodes so that edges lead forwards, except such as close a circle; near to the order given."""
    sources: list[list[int]] = [[] for _ in range(n)]
    for a, b in edges:
        sources[b].append(a)
    found: dict[int, None] = {}
    entered: set[int] = set()
    for first in range(n):
        stack = [first]
        while stack:
            node = stack[-1]
            missing = [] if node in entered else [s for s in sources[node] if s not in found and s not in entered]
            entered.add(node)
            if missing:
                stack += reversed(missing)
                continue
            stack.pop()
            found.setdefault(node)
    return list(found)
