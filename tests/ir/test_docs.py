"""The examples of docs/ir.md run and print what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from graphc.ir import parse, parse_schedule, print_graph, print_schedule

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ir.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def test_the_examples_print_what_the_page_says() -> None:
    program: dict[str, object] = {}
    printed = ""
    checked = 0
    for language, code in blocks():
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(code, PAGE.name, "exec"), program)
            printed = output.getvalue()
        elif printed:
            assert code == printed
            checked += 1
            printed = ""
    assert checked == 4


def test_the_sample_texts_come_back() -> None:
    texts = [code.rstrip("\n") for language, code in blocks() if language == "text"]
    graphs = [t for t in texts if t.startswith("graph")]
    schedules = [t for t in texts if t.startswith("schedule")]
    assert graphs
    assert schedules
    for text in graphs:
        assert print_graph(parse(text)) == text
    for text in schedules:
        parsed = parse_schedule(text)
        name = parsed.kernels[0].name
        assert print_schedule(parsed) == text.replace("conv_direct_1a2b3c4d", name)
