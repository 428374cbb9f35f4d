"""Engines that give other answers: the quantised ones of Caffe2's server library (DNNLOWP), and NNPACK's convolution."""

from __future__ import annotations

from graphc.ir import registry


def engine_type(type: str, engine: str, activation: object = None) -> str:
    """The record that an operator runs which prefers some engines, separated by commas.

    Caffe2's rule: the first engine under which the operator is registered, or else the default one. Engines that
    compute the same as that have no record of their own. activation: the argument of that name, which NNPACK's Conv
    alone reads; "Relu" is all that it knows.
    """
    engines = [e.strip() for e in engine.split(",") if e.strip()]
    if (type, engines[:1], activation) == ("Conv", ["NNPACK"], b"Relu"):
        return "ConvRelu"
    names = (f"{type}_ENGINE_{e}" for e in engines)
    return next((name for name in names if name in registry()), type)
