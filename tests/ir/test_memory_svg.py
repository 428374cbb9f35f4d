"""The picture of the arena: its rectangles are the buffers, and whatever a blob is called it stays a picture."""

from __future__ import annotations

import random
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from graphc.ir.memory_check import check_memory
from graphc.ir.memory_html import memory_html
from graphc.ir.memory_svg import FILLS, MemoryPicture, kind, memory_svg, size_text
from graphc.ir.schedule import Address, Buffer, KernelSpec, MemoryPlan, Schedule, Task

SVG = "{http://www.w3.org/2000/svg}"
KERNEL = KernelSpec.make("k")
Box = tuple[float, float, float, float]


def picture(n: int, name: str = "blob {}") -> MemoryPicture:
    """A chain of ``n`` buffers in turn below and above each other, with sizes from 1 byte to a megabyte."""
    r = random.Random(n)
    sizes = [64 * r.choice((1, 10, 300, 16_000)) for _ in range(n)]
    half = max(sizes, default=0)
    offsets = [half * (i % 2) for i in range(n)]
    buffers = [Buffer((name.format(i),), offsets[i], sizes[i], i, min(i + 1, n - 1)) for i in range(n)]
    steps = [(Task(KERNEL, tuple(Address("arena", offsets[j], j) for j in (i - 1, i) if j >= 0), 1),) for i in range(n)]
    bound = max((a + b for a, b in pairwise(sizes)), default=half)
    schedule = Schedule("t", [], [], steps, 2 * half, 0, [], buffers, memory=MemoryPlan(bound, False, "", sum(sizes)))
    report = check_memory(schedule)
    assert report.ok, report.violations
    return MemoryPicture("title <of> a & b", schedule, report)


def boxes(svg: str) -> list[list[Box]]:
    """x, y, width, height of the rectangles of buffers: those on the left, those on the right."""
    groups = [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if "data-buffer" in g.attrib]
    found = []
    for g in groups:
        rect = g.find(f"{SVG}rect")
        assert rect is not None
        found.append(tuple(float(rect.attrib[k]) for k in ("x", "y", "width", "height")))
    return [found[: len(found) // 2], found[len(found) // 2 :]]  # type: ignore[list-item]


def apart(a: Box, b: Box) -> bool:
    """They share no more than an edge, at two digits after the point and a least height of 0.6 pixels."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return wide < 0.03 or high < 0.65


@pytest.mark.parametrize("n", [1, 20, 300])
def test_rectangles_lie_apart_on_both_sides(n: int) -> None:
    before, after = boxes(memory_svg([picture(n)]))
    assert len(before) == len(after) == n
    for side in (before, after):
        assert all(apart(a, b) for i, a in enumerate(side) for b in side[:i])
    assert all(a[0] + a[2] < b[0] for a in before for b in after), "side by side"


def test_areas_are_bytes_times_steps() -> None:
    p = picture(20)
    for side, height in zip(boxes(memory_svg([p])), (p.report.buffer_sum, p.report.arena)):
        for (_, _, w, h), b in zip(side, p.schedule.buffers):
            assert w == pytest.approx(560 * (b.last + 1 - b.first) / 20, abs=0.02)
            assert h == pytest.approx(max(0.6, 420 * b.size / height), abs=0.02)


def test_two_thousand_buffers() -> None:
    svg = memory_svg([picture(2000)])
    assert len(svg) < 2_000_000
    assert sum(map(len, boxes(svg))) == 4000


def test_a_schedule_without_memory_is_drawn() -> None:
    assert boxes(memory_svg([picture(0)])) == [[], []]


@pytest.mark.parametrize("name", ["</title><script>alert(1)</script>{}", '"&<>{}', "\x00\x1b[2J\ud800{}", "gpu_0/{}"])
def test_names_are_text(name: str) -> None:
    """Whatever a blob is called, the picture is XML, and nothing of the name is markup."""
    p = picture(5, name)
    tags = {e.tag for e in ElementTree.fromstring(memory_svg([p])).iter()}
    assert tags == {f"{SVG}{tag}" for tag in ("svg", "g", "rect", "path", "text", "tspan", "title")} & tags
    page = memory_html([p])
    page.encode("utf-8")
    assert page.count("<script") == 1


def test_a_page_needs_nothing_from_outside() -> None:
    page = memory_html([picture(5), picture(6)])
    assert page.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0
    assert "src=" not in page
    assert "@import" not in page
    assert page.count('data-buffer="5"') == 2, "the first picture has five buffers, the second six"


def test_kinds() -> None:
    steps = [()] * 4
    memory = MemoryPlan(recomputed=("r",))
    schedule = Schedule("t", [], [], steps, 0, 0, [], [], memory=memory)  # type: ignore[arg-type]
    cases = {
        "value": Buffer(("a",), 0, 1, 0, 3),
        "shared": Buffer(("a", "b"), 0, 1, 0, 3, ("b overwrites a",)),
        "workspace": Buffer(("workspace of y",), 0, 1, 0, 0, ("workspace of Conv",)),
        "copy": Buffer(("a",), 0, 1, 0, 1, ("copy of a with the border (1, 1, 1, 1) that its readers need",)),
        "kept": Buffer(("a",), 0, 1, 0, 4, ("a is kept, to be fetched after the run",)),
        "recomputed": Buffer(("r",), 0, 1, 2, 3),
    }
    assert {what: kind(schedule, b) for what, b in cases.items()} == {what: what for what in FILLS}


def test_sizes_as_text() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.00 kB", 12_345: "12.3 kB", 999_999: "1000 kB", 10**6: "1.00 MB"}
    assert {n: size_text(n) for n in sizes} == sizes
    assert size_text(2**63) == "9223372037 GB"
