"""Devices as texts in ``Node.device``: ``cpu:0``, ``cuda:0``, with a seed behind (``cpu:0 random_seed=7``), or none."""

from __future__ import annotations

from graphc.ir.graph import Node

CARD, HOST = "cuda:0", "cpu:0"
"""The two devices of a plan for a card: the card, and the process."""
COPIES = ("g.copy_to_card", "g.copy_to_host")
"""Operators that only change the device."""

_CARDS = ("cuda", "hip")
_PROCESSORS = ("cpu", "mkldnn", "ideep")


def wants_card(node: Node) -> bool:
    """The operator's device is a card."""
    return kind_of(node.device) in _CARDS


def wants_host(node: Node) -> bool:
    """The operator's device is a CPU, MKLDNN's and IDEEP's included."""
    return kind_of(node.device) in _PROCESSORS


def kind_of(device: str) -> str:
    """The part before the number: ``cuda`` of ``cuda:1``."""
    return device.partition(":")[0]


def put_on_card(node: Node) -> None:
    """Say that the operator runs on the card."""
    node.device = CARD


def put_on_host(node: Node) -> None:
    """Say that the operator runs on the CPU; a seed stays with an operator that was there before."""
    if not wants_host(node):
        node.device = HOST
