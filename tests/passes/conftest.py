"""What every test of a pass checks: honest answers, a sound graph, equal outputs, idempotence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from graphc.ir import Graph
from graphc.ir.builder import Builder
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph
from graphc.ir.reference import evaluate
from graphc.ir.verify import verify
from graphc.passes import Pass

Net = tuple[Graph, Builder]


@pytest.fixture
def net() -> Net:
    """An empty typed graph and its builder."""
    graph = Graph("net", "typed")
    return graph, Builder(graph)


@pytest.fixture
def random() -> Callable[..., np.ndarray]:
    """``random(3, 4)``: seeded float32 values of about unit size."""
    generator = np.random.default_rng(7)
    return lambda *shape: generator.standard_normal(shape).astype(np.float32)


def assert_same_outputs(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], tolerance: float) -> None:
    """Names, shapes and dtypes are equal, elements too, up to ``tolerance`` times the largest of an output."""
    assert list(expected) == list(got)
    for name, a in expected.items():
        b = got[name]
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        scale = float(np.abs(a).max(initial=0.0)) if a.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.fixture
def check() -> Callable[..., list[str]]:
    """``check(step, graph, inputs)``: run the pass and hold it to its contract; gives the operators that are left.

    tolerance 0: no arithmetic may change. changed=False: the pass must refuse.
    """

    def run(
        step: Pass, graph: Graph, inputs: Mapping[str, np.ndarray], tolerance: float = 0.0, changed: bool = True
    ) -> list[str]:
        verify(graph)
        before, expected = print_graph(graph), evaluate(graph, inputs)
        assert step.run(graph) is changed
        text = print_graph(graph)
        assert (text != before) is changed
        verify(graph)
        assert print_graph(parse(text)) == text
        assert_same_outputs(expected, evaluate(graph, inputs), tolerance)
        assert step.run(graph) is False, "the pass is not idempotent"
        assert print_graph(graph) == text
        return [n.op for n in graph.nodes]

    return run
