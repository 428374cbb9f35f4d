"""A drawing as pixels, painted by Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont

from graphc.caffe2.net_drawer.pictures import scene_of
from graphc.caffe2.net_drawer.scene import LINE, Box
from graphc.caffe2.net_drawer.svg import outline
from graphc.ir.layers import Point

MOST_PIXELS = 1 << 26
"""Larger drawings are made smaller."""
_ARROW = 6.0


def paint_png(graph: Any) -> bytes:
    """The PNG file of a ``Dot``."""
    return _painted(graph, "PNG")


def paint_pdf(graph: Any) -> bytes:
    """The PDF document of a ``Dot``, of one page that holds pixels."""
    return _painted(graph, "PDF")


def _painted(graph: Any, format: str) -> bytes:
    drawn = scene_of(graph)
    scale = min(1.0, math.sqrt(MOST_PIXELS / max(drawn.width * drawn.height, 1)))
    picture = Image.new("RGB", (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for route in drawn.routes:
        _edge(pen, [(x * scale, y * scale) for x, y in route], scale)
    for box in drawn.boxes:
        _box(pen, box, scale, font)
    file = io.BytesIO()
    picture.save(file, format)
    return file.getvalue()


def _edge(pen: Any, route: Sequence[Point], scale: float) -> None:
    pen.line(list(route), fill="black", width=1)
    (ax, ay), (bx, by) = next((a, b) for a, b in zip(route[-2::-1], [route[-1]] * len(route)))
    along = math.atan2(by - ay, bx - ax)
    wings = [
        (bx - _ARROW * scale * math.cos(along + t), by - _ARROW * scale * math.sin(along + t)) for t in (0.4, -0.4)
    ]
    pen.polygon([(bx, by), *wings], fill="black")


def _box(pen: Any, box: Box, scale: float, font: Any) -> None:
    fill = _colour(box.fill, "white")
    if box.shape in ("ellipse", "oval", "circle"):
        (x, y), (w, h) = box.centre, box.size
        corners = [(x - w / 2) * scale, (y - h / 2) * scale, (x + w / 2) * scale, (y + h / 2) * scale]
        pen.ellipse(corners, fill=fill, outline="black")
    else:
        pen.polygon([(a * scale, b * scale) for a, b in outline(box)], fill=fill, outline="black")
    if scale < 0.5:
        return  # nobody could read it
    x, y = box.centre
    for i, line in enumerate(box.lines):
        text = line.encode("latin-1", "replace").decode("latin-1")  # what Pillow's own font has
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        middle = y + LINE * (i - (len(box.lines) - 1) / 2)
        corner = x * scale - (left + right) / 2, middle * scale - (top + bottom) / 2
        pen.text(corner, text, fill=_colour(box.text_colour, "black"), font=font)


def _colour(name: str, instead: str) -> Any:
    """A colour of Pillow's; Graphviz knows more names."""
    try:
        return ImageColor.getrgb(name)
    except ValueError:
        return ImageColor.getrgb(instead)
