"""A roofline picture: what arithmetic and memory of a machine allow, by flops for each byte, and kernels below it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 440, 64, 44, 34, 150
LOW, HIGH = 2.0**-4, 2.0**11
"""Flops for a byte at the ends of the axis."""
DECADES = 4
"""Powers of ten from the highest roof downwards."""
COLOURS = ("#4466aa", "#3c8c5a", "#c07820", "#a03c5a", "#6c4ca0", "#20808c")


@dataclass(frozen=True)
class Dot:
    """A kernel. intensity: flops for a byte. rate: FLOP/s. weight: its share of the time, which its area shows."""

    name: str
    intensity: float
    rate: float
    weight: float


def roofline_svg(title: str, roofs: Mapping[str, float], memory: float, dots: Sequence[Dot]) -> str:
    """An ``<svg>`` element. roofs: FLOP/s by name. memory: bytes/s. A dot's net, before the colon, has a colour."""
    top = 10 ** math.ceil(math.log10(max(roofs.values())))
    groups = list(dict.fromkeys(d.name.partition(":")[0] for d in dots))
    colours = {g: COLOURS[i % len(COLOURS)] for i, g in enumerate(groups)}
    parts = [*_axes(title, top), *(line for n, r in roofs.items() for line in _roof(n, r, memory, top))]
    for d in sorted(dots, key=lambda d: -d.weight):
        parts.append(_dot(d, top, colours[d.name.partition(":")[0]]))
    for i, (group, colour) in enumerate(colours.items()):
        y = TOP + 14 + 18 * i
        parts.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{y - 4}" r="5" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT + 26, y, group))
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#223"'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', *parts, "</svg>"])


def _x(intensity: float) -> float:
    place = math.log(min(max(intensity, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + place * (WIDTH - LEFT - RIGHT)


def _y(rate: float, top: float) -> float:
    place = math.log10(top / max(rate, top / 10**DECADES)) / DECADES
    return TOP + place * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(a: tuple[float, float], b: tuple[float, float], colour: str, width: float = 1) -> str:
    ends = f'x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _axes(title: str, top: float) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = ['<rect width="100%" height="100%" fill="#ffffff"/>', _text(LEFT, TOP - 14, title)]
    for k in range(DECADES + 1):
        rate = top / 10**k
        parts.append(_line((LEFT, _y(rate, top)), (right, _y(rate, top)), "#dde"))
        parts.append(_text(LEFT - 6, _y(rate, top) + 4, f"{rate / 1e12:g}", "end"))
    for power in range(round(math.log2(LOW)), round(math.log2(HIGH)) + 1, 2):
        x = _x(2.0**power)
        parts.append(_line((x, TOP), (x, bottom), "#eef"))
        parts.append(_text(x, bottom + 16, f"{2**power}" if power >= 0 else f"1/{2**-power}", "middle"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, "flops for a byte", "middle"))
    parts.append(_text(LEFT - 6, TOP - 14, "TFLOP/s", "end"))
    return parts


def _roof(name: str, rate: float, memory: float, top: float) -> list[str]:
    """The slope of the memory up to a rate, and the rate from there on."""
    start = max(LOW, top / 10**DECADES / memory)
    corner = (_x(rate / memory), _y(rate, top))
    return [
        _line((_x(start), _y(start * memory, top)), corner, "#667", 1.5),
        _line(corner, (WIDTH - RIGHT, corner[1]), "#667", 1.5),
        _text(WIDTH - RIGHT - 4, corner[1] - 5, f"{name} {rate / 1e12:g}", "end"),
    ]


def _dot(dot: Dot, top: float, colour: str) -> str:
    radius = 3 + 22 * math.sqrt(dot.weight)
    tip = (
        f"{dot.name}: {dot.intensity:.2f} flops for a byte, {dot.rate / 1e12:.2f} TFLOP/s, {dot.weight:.1%} of the time"
    )
    place = f'cx="{_x(dot.intensity):.1f}" cy="{_y(dot.rate, top):.1f}" r="{radius:.1f}"'
    return (
        f'<circle {place} fill="{colour}" fill-opacity="0.55" stroke="{colour}"><title>{escape(tip)}</title></circle>'
    )
