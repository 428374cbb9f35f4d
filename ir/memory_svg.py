"""The arena over time as a picture: a rectangle for each buffer, without any external program.

Steps run from left to right, bytes from below; a rectangle's tooltip names its values, size, life and reasons. On the
left every buffer has bytes of its own, on the right they lie as planned. ``docs/memory.md`` explains the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from graphc.ir.memory_check import MemoryReport, rounded
from graphc.ir.schedule import Buffer, Schedule
from graphc.ir.svg import plain

FILLS = {
    "value": "#cfe0f5",
    "shared": "#c9ead2",
    "copy": "#e5d5f2",
    "workspace": "#f9dfb8",
    "kept": "#f3ea9d",
    "recomputed": "#f6cdcd",
}
"""Kind of a buffer -> its colour. value: one value; shared: several, in turn or as parts of one; copy: of a value with
another border; workspace: of a kernel while it runs; kept: to the end, to be fetched; recomputed: computed twice."""

_EDGES = {
    "value": "#5f8fcb",
    "shared": "#4a9d62",
    "copy": "#946abb",
    "workspace": "#cb8428",
    "kept": "#ab9610",
    "recomputed": "#c85a5a",
}
"""Colours of the outlines, and of rectangles that are too thin for any."""

_THIN, _MANY_STEPS = 2.5, 400
_INK, _CURVE, _BOUND = "#223", "#a3262a", "#1f5fae"
_MARGIN, _AXIS, _GAP, _FOOT = 16, 64, 40, 40
_HEIGHT, _BAR, _BAR_WIDTH = 420, 16, 640
_CHARACTER = 6.4


@dataclass(frozen=True)
class MemoryPicture:
    """What is drawn of a schedule. title: a line above it. The report has no violations."""

    title: str
    schedule: Schedule
    report: MemoryReport


def kind(schedule: Schedule, b: Buffer) -> str:
    """What a buffer is for: a key of ``FILLS``."""
    if b.last == len(schedule.steps):
        return "kept"
    if any(reason.startswith("workspace of ") for reason in b.reasons):
        return "workspace"
    if any(reason.startswith("copy of ") for reason in b.reasons):
        return "copy"
    if not set(schedule.memory.recomputed).isdisjoint(b.names):
        return "recomputed"
    return "shared" if len(set(b.names)) > 1 else "value"


def memory_svg(pictures: Sequence[MemoryPicture]) -> str:
    """An ``<svg>`` element with the pictures below each other."""
    parts, width, top = [], 0.0, 0.0
    for picture in pictures:
        wide, high, inside = _draw(picture)
        parts.append(f'<g transform="translate(0,{top:.0f})">\n{inside}\n</g>')
        width, top = max(width, wide), top + high
    size = f'width="{width:.0f}" height="{top:.0f}" viewBox="0 0 {width:.0f} {top:.0f}"'
    font = f'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="{_INK}"'
    ground = f'<rect width="{width:.0f}" height="{top:.0f}" fill="#fff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', ground, *parts, "</svg>"])


def _draw(p: MemoryPicture) -> tuple[float, float, str]:
    """Width, height and elements of one picture."""
    buffers, r = p.schedule.buffers, p.report
    steps = max([1, len(p.schedule.steps), *(b.last + 1 for b in buffers)])
    width = min(max(560.0, 16.0 * steps), 1400.0)
    bars = _bars(p)
    top = 56 + (_BAR + 6) * len(bars) + 34
    left, right = _MARGIN + _AXIS, _MARGIN + 2 * _AXIS + width + _GAP
    before = _Panel(left, top, width, steps, max(r.buffer_sum, 1))
    after = _Panel(right, top, width, steps, max(r.arena, 1))
    parts = [
        f'<text x="{_MARGIN}" y="26" font-size="15" font-weight="bold">{_safe(p.title)}</text>',
        *_bar_parts(bars),
        *before.frame("a place for each buffer"),
        *_rectangles(p, before, _stacked(buffers)),
        *after.frame("as planned"),
        *_rectangles(p, after, [b.offset for b in buffers]),
        *_curve(p, after),
        *_legend(p, left, top + _HEIGHT + _FOOT),
    ]
    return right + width + _MARGIN, top + _HEIGHT + _FOOT + 32, "\n".join(parts)


def _stacked(buffers: Sequence[Buffer]) -> list[int]:
    """Offsets at which no buffer shares bytes with another, in order of their first steps."""
    offsets, at = [0] * len(buffers), 0
    for i in sorted(range(len(buffers)), key=lambda i: (buffers[i].first, buffers[i].last, i)):
        offsets[i] = at
        at += rounded(buffers[i].size)
    return offsets


def _bars(p: MemoryPicture) -> list[tuple[str, int, str]]:
    """Sizes to compare: what, bytes, colour."""
    m, r = p.schedule.memory, p.report
    bars = [("no two values share memory", m.unshared, "#d9dce3")]
    bars += [("a place for each buffer", r.buffer_sum, "#c3cad8")] if r.buffer_sum != m.unshared else []
    bars += [("arena, as planned", r.arena, "#7fa3d1"), ("lower bound", r.lower_bound, _BOUND)]
    return bars


def _bar_parts(bars: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    """Bars on one scale, each with its name before it and its bytes behind it."""
    scale = _BAR_WIDTH / max(1, *(n for _, n, _ in bars))
    for k, (what, n, fill) in enumerate(bars):
        x, y = _MARGIN + 170, 44 + (_BAR + 6) * k
        yield f'<text x="{x - 8}" y="{y + 12}" text-anchor="end">{what}</text>'
        yield f'<rect x="{x}" y="{y}" width="{max(1.0, n * scale):.1f}" height="{_BAR}" fill="{fill}"/>'
        yield f'<text x="{x + 8 + n * scale:.1f}" y="{y + 12}">{size_text(n)}</text>'


@dataclass(frozen=True)
class _Panel:
    """Axes of steps and bytes. left, top, width: of the plot in pixels; it is ``_HEIGHT`` high."""

    left: float
    top: float
    width: float
    steps: int
    nbytes: int

    def x(self, step: float) -> float:
        """Where a step begins."""
        return self.left + self.width * step / self.steps

    def y(self, nbytes: float) -> float:
        """Where a byte begins."""
        return self.top + _HEIGHT * (1 - nbytes / self.nbytes)

    def frame(self, title: str) -> Iterator[str]:
        """Title, axes and ticks."""
        bottom = self.top + _HEIGHT
        yield f'<text x="{self.left:.1f}" y="{self.top - 10:.1f}" font-weight="bold">{title}</text>'
        for n in _ticks(self.nbytes):
            y = self.y(n)
            yield f'<path d="M{self.left:.1f},{y:.1f} h{self.width:.1f}" stroke="#e4e7ee" fill="none"/>'
            yield f'<text x="{self.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{size_text(n)}</text>'
        for n in _ticks(self.steps):
            x = self.x(n)
            yield f'<path d="M{x:.1f},{bottom:.1f} v4" stroke="{_INK}" fill="none"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{n}</text>'
        yield f'<text x="{self.left + self.width:.1f}" y="{bottom + 30:.1f}" text-anchor="end">steps</text>'
        yield f'<path d="M{self.left:.1f},{self.top:.1f} V{bottom:.1f} h{self.width:.1f}" stroke="{_INK}" fill="none"/>'


def _ticks(most: int) -> list[int]:
    """Round numbers from 0 up to ``most``, five to ten of them."""
    step = 1
    while most / step > 10:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return list(range(0, most + 1, step))


def _rectangles(p: MemoryPicture, panel: _Panel, offsets: Sequence[int]) -> Iterator[str]:
    buffers = p.schedule.buffers
    for number, (b, offset, name) in enumerate(zip(buffers, offsets, _names(buffers))):
        if b.size:
            yield _rectangle(panel, number, b, offset, kind(p.schedule, b), name)


def _names(buffers: Sequence[Buffer]) -> list[str]:
    """What rectangles are called: the first value, without a folder that all have in common."""
    names = [b.names[0] if b.names else "" for b in buffers]
    folder = names[0].partition("/")[0] + "/" if names else ""
    return [name.removeprefix(folder) for name in names] if all(n.startswith(folder) for n in names) else names


def _rectangle(panel: _Panel, number: int, b: Buffer, offset: int, what: str, name: str) -> str:
    x, y = panel.x(b.first), panel.y(offset + b.size)
    w, h = panel.x(b.last + 1) - x, panel.y(offset) - y
    thin = min(w, h) < _THIN
    paint = f'fill="{_EDGES[what]}"' if thin else f'fill="{FILLS[what]}" stroke="{_EDGES[what]}" stroke-width="0.7"'
    place = f'x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{max(h, 0.6):.2f}"'
    tip = "\n".join([", ".join(b.names), _facts(b, offset), what, *b.reasons])
    label = _label(x, y, w, h, name, b.size)
    return f'<g data-buffer="{number}"><title>{_safe(tip)}</title><rect {place} {paint}/>{label}</g>'


def _facts(b: Buffer, offset: int) -> str:
    return f"{size_text(b.size)} ({b.size} bytes), offset {offset}, steps {b.first} to {b.last}"


def _label(x: float, y: float, w: float, h: float, name: str, size: int) -> str:
    """The name, upright where that shows more of it, and the size below it; nothing where no part of the name fits."""
    across = _cut(name, w - 8) if h >= 13 and w >= 30 else ""
    along = _cut(name, h - 8) if w >= 13 and h >= 30 else ""
    if len(along) > len(across):
        left, bottom = x + w / 2 + 4, y + h - 4
        place = f'x="{left:.1f}" y="{bottom:.1f}" transform="rotate(-90 {left:.1f} {bottom:.1f})"'
        return f"<text {place}>{_safe(along)}</text>"
    if not across:
        return ""
    below = f'<tspan x="{x + 4:.1f}" dy="12" fill="#556">{size_text(size)}</tspan>' if h >= 27 and w >= 50 else ""
    return f'<text x="{x + 4:.1f}" y="{y + 11:.1f}">{_safe(across)}{below}</text>'


def _cut(text: str, pixels: float) -> str:
    room = int(pixels / _CHARACTER)
    return text if len(text) <= room else text[: max(room - 1, 1)] + "\u2026"


def _curve(p: MemoryPicture, panel: _Panel) -> Iterator[str]:
    """The bytes that live at each step, and the line that no placement goes below."""
    path = f"M{panel.x(0):.1f},{panel.y(0):.1f}"
    for step, n in enumerate(p.report.live[: panel.steps]):
        path += f" V{panel.y(n):.1f} H{panel.x(step + 1):.1f}"
    bound, stroke = panel.y(p.report.lower_bound), 1.4 if panel.steps <= _MANY_STEPS else 0.7
    yield f'<path d="{path}" fill="none" stroke="{_CURVE}" stroke-width="{stroke}" pointer-events="none"/>'
    yield (
        f'<path d="M{panel.left:.1f},{bound:.1f} h{panel.width:.1f}" fill="none" stroke="{_BOUND}" '
        'stroke-width="1.4" stroke-dasharray="6 4" pointer-events="none"/>'
    )


def _legend(p: MemoryPicture, x: float, y: float) -> Iterator[str]:
    """The kinds that occur, then the two lines."""
    present = {kind(p.schedule, b) for b in p.schedule.buffers}
    entries = [
        (what, f'<rect y="-9" width="11" height="11" fill="{FILLS[what]}" stroke="{_EDGES[what]}"/>') for what in FILLS
    ]
    entries = [entry for entry in entries if entry[0] in present]
    entries += [("bytes that live", f'<path d="M0,-4 h14" stroke="{_CURVE}" stroke-width="1.4"/>')]
    entries += [("lower bound", f'<path d="M0,-4 h14" stroke="{_BOUND}" stroke-width="1.4" stroke-dasharray="6 4"/>')]
    for text, mark in entries:
        yield f'<g transform="translate({x:.0f},{y + 14:.0f})">{mark}<text x="18">{text}</text></g>'
        x += 34 + _CHARACTER * len(text)


def size_text(n: int) -> str:
    """``17 B``, ``1.25 MB``, ``20.4 kB``: three digits, in powers of 1000."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n >= factor:
            value = n / factor
            return f"{value:.{0 if value > 99.9 else 1 if value > 9.99 else 2}f} {unit}"
    return f"{n} B"


def _safe(text: str) -> str:
    return escape(plain(text))
