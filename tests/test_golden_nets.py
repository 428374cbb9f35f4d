"""Real Caffe2's whole nets: all in the reference interpreter, some of every kind in machine code.

``python tests/golden_nets.py ../shared/golden_nets`` runs all of them in machine code, which takes longer.
"""

from __future__ import annotations

from pathlib import Path

import golden
import golden_nets
import pytest

COMPILED = {
    "net0008": "an index of integers",
    "net0017": "scopes",
    "net0020": "While",
    "net0026": "RecurrentNetwork, written out",
    "net0129": "an LSTM and its gradient",
    "net0138": "three layers of LSTM and their gradient",
    "net0326": "states without a batch and their gradient",
    "net0369": "strings",
    "net0387": "Do",
    "net0686": "scales that depend on data",
}
"""Nets that are compiled, and what they are of."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden_nets"


def results(folder: Path, names: list[str], target: str) -> list[golden.Result]:
    reader = golden.load_reader(folder.parent / "golden")
    return [golden_nets.result(folder / f"{name}.npz", reader, target) for name in names]


def failures(found: list[golden.Result]) -> list[str]:
    return [f"{r.op} ({r.family[:80]}): {r.reason}" for r in found if r.status == "failed"]


def test_the_reference_gives_caffe2s_answers(folder: Path) -> None:
    found = results(folder, [p.stem for p in sorted(folder.glob("*.npz"))], "reference")
    assert sum(r.status == "passed" for r in found) > 350
    assert not failures(found)


@pytest.mark.parametrize("name", COMPILED)
def test_machine_code_gives_caffe2s_answers(folder: Path, name: str) -> None:
    assert not failures(results(folder, [name], "cpu"))
