"""Choice: which layers go back to float, so that the error of the net stays within a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

LossOf = Callable[[frozenset[str]], float]
"""The loss of the net with these products in float."""


@dataclass(frozen=True)
class Choice:
    """in_float: products that stay in float, in the order of the net. loss: of the net then. all_int8: with only those
    in float that had to be. alone: the loss of each other product in 8 bits by itself, where it was measured.
    """

    in_float: list[str]
    loss: float
    all_int8: float
    alone: dict[str, float] = field(default_factory=dict)


def choose(
    loss_of: LossOf, products: Sequence[str], fixed: Sequence[str], max_loss: float | None, attribute: bool
) -> Choice:
    """Send products to float, those first that cost most by themselves, until the loss is at most ``max_loss``.

    fixed: products that are in float whatever the loss. attribute: measure each product alone in any case.
    With everything in float there is no loss, so the bound always holds in the end. The number is found by doubling and
    bisection: as few runs as the loss, which nearly falls with it, allows. Where nothing is left to send, the loss is
    that of float arithmetic in another order, whatever the bound.
    """
    start = loss_of(frozenset(fixed))
    free = [name for name in products if name not in fixed]
    exceeded = max_loss is not None and start > max_loss
    alone = {n: loss_of(frozenset(products) - {n}) for n in free} if attribute or exceeded else {}
    if max_loss is None or not exceeded or not free:
        return Choice([n for n in products if n in fixed], start, start, alone)
    order = sorted(free, key=lambda name: -alone[name])

    def loss_without(count: int) -> float:
        return loss_of(frozenset(fixed) | frozenset(order[:count]))

    count, loss = _least(loss_without, len(order), max_loss)
    in_float = {*fixed, *order[:count]}
    return Choice([n for n in products if n in in_float], loss, start, alone)


def _least(loss_without: Callable[[int], float], most: int, bound: float) -> tuple[int, float]:
    """The least count from 1 on whose loss is within the bound, as far as bisection finds it, and that loss."""
    low, high = 0, 1
    while high < most and (loss := loss_without(high)) > bound:
        low, high = high, min(2 * high, most)
    loss = 0.0 if high == most else loss
    while high - low > 1:
        middle = (low + high) // 2
        found = loss_without(middle)
        if found <= bound:
            high, loss = middle, found
        else:
            low = middle
    return high, loss
