"""Real Caffe2's recorded answers: every case in the reference interpreter, which runs loops in Python.

In machine code, a loop of each family: to compile those of all operators takes a quarter of an hour, which
``python tests/golden.py ../shared/golden`` does. Kernels that are no loops have tests in ``tests/backends/cpu``.
"""

from __future__ import annotations

from pathlib import Path

import golden
import pytest

from graphc.ir import registry
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
    operators = {record.family: name for name, record in sorted(registry().items()) if _is_recorded_loop(name, folder)}
    assert len(operators) > 70
    cases = {case.type: case for case in golden.all_cases(reader, folder, list(operators.values()))}
    results = list(golden.Runner(reader, "cpu").run(list(cases.values())))
    assert not failures(results)


def _is_recorded_loop(name: str, folder: Path) -> bool:
    return registry()[name].loop is not None and (folder / f"{name}.npz").exists()
