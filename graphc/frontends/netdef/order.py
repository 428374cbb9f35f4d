"""Predict and init net in the right places: a common slip, which would compile to a net that does nothing."""

from __future__ import annotations

from graphc.frontends.netdef.fills import is_weight
from graphc.frontends.netdef.net import Net
from graphc.ir import NetError


def require_order(predict: Net, init: Net) -> None:
    """Raise ``NetError`` where the predict net only makes weights and the init net does everything but that."""
    fills = bool(predict.ops) and all(is_weight(op) for op in predict.ops)
    if fills and init.ops and not any(is_weight(op) for op in init.ops):
        raise NetError(
            f"the net to run, '{predict.name}', only makes weights, and the init net, '{init.name}', makes none",
            "swap the two: graphc compile predict_net.pb --init init_net.pb",
        )
    if fills and [op.outputs for op in predict.ops] == [op.outputs for op in init.ops]:
        raise NetError(
            f"the net to run, '{predict.name}', is the init net itself: it only makes weights",
            "give predict_net.pb as the net to run",
        )
