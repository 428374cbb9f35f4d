"""A drawing as SVG."""

from __future__ import annotations

from html import escape
from typing import Any

from graphc.caffe2.net_drawer.pictures import scene_of
from graphc.caffe2.net_drawer.scene import FONT, LINE, Box, Scene
from graphc.ir.layers import Point
from graphc.ir.svg import plain

_ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" fill="#000"/></marker></defs>'
)


def draw_svg(graph: Any) -> bytes:
    """The SVG document of a ``Dot``."""
    drawn = scene_of(graph)
    size = f'width="{drawn.width:.0f}" height="{drawn.height:.0f}" viewBox="0 0 {drawn.width:.0f} {drawn.height:.0f}"'
    font = f'font-family="Helvetica, Arial, sans-serif" font-size="{FONT}" text-anchor="middle"'
    edges = [_edge(drawn, route, dashed) for route, dashed in zip(drawn.routes, drawn.dashed)]
    boxes = [_box(box) for box in drawn.boxes]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', _ARROW, *edges, *boxes, "</svg>\n"]
    return "\n".join(parts).encode("utf-8", "replace")


def _edge(drawn: Scene, route: Any, dashed: bool) -> str:
    """A curve that leaves and arrives along the flow at each point."""
    (x, y), path = route[0], f"M{route[0][0]:.1f},{route[0][1]:.1f}"
    for px, py in route[1:]:
        middle = ((x + px) / 2, (y + py) / 2)
        bends = ((middle[0], y), (middle[0], py)) if drawn.sideways else ((x, middle[1]), (px, middle[1]))
        path += " C" + " ".join(f"{a:.1f},{b:.1f}" for a, b in (*bends, (px, py)))
        x, y = px, py
    style = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="#000"{style} marker-end="url(#arrow)"/>'


def outline(box: Box) -> list[Point]:
    """The corners of a box that is no ellipse."""
    (x, y), (w, h) = box.centre, box.size
    left, right, top, bottom = x - w / 2, x + w / 2, y - h / 2, y + h / 2
    if box.shape != "octagon":
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    cut = h * 0.3
    upper = [(left, top + cut), (left + cut, top), (right - cut, top), (right, top + cut)]
    return [*upper, (right, bottom - cut), (right - cut, bottom), (left + cut, bottom), (left, bottom - cut)]


def _box(box: Box) -> str:
    (x, y), (w, h) = box.centre, box.size
    colours = f'fill="{escape(box.fill)}" stroke="#000"'
    if box.shape in ("ellipse", "oval", "circle"):
        parts = [f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{w / 2:.1f}" ry="{h / 2:.1f}" {colours}/>']
    else:
        parts = [f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in outline(box))}" {colours}/>']
    first = y - LINE * (len(box.lines) - 1) / 2 + FONT * 0.35
    for i, line in enumerate(box.lines):
        place = f'x="{x:.1f}" y="{first + LINE * i:.1f}"'
        parts.append(f'<text {place} fill="{escape(box.text_colour)}">{escape(plain(line))}</text>')
    return f"<g>{''.join(parts)}</g>"
