"""Real Caffe2's recorded answers: every case in the reference interpreter, one of each operator in machine code.

``python tests/golden.py ../shared/golden`` runs all of them in machine code, which takes longer.
"""

from __future__ import annotations

from pathlib import Path

import golden
import pytest

from graphc.ir.ops.unsupported import refusal


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden"


def failures(results: list[golden.Result]) -> list[str]:
    return [f"{r.op} case {r.case}: {r.reason}" for r in results if r.status == "failed"]


def test_the_reference_gives_caffe2s_answers(folder: Path) -> None:
    reader = golden.load_reader(folder)
    results = list(golden.Runner(reader, "reference").run(golden.all_cases(reader, folder)))
    assert len([r for r in results if r.status == "passed"]) > 2800
    assert not failures(results)


@pytest.mark.parametrize("known", ["all", "ranks", "nothing"])
def test_inference_agrees_with_caffe2s_answers(known: str, folder: Path) -> None:
    cases = [c for c in golden.all_cases(golden.load_reader(folder), folder) if not refusal(c.type)]
    found = [(f"{c.type} case {c.index}", golden.inferred_wrongly(c, known)) for c in cases]
    assert not [f"{where}: {text}" for where, text in found if text]


def test_machine_code_gives_caffe2s_answers(folder: Path) -> None:
    reader = golden.load_reader(folder)
    cases = {case.type: case for case in golden.all_cases(reader, folder)}
    results = list(golden.Runner(reader, "cpu").run(list(cases.values())))
    assert not failures(results)
