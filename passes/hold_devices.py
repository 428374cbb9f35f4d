"""hold_devices: operators whose DeviceOption says CPU stay apart from those of the card."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir import Graph
from graphc.ir.device import wants_host
from graphc.passes.base import Pass, in_each_net
from graphc.passes.device_copies import insert_copies


@dataclass(frozen=True)
class HoldDevices(Pass):
    """Put copy operators around what a net wants on the CPU, so that nothing is fused across; for targets with a card.

    Handles DeviceOptions of operators and of nets, which the importer has written to the nodes. What runs where in the
    end is decided by ``place_devices``, behind all passes. Refuses nothing.
    """

    def run(self, graph: Graph) -> bool:
        changed = in_each_net(graph, lambda net: insert_copies(net, lambda node: not wants_host(node)))
        if changed:
            graph.stage = "optimised"
        return changed
