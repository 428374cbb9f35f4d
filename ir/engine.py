"""Engines: who computes an operator, graphc's own kernels or a library that a user asks for.

A NetDef's word (``Node.engine``) is a preference, and exporters write it at every operator. What was chosen is the
attribute ``chosen_engine`` of a node.
"""

from __future__ import annotations

from graphc.ir.graph import Node

CHOSEN = "chosen_engine"
"""The attribute."""
DEFAULT, CUDNN = "default", "CUDNN"
"""Kernels that graphc generates; NVIDIA's libraries, under Caffe2's name for them."""


def prefers(node: Node, engine: str) -> bool:
    """The NetDef names the engine for the operator, as one of those that it would take."""
    return engine in (name.strip() for name in node.engine.split(","))


def chosen_engine(node: Node) -> str:
    """The engine that computes a node."""
    given = node.attrs.get(CHOSEN, DEFAULT)
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)
