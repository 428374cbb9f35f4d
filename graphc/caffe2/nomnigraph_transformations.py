"""``caffe2.python.nomnigraph_transformations``: the layout of convolutions."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import utils
from graphc.caffe2.nomnigraph import NeuralNetOperator
from graphc.caffe2.nomnigraph.graph import Node


def transpose_network(nn: Any) -> None:
    """Let all convolutions in NCHW be in NHWC, with transpositions around them, none of them twice or in vain."""
    transposed: dict[Node, Node] = {}
    convolutions = [node for node in nn.operators if node.name == "Conv" and _order(node) == "NCHW"]
    for conv in convolutions:
        _transpose_outputs(nn, conv, transposed)
    for conv in convolutions:
        _transpose_inputs(nn, conv, transposed)
        order = [arg for arg in conv.annotation.operator_def.arg if arg.name == "order"]
        (order[0] if order else conv.annotation.operator_def.arg.add(name="order")).s = b"NHWC"


def _order(conv: Node) -> str:
    order = utils.ArgsToDict(conv.annotation.operator_def.arg).get("order", b"NCHW")
    return order.decode() if isinstance(order, bytes) else str(order)


def _transpose_outputs(nn: Any, conv: Node, transposed: dict[Node, Node]) -> None:
    """Let the convolution make another tensor, from which the one that it made comes."""
    for output in conv.outputs:
        inner = nn.createUniqueDataNode(output.name)
        turn = nn.createNode(NeuralNetOperator("NHWC2NCHW"))
        nn.deleteEdge(conv, output)
        nn.createEdge(conv, inner)
        nn.createEdge(inner, turn)
        nn.createEdge(turn, output)
        transposed[output] = inner


def _transpose_inputs(nn: Any, conv: Node, transposed: dict[Node, Node]) -> None:
    """Let the convolution read data and weights in NHWC."""
    inputs = conv.inputs
    for tensor in inputs:
        nn.deleteEdge(tensor, conv)
    for i, tensor in enumerate(inputs):
        if i < 2 and tensor not in transposed:
            turn = nn.createNode(NeuralNetOperator("NCHW2NHWC"))
            transposed[tensor] = nn.createUniqueDataNode(tensor.name)
            nn.createEdge(tensor, turn)
            nn.createEdge(turn, transposed[tensor])
        nn.createEdge(transposed[tensor] if i < 2 else tensor, conv)
