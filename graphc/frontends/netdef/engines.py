"""Engines that give other answers: the quantised ones of Caffe2's server library (DNNLOWP and its variants)."""

from __future__ import annotations

from graphc.ir import registry


def engine_type(type: str, engine: str) -> str:
    """The record that an operator runs which prefers some engines, separated by commas.

    Caffe2's rule: the first engine under which the operator is registered, or else the default one. Engines that
    compute the same as that have no record of their own.
    """
    names = (f"{type}_ENGINE_{e.strip()}" for e in engine.split(",") if e.strip())
    return next((name for name in names if name in registry()), type)
