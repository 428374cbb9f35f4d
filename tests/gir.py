"""Tests that are files: ``tests/text/**/*.gir``. pytest collects them through ``conftest.py``.

A file holds cases, separated by lines of ``====``. A case is a graph, a line ``----`` and the exact text expected::

    // run: cse,dce
    graph "g" stage=typed {
      ...
    }
    ----
    graph "g" stage=typed {
      ...
    }

``// run:`` lists passes as ``parse_pipeline`` takes them; ``verify`` may stand among them; without it the graph is
only parsed and printed. What is printed has to parse back to the same text. Of a case that ends in an error the text
expected is ``error: `` and the whole message. ``pytest --update-golden`` writes what comes out into the files.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from graphc.ir import GraphcError, parse, print_graph, verify
from graphc.passes import PASSES
from graphc.passes.base import parse_pipeline
from graphc.passes.manager import run_pipeline

CASE, EXPECTED = "====", "----"
_RUN = re.compile(r"//\s*run:(.*)")
_STEPS = re.compile(r",(?![^{]*\})")


@dataclass
class Case:
    """Text before and after ``----``; the text before keeps its comments."""

    before: str
    expected: str

    @property
    def title(self) -> str:
        """The first comment that is no ``run:`` line, else the pipeline, else nothing."""
        comments = [line[2:].strip() for line in self.before.splitlines() if line.startswith("//")]
        return next((c for c in comments if not c.startswith("run:")), ",".join(steps(self.before)))

    def outcome(self) -> str:
        """What graphc makes of the text before."""
        try:
            graph = parse(self.before)
            for step in steps(self.before):
                if step == "verify":
                    verify(graph)
                else:
                    run_pipeline(graph, parse_pipeline(step, PASSES), check=2)
        except GraphcError as error:
            return f"error: {error}"
        text = print_graph(graph)
        assert print_graph(parse(text)) == text, "what is printed does not parse back to the same text"
        return text


def steps(text: str) -> list[str]:
    """The steps of the ``run:`` lines."""
    found = [step.strip() for line in _RUN.findall(text) for step in _STEPS.split(line)]
    return [step for step in found if step]


def read_cases(text: str) -> list[Case]:
    """The cases of a file; raises ``ValueError`` for one without ``----``."""
    cases = []
    for part in re.split(rf"^{CASE}\n", text, flags=re.MULTILINE):
        before, mark, expected = re.split(rf"^({EXPECTED})\n", part, maxsplit=1, flags=re.MULTILINE)
        assert mark
        cases.append(Case(before, expected.rstrip("\n")))
    return cases


def write_cases(cases: list[Case]) -> str:
    """Inverse of ``read_cases``."""
    return f"{CASE}\n".join(f"{case.before}{EXPECTED}\n{case.expected}\n" for case in cases)


class GirFile(pytest.File):
    """One ``.gir`` file."""

    def collect(self) -> Iterator[GirItem]:
        """An item for each case."""
        for i, case in enumerate(read_cases(self.path.read_text(encoding="utf-8"))):
            yield GirItem.from_parent(self, name=f"{i} {case.title}".strip(), index=i)


class GirItem(pytest.Item):
    """One case of a file."""

    def __init__(self, *, index: int, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]  # pytest's own arguments
        self.index = index

    def runtest(self) -> None:
        """Compare what comes out with what is expected, or write it down."""
        cases = read_cases(self.path.read_text(encoding="utf-8"))
        case = cases[self.index]
        outcome = case.outcome()
        if outcome == case.expected:
            return
        if self.config.getoption("--update-golden"):
            case.expected = outcome
            self.path.write_text(write_cases(cases), encoding="utf-8")
            return
        raise Mismatch(case.expected, outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The difference line by line; for other failures the usual trace."""
        if isinstance(excinfo.value, Mismatch):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where pytest says that the test is."""
        return self.path, 0, self.name


class Mismatch(Exception):
    """What came out is not what is expected."""

    def __init__(self, expected: str, outcome: str) -> None:
        lines = difflib.unified_diff(expected.splitlines(), outcome.splitlines(), "expected", "outcome", lineterm="")
        super().__init__("\n".join(lines) + "\n(pytest --update-golden writes the outcome into the file)")
