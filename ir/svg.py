"""Graph -> SVG without any external program, for notebooks and pages."""

from __future__ import annotations

from html import escape

from graphc.ir.dot import node_label, shape_text, shorten
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.layers import Point, lay_out
from graphc.ir.opdef import registry
from graphc.ir.printer import graph_lines

_FONT, _LINE, _PAD = 11, 14, 8
_CHARACTER = 6.4
_FILLS = ("#eef3fa", "#e9f5ec", "#fdf3e1", "#f6ecf7", "#e6f4f5", "#fbeaea", "#f1f1e6", "#ececf8")
_INPUT, _OUTPUT = "#d5ecd0", "#fbe6b0"


def graph_svg(graph: Graph) -> str:
    """An ``<svg>`` element: operators in rows from the inputs down to the outputs, each with its text as tooltip.

    Weights are named in the box that reads them. Sub-graphs are not drawn; their operator's tooltip has them.
    """
    boxes: list[tuple[list[str], str, str]] = []
    number: dict[Value | Node, int] = {}
    edges: list[tuple[int, int]] = []
    for v in graph.inputs:
        number[v] = len(boxes)
        boxes.append(([v.name, shape_text(v.type)], _INPUT, f"input {v.name} : {v.type}"))
    for node, tip in _node_texts(graph):
        number[node] = len(boxes)
        edges += [(number[v.producer or v], len(boxes)) for v in node.operands if v is not None and not v.is_constant]
        boxes.append((node_label(node), _fill(node), tip))
    for v, name in zip(graph.outputs, graph.output_names):
        if not v.is_constant:
            edges.append((number[v.producer or v], len(boxes)))
        boxes.append(([shorten(name)], _OUTPUT, f"output {name} : {v.type}"))
    boxes = [([line for line in lines if line], fill, tip) for lines, fill, tip in boxes]
    sizes = [(_PAD * 2 + _CHARACTER * max(map(len, b[0]), default=0), _PAD + _LINE * len(b[0])) for b in boxes]
    drawing = lay_out(sizes, list(dict.fromkeys(edges)))
    edge_parts = [_edge(route) for route in drawing.routes]
    box_parts = [_box(centre, size, *box) for centre, size, box in zip(drawing.centres, sizes, boxes)]
    return _page(drawing.width, drawing.height, edge_parts, box_parts)


def graph_html(graph: Graph) -> str:
    """An HTML fragment: the drawing in a frame that scrolls, and the text folded away below it."""
    text = "\n".join(line for _, line in graph_lines(graph))
    return (
        f'<div style="max-height:40em;overflow:auto;border:1px solid #ccc">{graph_svg(graph)}</div>'
        f"<details><summary>text of {escape(graph.name)}</summary><pre>{escape(plain(text))}</pre></details>"
    )


def _node_texts(graph: Graph) -> list[tuple[Node, str]]:
    """Each node with its lines of text."""
    found: list[tuple[Node, list[str]]] = []
    for node, line in graph_lines(graph):
        if node is not None:
            found.append((node, [line.strip()]))
        elif found and line.startswith("    "):
            found[-1][1].append(line)
    return [(node, "\n".join(lines)) for node, lines in found]


def _fill(node: Node) -> str:
    """One colour for each family of operators, white for operators without a record."""
    families = list(dict.fromkeys(record.family for record in registry().values()))
    record = registry().get(node.op)
    return _FILLS[families.index(record.family) % len(_FILLS)] if record else "#ffffff"


def _box(centre: Point, size: tuple[float, float], lines: list[str], fill: str, tip: str) -> str:
    (x, _), (w, h) = centre, size
    top = centre[1] - h / 2
    place = f'x="{x - w / 2:.1f}" y="{top:.1f}" width="{w:.1f}" height="{h:.1f}" rx="5"'
    parts = [f"<title>{escape(plain(tip))}</title>", f'<rect {place} fill="{fill}" stroke="#99a"/>']
    for i, line in enumerate(lines):
        weight = ' font-weight="bold"' if i == 0 else ""
        parts.append(f'<text x="{x:.1f}" y="{top + _LINE * (i + 1):.1f}"{weight}>{escape(plain(line))}</text>')
    return f"<g>{''.join(parts)}</g>"


def _edge(route: list[Point]) -> str:
    """A curve that leaves and arrives vertically at each point of the route; without pieces too short to see."""
    (x, y), path = route[0], f"M{route[0][0]:.1f},{route[0][1]:.1f}"
    for px, py in route[1:]:
        if abs(px - x) + abs(py - y) < 0.5:
            continue
        middle = (y + py) / 2
        path += f" C{x:.1f},{middle:.1f} {px:.1f},{middle:.1f} {px:.1f},{py:.1f}"
        x, y = px, py
    return f'<path d="{path}" marker-end="url(#graphc-arrow)"/>'


def _page(width: float, height: float, edges: list[str], boxes: list[str]) -> str:
    """The element; all its style is in attributes, since a style sheet would apply to the page around it."""
    arrow = (
        '<defs><marker id="graphc-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#667" stroke="none"/></marker></defs>'
    )
    font = f'font-family="Helvetica, Arial, sans-serif" font-size="{_FONT}" text-anchor="middle"'
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} fill="#223">',
            arrow,
            '<g fill="none" stroke="#667">',
            *edges,
            "</g>",
            *boxes,
            "</svg>",
        ]
    )


def plain(text: str) -> str:
    """Text that XML can hold: control characters and lone surrogates become U+FFFD."""
    return "".join(c if c in "\n\t" or (c >= " " and not "\ud800" <= c <= "\udfff") else "\ufffd" for c in text)
