"""Engines that give other answers: the quantised ones of Caffe2's server library."""

from __future__ import annotations

from graphc.ir import registry

FAMILY = "DNNLOWP"
"""Its variants (``DNNLOWP_ACC16``, ``DNNLOWP_ROWWISE``, ``DNNLOWP_16``) have one record, which reads the engine."""


def engine_type(type: str, engine: str) -> str:
    """The record that an operator with a preference for engines runs: ``Add_ENGINE_DNNLOWP`` for an ``Add``.

    Other engines than this family compute the same as the default one, whose record has the operator's own name.
    """
    if any(e.strip().startswith(FAMILY) for e in engine.split(",")):
        name = f"{type}_ENGINE_{FAMILY}"
        return name if name in registry() else type
    return type
