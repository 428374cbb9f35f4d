"""Running a pipeline: one callback between passes verifies, times, prints, dumps; a wrong result is bisected."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.ir import Graph, GraphcError
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph
from graphc.ir.reference import evaluate
from graphc.ir.verify import verify
from graphc.passes.base import Pass, format_pipeline

Callback = Callable[["Pass | None", Graph, "Pass | None"], None]
"""``callback(previous, graph, next)``: before the first pass previous is None, after the last next is None."""

_STAGES = ("imported", "typed", "optimised")


class PassError(Exception):
    """A pass broke the graph or lied about a change: a defect of graphc, not of the user's net."""


@dataclass(frozen=True)
class Record:
    """What one pass of a run did: whether it changed the graph, and seconds without the checks."""

    step: Pass
    changed: bool
    seconds: float


def check_level() -> int:
    """``GRAPHC_CHECK``: 0 nothing, 1 (default) verify after each pass that changed the graph, 2 after every one, and
    check the round trip and ``changed`` too."""
    text = os.environ.get("GRAPHC_CHECK", "1")
    if text not in ("0", "1", "2"):
        raise GraphcError(f"GRAPHC_CHECK is '{text}'", "set it to 0, 1 or 2")
    return int(text)


def run_pipeline(
    graph: Graph,
    pipeline: Sequence[Pass],
    callback: Callback | None = None,
    *,
    check: int | None = None,
    stop_after: int | None = None,
) -> list[Record]:
    """Run passes on ``graph`` in place and say what each did.

    check: level as in ``check_level`` (its value by default). stop_after: run only the first so many passes. Raises
    ``VerifyError`` if the graph is wrong to begin with, ``GraphcError`` if a pass comes before one that it needs,
    ``PassError`` naming the pass and its predecessors if a pass makes it wrong, and what a pass raises about the user's
    net (``GraphcError``) as it is.
    """
    level = check_level() if check is None else check
    steps = tuple(pipeline[:stop_after])
    if level:
        verify(graph)
    records: list[Record] = []
    for i, step in enumerate(steps):
        if callback:
            callback(steps[i - 1] if i else None, graph, step)
        records.append(_run_one(graph, steps, i, level))
    if callback:
        callback(steps[-1] if steps else None, graph, None)
    return records


def _run_one(graph: Graph, steps: Sequence[Pass], i: int, level: int) -> Record:
    step = steps[i]
    if _STAGES.index(graph.stage) < _STAGES.index(step.requires):
        raise GraphcError(
            f"{_describe(steps, i)} needs a graph of stage {step.requires}, this one is {graph.stage}",
            "begin the pipeline with infer_types",
        )
    before = print_graph(graph) if level > 1 else ""
    start = time.perf_counter()
    try:
        changed = step.run(graph)
    except GraphcError:
        raise
    except Exception as error:
        raise PassError(f"{_describe(steps, i)} failed: {type(error).__name__}: {error}") from error
    seconds = time.perf_counter() - start
    _check(graph, steps, i, level, before, changed)
    return Record(step, changed, seconds)


def _check(graph: Graph, steps: Sequence[Pass], i: int, level: int, before: str, changed: bool) -> None:
    try:
        if level > 1 or (level and changed):
            verify(graph)
        if level < 2:
            return
        text = print_graph(graph)
        if not changed and text != before:
            raise PassError(f"{_describe(steps, i)} changed the graph and said that it did not")
        again = print_graph(parse(text))
    except GraphcError as error:
        raise PassError(f"{_describe(steps, i)} broke the graph: {error}") from error
    if again != text:
        raise PassError(f"after {_describe(steps, i)} the graph's text does not parse to the same graph")


def _describe(steps: Sequence[Pass], i: int) -> str:
    return f"pass {steps[i]} (after {format_pipeline(steps[:i]) or 'no other'})"


def together(*callbacks: Callback) -> Callback:
    """One callback that calls several in order."""

    def callback(previous: Pass | None, graph: Graph, following: Pass | None) -> None:
        for c in callbacks:
            c(previous, graph, following)

    return callback


def print_after(names: Collection[str], write: Callable[[str], object]) -> Callback:
    """A callback that writes the graph's text after the passes of these names (``all``: after each)."""

    def callback(previous: Pass | None, graph: Graph, following: Pass | None) -> None:
        if previous is not None and ("all" in names or previous.name in names):
            write(f"// after {previous}\n{print_graph(graph)}")

    return callback


def dump_to(folder: Path) -> Callback:
    """A callback that writes ``00_input.gir``, ``01_<pass>.gir`` ... into ``folder``, which it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    count = [0]

    def callback(previous: Pass | None, graph: Graph, following: Pass | None) -> None:
        name = previous.name if previous else "input"
        (folder / f"{count[0]:02d}_{name}.gir").write_text(print_graph(graph), encoding="utf-8")
        count[0] += 1

    return callback


def first_wrong_pass(
    graph: Graph, pipeline: Sequence[Pass], inputs: Mapping[str, np.ndarray], tolerance: float = 1e-4
) -> int | None:
    """Position of the first pass after which the reference's outputs differ, None if none does. Transforms ``graph``.

    tolerance: allowed difference relative to the largest magnitude of an output. A pass that
    breaks the graph so that it cannot be evaluated counts as wrong.
    """
    expected = evaluate(graph, inputs)
    for i, step in enumerate(pipeline):
        step.run(graph)
        try:
            verify(graph)
            got = evaluate(graph, inputs)
        except GraphcError:
            return i
        if not all(_close(a, got[name], tolerance) for name, a in expected.items()):
            return i
    return None


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0)) or 1.0
    return bool(np.allclose(a, b, rtol=0, atol=tolerance * scale, equal_nan=True))
