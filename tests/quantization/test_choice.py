"""The choice of layers, on losses that are given."""

from __future__ import annotations

import pytest

from graphc.quantization.choice import Choice, choose

COSTS = {"a": 0.5, "b": 0.1, "c": 4.0, "d": 1.0, "e": 0.0}


def loss_of(in_float: frozenset[str]) -> float:
    return sum(cost for name, cost in COSTS.items() if name not in in_float)


def test_without_a_bound_nothing_is_tried() -> None:
    calls = []
    found = choose(lambda names: calls.append(names) or 5.6, list(COSTS), [], None, attribute=False)
    assert (found, calls) == (Choice([], 5.6, 5.6, {}), [frozenset()])


@pytest.mark.parametrize(
    ("bound", "in_float"),
    [(6.0, []), (2.0, ["c"]), (1.0, ["c", "d"]), (0.3, ["a", "c", "d"]), (0.05, ["a", "b", "c", "d"])],
)
def test_the_fewest_that_cost_most_go(bound: float, in_float: list[str]) -> None:
    found = choose(loss_of, list(COSTS), [], bound, attribute=False)
    assert found.in_float == in_float
    assert found.loss == pytest.approx(sum(c for n, c in COSTS.items() if n not in in_float))
    assert found.all_int8 == pytest.approx(5.6)
    assert found.alone == ({} if not in_float else pytest.approx(COSTS))


def test_a_bound_that_nothing_meets_leaves_no_layer() -> None:
    found = choose(lambda names: 1.0 if len(names) < 3 else 0.0, ["a", "b", "c"], [], 1e-9, attribute=False)
    assert (found.in_float, found.loss) == (["a", "b", "c"], 0.0)


def test_fixed_layers_are_in_float_and_not_measured() -> None:
    found = choose(loss_of, list(COSTS), ["c"], 1.0, attribute=True)
    assert found.in_float == ["c", "d"]
    assert set(found.alone) == {"a", "b", "d", "e"}
    assert found.all_int8 == pytest.approx(1.6)


def test_where_everything_has_to_be_in_float_no_bound_is_met() -> None:
    found = choose(lambda names: 1e-9, ["a", "b"], ["b", "a"], 1e-12, attribute=False)
    assert found == Choice(["a", "b"], 1e-9, 1e-9, {})
