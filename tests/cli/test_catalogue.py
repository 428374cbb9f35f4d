"""``graphc ops``: one operator in full, a family, plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from graphc.catalogue import entries
from graphc.cli.catalogue import ops
from graphc.ir import GraphcError, Trait, registry


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(ops, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def plain(name: str) -> dict[str, Any]:
    (found,) = json.loads(shown(name, "--json"))
    return found


def test_every_operator_is_listed_under_its_family() -> None:
    listed = [e.record.name for e in entries()]
    assert sorted(listed) == sorted(r.name for r in registry().values() if Trait.INTERNAL not in r.traits)
    pools = [e.record.name for e in entries(family="nn.pool")]
    assert pools == sorted(pools)
    assert {"MaxPool", "AveragePool"} <= set(pools)
    assert f"{len(listed)} operators" in shown()


def test_one_operator_in_full() -> None:
    text = shown("Clip")
    assert "input  X: float" in text
    assert "in place: X -> Y" in text
    assert "gradient: ClipGradient: O0 GO0 -> GI0" in text
    assert "how: pointwise" in text
    assert "avx512" in text or "portable" in text


def test_plain_data() -> None:
    conv = plain("Conv")
    assert [i["name"] for i in conv["inputs"]][:1] == ["X"]
    assert conv["inputs"][2]["optional"]
    assert conv["arguments"]["group"] == {
        "kind": "int",
        "default": "1",
        "choices": [],
        "doc": "channels are divided into so many independent groups",
    }
    assert any(word.startswith("kernel") and "conv_direct" in word for word in conv["how"])
    assert conv["gradient"].startswith("rule: ")
    assert plain("ConstantFill")["gradient"] == "none"
    assert plain("Floor")["gradient"] == "-"


def test_what_cannot_run_has_no_target() -> None:
    assert plain("Load")["targets"] == []
    assert plain("Load")["how"] == []


def test_unknown_family() -> None:
    with pytest.raises(GraphcError, match=r"families: elementwise\.activation"):
        entries(family="convolutions")
