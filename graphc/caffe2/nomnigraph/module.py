"""``NNModule``: a net as a graph that can be changed, and as a net again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.nomnigraph.conversion import execution_order, graph_of, net_of
from graphc.caffe2.nomnigraph.graph import NNGraph, Node
from graphc.caffe2.nomnigraph.match import NNMatchGraph, NNSubgraph, matchSubgraph
from graphc.caffe2.nomnigraph.values import NeuralNetData
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


class NNModule:
    """The graph of a net; an empty one of None. device_map: ``DeviceOption`` of tensors by name.

    Raises ``Exception`` for something that is no net, and for a device of a tensor that the net does not have.
    """

    def __init__(self, net: Any = None, device_map: Mapping[str, Message] | None = None) -> None:
        proto = net.Proto() if isinstance(net, core.Net) else net
        if proto is not None and not isinstance(proto, caffe2_pb2.NetDef):
            raise Exception("NNModule can be constructed with core.Net or caffe2_pb2.NetDef types")
        self._template = caffe2_pb2.NetDef()
        if proto is not None:
            self._template.CopyFrom(proto)
        self._graph = graph_of(self._template)
        del self._template.op[:]
        for name, option in (device_map or {}).items():
            nodes = [node for node in self.tensors if node.name == name]
            if not nodes:
                raise Exception(f"the net has no blob {name}, for which a device is given")
            for node in nodes:
                node.annotation.device_option = option

    @property
    def dataFlow(self) -> NNGraph:
        """The graph."""
        return self._graph

    @property
    def controlFlow(self) -> list[Node]:
        """The operators in an order in which they can run."""
        return execution_order(self._graph)

    def getExecutionOrder(self) -> list[Node]:
        """``controlFlow``."""
        return self.controlFlow

    @property
    def nodes(self) -> list[Node]:
        """Operators and tensors."""
        return self._graph.getMutableNodes()

    @property
    def operators(self) -> list[Node]:
        """The operators."""
        return self._graph.operators

    @property
    def tensors(self) -> list[Node]:
        """The tensors."""
        return self._graph.tensors

    def createNode(self, val: Any) -> Node:
        """Add an operator or a tensor."""
        return self._graph.createNode(val)

    def deleteNode(self, node: Node) -> None:
        """Take away a node and its edges."""
        self._graph.deleteNode(node)

    def createEdge(self, a: Node, b: Node) -> Any:
        """Add an input or output, as the last one."""
        return self._graph.createEdge(a, b)

    def deleteEdge(self, a: Any, b: Node | None = None) -> None:
        """Take away an edge, or the first one between two nodes."""
        self._graph.deleteEdge(a, b)

    def replaceNode(self, old_node: Node, new_node: Node) -> None:
        """Let another node have all edges of a node."""
        self._graph.replaceNode(old_node, new_node)

    def replaceProducer(self, tensor: Node, new_producer: Node) -> None:
        """Let another operator make a tensor."""
        for edge in list(tensor._in):
            self._graph.deleteEdge(edge)
        self._graph.createEdge(new_producer, tensor)

    def replaceAllUsesWith(self, old_tensor: Node, new_tensor: Node) -> None:
        """Let the readers of a tensor read another one, as the same inputs."""
        for edge in old_tensor._out:
            edge._tail = new_tensor
        new_tensor._out += old_tensor._out
        old_tensor._out = []

    def replaceAsConsumer(self, old_consumer: Node, new_consumer: Node) -> None:
        """Let another operator read what an operator reads."""
        for edge in old_consumer._in:
            edge._head = new_consumer
        new_consumer._in += old_consumer._in
        old_consumer._in = []

    def replaceSubgraph(
        self, subgraph: NNSubgraph, new_node: Node, inputs: Sequence[Node], outputs: Sequence[Node]
    ) -> None:
        """Let one operator stand for a part of the graph; its inputs and outputs are those given, which stay."""
        kept = {*inputs, *outputs}
        for node in subgraph.nodes:
            if node not in kept:
                self._graph.deleteNode(node)
        for tensor in inputs:
            self._graph.createEdge(tensor, new_node)
        for tensor in outputs:
            self.replaceProducer(tensor, new_node)

    def deleteSubgraph(self, subgraph: NNSubgraph) -> None:
        """Take away a part of the graph."""
        for node in subgraph.nodes:
            self._graph.deleteNode(node)

    def createUniqueDataNode(self, prefix: str = "_unique") -> Node:
        """Add a tensor whose name begins with a text and that no other has."""
        names = {node.name for node in self.tensors}
        name, k = prefix, 0
        while name in names:
            name, k = f"{prefix}_{k}", k + 1
        return self._graph.createNode(NeuralNetData(name))

    def convertToCaffe2Proto(self, old_proto: Message | None = None) -> Message:
        """The NetDef. old_proto: what to take everything but operators from; else it is the net of the beginning."""
        return net_of(self._graph, self._template if old_proto is None else old_proto)

    def match(self, pattern: NNMatchGraph) -> Iterator[NNSubgraph]:
        """The parts that fit a pattern, by where they begin."""
        for node in self._graph.getMutableNodes():
            found = matchSubgraph(node, pattern)
            if len(found):
                yield found


def render(s: Any) -> None:
    """Print a graph."""
    print(s)
