"""fuse_epilogue: pointwise operators after a convolution or matrix product run on its result before it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir import Call, Graph, Node, Trait, Value
from graphc.passes.base import Pass, at_each_node, in_each_net
from graphc.passes.bodies import inline, is_fusable, size
from graphc.passes.matching import (
    absorb,
    channel_axis,
    is_float,
    known_shape,
    only_user,
    same_shape,
    sole_use,
    traits_of,
)
from graphc.passes.variants import Variants

_POOLS = ("MaxPool", "MaxPool1D", "MaxPool2D", "MaxPool3D")
_MONOTONE = ("Relu", "Clip")
"""The maximum of their results is their result of the maximum, to the bit."""


@dataclass(frozen=True)
class FuseEpilogue(Pass):
    """Move pointwise operators into the ``epilogue`` of the operator (``Trait.EPILOGUE``) whose result they alone read.

    Handles chains of them, g.pointwise, several reads by one operator (x * sigmoid(x)), operands per channel or of one
    element, residuals of the result's shape (computed earlier or later: the fused operator moves to its last part),
    Relu and the like behind a Concat whose pieces all come from such operators, Relu and Clip behind a MaxPool. Of two
    convolutions that are added the later takes the addition. Refuses: results that anybody else reads (no work is done
    twice), other types than float, results of another shape, operands that broadcast in another way, graphs of more
    than ``limit`` operators or ``operands`` extra operands.
    """

    limit: int = 16
    operands: int = 4

    def run(self, graph: Graph) -> bool:
        moved = at_each_node(graph, _move_ahead, "Concat", *_POOLS)
        changed = in_each_net(graph, self._fuse) or moved
        if changed:
            graph.stage = "optimised"
        return changed

    def _fuse(self, graph: Graph) -> bool:
        order = {node: i for i, node in enumerate(graph.nodes)}
        variants = Variants(graph)
        changed = False
        for node in list(graph.nodes):
            while _takes_epilogue(node) and self._fuse_next(graph, node, order, variants):
                changed = True
        return changed

    def _fuse_next(self, graph: Graph, node: Node, order: dict[Node, int], variants: Variants) -> bool:
        """Fuse the operator that reads the result, if it may be."""
        bare = node.results[0]
        follower = only_user(graph, bare)
        if follower is None or not is_fusable(follower) or not same_shape(follower.results[0].type, bare.type):
            return False
        kinds = variants.operand_kinds(follower, _epilogue_axis(node))
        extra = [v for v in follower.operands if v is not bare and v is not None]
        if "other" in kinds or any(k != "full" for k, v in zip(kinds, follower.operands) if v is bare):
            return False
        epilogue = node.attrs.get("epilogue")
        nodes, inputs = (len(epilogue.nodes), len(epilogue.inputs)) if isinstance(epilogue, Graph) else (0, 1)
        if nodes + size(follower) > self.limit or inputs - 1 + len(extra) > self.operands:
            return False
        if any(_is_later(graph, v, node, order) for v in extra):
            return False
        _extend(node, follower)
        absorb(graph, node, follower)
        return True


def _takes_epilogue(node: Node) -> bool:
    result = node.results[0] if len(node.results) == 1 else None
    return (
        result is not None
        and Trait.EPILOGUE in traits_of(node)
        and is_float(result)
        and known_shape(result.type) is not None
    )


def _epilogue_axis(node: Node) -> int:
    """The channels of a convolution's result, the columns of a matrix product's."""
    return channel_axis(Call(node)) if node.op.startswith("Conv") else -1


def _is_later(graph: Graph, value: Value, node: Node, order: dict[Node, int]) -> bool:
    """The value comes from an operator behind ``node`` that can take the follower into its own epilogue."""
    producer = value.producer
    return (
        producer is not None
        and _takes_epilogue(producer)
        and same_shape(value.type, node.results[0].type)
        and only_user(graph, value) is not None
        and order[producer] > order[node]
    )


def _extend(node: Node, follower: Node) -> None:
    """Append ``follower`` to the epilogue of ``node``, and its other operands to the operands of ``node``."""
    bare = node.results[0]
    epilogue = node.attrs.get("epilogue")
    if not isinstance(epilogue, Graph):
        epilogue = Graph("epilogue", "typed")
        epilogue.add_output(epilogue.add_input(bare.type, bare.name))
        node.attrs["epilogue"] = epilogue
    env = {bare: epilogue.outputs[0]}
    for v in follower.operands:
        if v is not None and v not in env:
            env[v] = epilogue.add_input(v.type, v.name)
            node.set_operands([*node.operands, v])
    last = inline(follower, epilogue, env)
    epilogue.outputs, epilogue.output_names = [last], [last.name]


def _move_ahead(graph: Graph, mover: Node) -> bool:
    """Move the operator of one operand behind ``mover`` in front of it, where every piece can take it."""
    joined = mover.results[0]
    use = sole_use(graph, joined)
    if use is None or not is_fusable(use[0]) or len(use[0].operands) != 1 or use[0].op == "g.pointwise":
        return False
    follower = use[0]
    if mover.op in _POOLS and follower.op not in _MONOTONE:
        return False
    pieces = list(mover.operands)
    if not all(v is not None and v.producer and _takes_epilogue(v.producer) and sole_use(graph, v) for v in pieces):
        return False
    for i, piece in enumerate(pieces):
        assert piece is not None
        result = Value(piece.type, piece.name)
        moved = Node(follower.op, [piece], [result], dict(follower.attrs), follower.location)
        moved.engine, moved.device = follower.engine, follower.device
        graph.insert_before(mover, moved)
        mover.set_operand(i, result)
    joined.name = follower.results[0].name
    follower.set_operands([])
    graph.replace(follower.results[0], joined)
    graph.erase(follower)
    return True
