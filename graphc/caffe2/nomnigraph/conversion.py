"""Nets as graphs and graphs as nets.

Each time that an operator writes a blob it makes another tensor of that name: readers are joined to what they read.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict

from graphc.caffe2.nomnigraph.graph import NNGraph, Node
from graphc.caffe2.nomnigraph.values import NeuralNetData
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message


def graph_of(net: Message) -> NNGraph:
    """The graph of a NetDef."""
    graph = NNGraph()
    current: dict[str, Node] = {}
    for name in net.external_input:
        current[name] = graph.createNode(NeuralNetData(name))
    for op in net.op:
        node = graph.createNode(op)
        for name in op.input:
            if name not in current:
                current[name] = graph.createNode(NeuralNetData(name))
            graph.createEdge(current[name], node)
        for name in op.output:
            current[name] = graph.createNode(NeuralNetData(name))
            graph.createEdge(node, current[name])
    return graph


def execution_order(graph: NNGraph) -> list[Node]:
    """The operators in an order in which they can run, as close as possible to that in which they were added.

    Who reads a blob runs before the next one that writes it. Raises ``AssertionError`` for a cycle.
    """
    operators = graph.operators
    rank = {node: i for i, node in enumerate(operators)}
    after: dict[Node, set[Node]] = defaultdict(set)
    waits = dict.fromkeys(operators, 0)
    for first, second in [*_dataflow(operators), *_reuse(graph)]:
        if second not in after[first] and first is not second:
            after[first].add(second)
            waits[second] += 1
    ready = [rank[node] for node in operators if not waits[node]]
    heapq.heapify(ready)
    order: list[Node] = []
    while ready:
        node = operators[heapq.heappop(ready)]
        order.append(node)
        for other in after[node]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, rank[other])
    if len(order) < len(operators):
        names = ", ".join(node.name for node in operators if waits[node])
        raise AssertionError(f"these operators wait for each other: {names}")
    return order


def _dataflow(operators: list[Node]) -> list[tuple[Node, Node]]:
    return [(first, node) for node in operators for first in node.getOperatorPredecessors()]


def _reuse(graph: NNGraph) -> list[tuple[Node, Node]]:
    """Who makes or reads a tensor, and who makes the next one of the same name."""
    versions: dict[str, list[Node]] = defaultdict(list)
    for tensor in graph.tensors:
        versions[tensor.name].append(tensor)
    return [
        (user, after.getProducer())
        for tensors in versions.values()
        for before, after in itertools.pairwise(tensors)
        if after.hasProducer()
        for user in [*before.getInputs(), *before.getOutputs()]
    ]


def net_of(graph: NNGraph, template: Message) -> Message:
    """The NetDef of a graph. template: everything but the operators; inputs and outputs that it declares come first."""
    net = caffe2_pb2.NetDef()
    net.CopyFrom(template)
    del net.op[:]
    made: set[str] = set()
    needed: list[str] = []
    for node in execution_order(graph):
        op = net.op.add()
        op.CopyFrom(node.getAnnotation().operator_def)
        op.type = node.name
        op.input[:] = [tensor.name for tensor in node.getInputs()]
        op.output[:] = [tensor.name for tensor in node.getOutputs()]
        needed += [name for name in op.input if name not in made]
        made.update(op.output)
    declared = list(template.external_input)
    net.external_input[:] = list(dict.fromkeys([*declared, *needed]))
    known = made.union(net.external_input)
    net.external_output[:] = [name for name in template.external_output if name in known]
    return net
