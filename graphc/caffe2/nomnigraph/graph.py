"""Graphs of operators and tensors, in which an edge leads from a tensor to its readers and from an operator to what it
makes. The order of a node's edges is the order of inputs and outputs."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message as AnyMessage

from graphc.caffe2.nomnigraph.values import Annotation, NeuralNetData, NeuralNetOperator, operator_of
from graphc.caffe2.proto import caffe2_pb2


class Edge:
    """An edge from one node to another."""

    def __init__(self, tail: Node, head: Node) -> None:
        self._tail, self._head = tail, head

    def tail(self) -> Node:
        """Where it begins."""
        return self._tail

    def head(self) -> Node:
        """Where it ends."""
        return self._head


class Node:
    """A node: an operator, a tensor, or in a plain ``Graph`` a text."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._in: list[Edge] = []
        self._out: list[Edge] = []
        self._annotation = value.annotation if isinstance(value, NeuralNetOperator) else Annotation()

    def isOperator(self) -> bool:
        """The node is an operator."""
        return isinstance(self._value, NeuralNetOperator)

    def isTensor(self) -> bool:
        """The node is a tensor."""
        return isinstance(self._value, NeuralNetData)

    def getOperator(self) -> NeuralNetOperator:
        """The operator; raises ``AssertionError`` for another node."""
        if not self.isOperator():
            raise AssertionError(f"{self.name} is no operator")
        found: NeuralNetOperator = self._value
        return found

    def getTensor(self) -> NeuralNetData:
        """The tensor; raises ``AssertionError`` for another node."""
        if not self.isTensor():
            raise AssertionError(f"{self.name} is no tensor")
        found: NeuralNetData = self._value
        return found

    def getName(self) -> str:
        """The operator's type, or the tensor's name."""
        return str(self._value.getName() if hasattr(self._value, "getName") else self._value)

    def getType(self) -> str:
        """``Operator`` or ``Tensor``."""
        return "Operator" if self.isOperator() else "Tensor"

    def getInputs(self) -> list[Node]:
        """The nodes before it, in order."""
        return [edge.tail() for edge in self._in]

    def getOutputs(self) -> list[Node]:
        """The nodes after it, in order."""
        return [edge.head() for edge in self._out]

    def hasProducer(self) -> bool:
        """An operator makes the tensor."""
        return self.isTensor() and bool(self._in)

    def getProducer(self) -> Node:
        """The operator that makes the tensor; raises ``AssertionError`` where there is none."""
        if not self.hasProducer():
            raise AssertionError(f"no operator makes {self.name}")
        return self._in[0].tail()

    def getConsumers(self) -> list[Node]:
        """The operators that read the tensor; raises ``AssertionError`` for an operator."""
        self.getTensor()
        return list(dict.fromkeys(self.getOutputs()))

    def getOperatorPredecessors(self) -> list[Node]:
        """The operators that make what this one reads."""
        self.getOperator()
        return list(dict.fromkeys(t.getProducer() for t in self.getInputs() if t.hasProducer()))

    def getOperatorSuccessors(self) -> list[Node]:
        """The operators that read what this one makes."""
        self.getOperator()
        return list(dict.fromkeys(op for tensor in self.getOutputs() for op in tensor.getOutputs()))

    def getAnnotation(self) -> Annotation:
        """The notes on the node."""
        return self._annotation

    def setAnnotation(self, annotation: Annotation) -> None:
        """Set the notes on the node."""
        self._annotation = annotation

    name = property(getName)
    type = property(getType)
    inputs = property(getInputs)
    outputs = property(getOutputs)
    producer = property(getProducer)
    consumers = property(getConsumers)
    operator = property(getOperator)
    tensor = property(getTensor)
    operator_predecessors = property(getOperatorPredecessors)
    operator_successors = property(getOperatorSuccessors)
    annotation = property(getAnnotation, setAnnotation)


class Graph:
    """A graph of texts; ``str(graph)`` is its description for Graphviz."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def _value(self, given: Any) -> Any:
        if not isinstance(given, str):
            raise TypeError(f"a text is needed, not {type(given).__name__}")
        return given

    def createNode(self, value: Any) -> Node:
        """Add a node; raises ``TypeError`` for something that no node of such a graph can be."""
        node = Node(self._value(value))
        self._nodes.append(node)
        return node

    def createEdge(self, a: Node, b: Node) -> Edge:
        """Add an edge, as the last one of both nodes."""
        edge = Edge(a, b)
        a._out.append(edge)
        b._in.append(edge)
        return edge

    def getMutableNodes(self) -> list[Node]:
        """The nodes, in the order in which they were added."""
        return list(self._nodes)

    nodes = property(getMutableNodes)

    def deleteEdge(self, a: Any, b: Node | None = None) -> None:
        """Take away an edge, or the first one between two nodes; raises ``AssertionError`` where there is none."""
        edge = a if isinstance(a, Edge) else next((e for e in a._out if e.head() is b), None)
        if edge is None or edge not in edge.tail()._out:
            raise AssertionError("there is no such edge")
        edge.tail()._out.remove(edge)
        edge.head()._in.remove(edge)

    def deleteNode(self, node: Node) -> None:
        """Take away a node and its edges."""
        for edge in [*node._in, *node._out]:
            self.deleteEdge(edge)
        self._nodes.remove(node)

    def replaceNode(self, old: Node, new: Node) -> None:
        """Let another node have all edges of a node."""
        for edge in old._in:
            edge._head = new
        for edge in old._out:
            edge._tail = new
        new._in, new._out = new._in + old._in, new._out + old._out
        old._in, old._out = [], []

    def __str__(self) -> str:
        number = {node: i for i, node in enumerate(self._nodes)}
        shape = {True: "box", False: "octagon"}
        lines = [f'  n{i} [label="{node.name}", shape={shape[node.isOperator()]}];' for node, i in number.items()]
        lines += [f"  n{number[n]} -> n{number[e.head()]};" for n in self._nodes for e in n._out if e.head() in number]
        return "\n".join(["digraph G {", *lines, "}"])


class NNGraph(Graph):
    """A graph of operators and tensors."""

    def _value(self, given: Any) -> Any:
        if isinstance(given, NeuralNetOperator | NeuralNetData):
            return given
        if isinstance(given, caffe2_pb2.OperatorDef):
            return operator_of(given)
        kind = given.DESCRIPTOR.name if isinstance(given, AnyMessage) else type(given).__name__
        raise TypeError(f"a node is a NeuralNetOperator, a NeuralNetData or an OperatorDef, not {kind}")

    def createEdge(self, a: Node, b: Node) -> Edge:
        """Add an edge; raises ``AssertionError`` unless it joins an operator and a tensor."""
        if a.isOperator() == b.isOperator():
            raise AssertionError(f"an edge joins an operator and a tensor, not {a.name} and {b.name}")
        return super().createEdge(a, b)

    @property
    def operators(self) -> list[Node]:
        """The operators."""
        return [node for node in self._nodes if node.isOperator()]

    @property
    def tensors(self) -> list[Node]:
        """The tensors."""
        return [node for node in self._nodes if node.isTensor()]
