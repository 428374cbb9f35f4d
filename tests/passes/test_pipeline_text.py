from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import pytest

from graphc.ir import GraphcError
from graphc.passes import LEVELS, PASSES, AssignLayout, Dce, FuseEpilogue, format_pipeline, parse_pipeline, with_block
from graphc.passes.base import pass_name


def test_a_pass_prints_its_name_and_the_options_that_are_not_default() -> None:
    assert str(Dce()) == "dce"
    assert str(FuseEpilogue(limit=3)) == "fuse_epilogue{limit=3}"
    assert format_pipeline((Dce(), AssignLayout(block=8))) == "dce,assign_layout{block=8}"


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_pipelines_print_and_parse(level: int) -> None:
    pipeline = with_block(LEVELS[level], 8)
    assert parse_pipeline(format_pipeline(pipeline)) == pipeline


def test_spaces_are_allowed() -> None:
    assert parse_pipeline(" dce , fuse_epilogue{limit=3, operands=1} ") == (Dce(), FuseEpilogue(3, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dcee", "pass 'dcee' is unknown"),
        ("dce;cse", "'dce;cse' is not a list of passes"),
        ("dce{x=1}", "pass dce has no option 'x'"),
        ("assign_layout{block=wide}", "option block of pass assign_layout is 'wide', expected int"),
    ],
)
def test_wrong_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        parse_pipeline(text)


@pytest.mark.parametrize("cls", PASSES)
def test_every_pass_is_a_documented_frozen_dataclass_in_a_file_of_its_name(cls: type) -> None:
    assert cls.__module__ == f"graphc.passes.{pass_name(cls)}"
    assert find_spec(cls.__module__) is not None
    assert dataclasses.is_dataclass(cls)
    assert "Handles" in (cls.__doc__ or "") or "Replace" in (cls.__doc__ or "") or "Let" in (cls.__doc__ or "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().block = 3  # type: ignore[attr-defined]


def test_block_one_keeps_everything_plain() -> None:
    assert with_block(LEVELS[2], 1)[-1] == AssignLayout(block=1)
