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


SHARED_MORE = {
    "Dropout": "its schema wants an argument, without which nothing was recorded",
    "FP16MomentumSGDUpdate": "its schema stands with the GPU's kernel; Caffe2's optimizers do it",
    "FP32MomentumSGDUpdate": "its schema stands with the GPU's kernel; Caffe2's optimizers do it",
    "Float16UniformFill": "a fill",
    "SoftmaxGradient": "recorded cases do it",
    "SparseMomentumSGDUpdate": "recorded cases do it",
    "SpatialBN": "its schema wants an argument, without which nothing was recorded",
    "SpatialBNGradient": "the gradient that Caffe2 makes does it",
    "WeightedSum": "recorded cases do it",
    "rnn_internal_accumulate_gradient_input": "the gradient nets of recurrent networks do it",
}
"""Operators that may share more blobs than Caffe2's recorded schemas say, and why."""


def test_blobs_are_shared_as_in_caffe2(operators: dict[str, Any]) -> None:
    """The pairs were recorded for the first 8 inputs and outputs. Operators with nets may write what they like."""
    for name, schema in operators.items():
        record = registry().get(name)
        if record is None or refusal(name) or len(schema.get("inplace_allowed") or ()) == 64:
            continue
        must = {(i, k) for i, k in schema.get("inplace_enforced") or ()}
        may = must | {(i, k) for i, k in schema.get("inplace_allowed") or ()}
        enforced = {p for p in record.enforced if max(p) < 8}
        mine = enforced | {p for p in record.inplace if max(p) < 8}
        fills_from_values = [a["name"] for a in schema.get("args") or () if a["required"]] == ["values"]
        if name in SHARED_MORE or fills_from_values:
            assert may <= mine, name
        else:
            assert (mine, enforced) == (may, must), name
