"""Every operator of real Caffe2 is known: it has a record, or a refusal that says why it has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graphc.ir import Trait, registry
from graphc.ir.ops.unsupported import refusal


@pytest.fixture(scope="module")
def operators(shared: Path) -> dict[str, Any]:
    """Caffe2's schemas by name, without the variants that are chosen by an engine."""
    found = json.loads((shared / "golden" / "operators.json").read_text())["operators"]
    return {o["name"]: o for o in found if "_ENGINE_" not in o["name"]}


def _meaning(name: str) -> bool:
    record = registry().get(name)
    return record is not None and any((record.scalar, record.loop, record.reference))


def test_every_operator_is_known(operators: dict[str, Any]) -> None:
    assert not {n for n in operators if n not in registry() and refusal(n) is None}


def test_a_record_has_a_meaning_or_a_refusal(operators: dict[str, Any]) -> None:
    def passes_on(name: str) -> bool:
        return bool(registry()[name].traits & (Trait.IDENTITY | Trait.VIEW))

    empty = {n for n in operators if n in registry() and not _meaning(n) and refusal(n) is None and not passes_on(n)}
    assert not empty
