"""Engines that give other answers: those of Caffe2's server library (DNNLOWP), and NNPACK's convolution."""

from __future__ import annotations

from graphc.frontends.netdef.net import Operator
from graphc.ir import registry


def engine_type(op: Operator) -> str:
    """The name of the record that an operator runs, which may prefer some engines, separated by commas.

    Caffe2's rule: the first engine under which the operator is registered, or else the default one. Engines that
    compute the same as that have no record of their own. NNPACK's Conv alone reads ``activation``, and knows "Relu".
    """
    engines = [e.strip() for e in op.engine.split(",") if e.strip()]
    if (op.type, engines[:1], op.args.get("activation")) == ("Conv", ["NNPACK"], b"Relu"):
        return "ConvRelu"
    names = (f"{op.type}_ENGINE_{e}" for e in engines)
    return next((name for name in names if name in registry()), op.type)
