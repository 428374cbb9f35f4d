"""Helpers for branches and loops whose bodies are models."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.control_ops_util import add_if_op, add_while_op


def cond(model: Any, cond_blob: Any, external_blobs: Any, then_model: Any, else_model: Any = None) -> None:
    """Run one model or the other; ``external_blobs`` are the blobs around them that they may name."""
    add_if_op(model.net, cond_blob, external_blobs, then_model.net, else_model.net if else_model else None)


def loop(model: Any, cond_blob: Any, external_blobs: Any, loop_model: Any, cond_model: Any = None) -> None:
    """Run a model while the condition holds, which ``cond_model`` computes anew before each round."""
    add_while_op(model.net, cond_blob, external_blobs, loop_model.net, cond_model.net if cond_model else None)
