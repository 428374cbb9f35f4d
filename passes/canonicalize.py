"""canonicalize: one form for what can be written in many, so that other passes need to know one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from graphc.ir import Call, Graph, Node, Trait, Value
from graphc.ir.builder import Builder
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import is_output, traits_of, unused_but_first
from graphc.passes.variants import Variants

_LIMIT = 100

Rule = Callable[[Graph, Node, Variants], bool]


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Remove operators that do nothing and merge runs of data movement, until nothing changes.

    Handles: identities (Copy, Alias, StopGradient, Dropout with is_test ...); Reshape, Flatten, Squeeze, ExpandDims and
    the like that keep the shape, and runs of them (one Reshape); Transpose that keeps the order, runs of Transpose,
    NCHW2NHWC and NHWC2NCHW; Slice and Tile of everything; Concat, Sum, Max, Min, Mean of one; Cast to the same type;
    Scale by 1; Relu of Relu. Refuses operators with another result in use, and shapes that are not known to be equal.
    """

    def run(self, graph: Graph) -> bool:
        changed = False
        for _ in range(_LIMIT):
            variants = Variants(graph)
            if not at_each_node(graph, partial(_rewrite, variants)):
                return changed
            changed = True
        raise RuntimeError(f"canonicalize does not end after {_LIMIT} sweeps: two of its rules undo each other")


def _rewrite(variants: Variants, graph: Graph, node: Node) -> bool:
    """The first rule that fits; no rule touches an operator of whose results others than the first are read."""
    if not node.results or not unused_but_first(graph, node):
        return False
    return any(rule(graph, node, variants) for rule in (_identity, *_RULES.get(node.op, ()), _view))


def _forward(graph: Graph, node: Node, value: Value | None) -> bool:
    """Let ``value`` stand for the result of ``node``."""
    if value is None:
        return False
    if not value.is_constant and value.producer is not None and is_output(graph, node.results[0]):
        value.name = node.results[0].name  # the blob that the user asks for survives under its own name
    graph.replace(node.results[0], value)
    graph.erase(node)
    return True


def _identity(graph: Graph, node: Node, variants: Variants) -> bool:
    return bool(traits_of(node) & Trait.IDENTITY) and _forward(graph, node, node.operands[0])


def _view(graph: Graph, node: Node, variants: Variants) -> bool:
    """Views that keep the shape, and views of views."""
    x = node.operands[0] if node.operands else None
    if not traits_of(node) & Trait.VIEW or x is None:
        return False
    result = node.results[0]
    if variants.same_shape(x, result):
        return _forward(graph, node, x)
    inner = x.producer
    if inner is None or x is not inner.results[0] or not traits_of(inner) & Trait.VIEW:
        return False
    source = inner.operands[0]
    if source is not None and variants.same_shape(source, result):
        return _forward(graph, node, source)
    shape = _reshape_argument(source, result, variants)
    if shape is None:
        return False
    made = Builder(graph, node, inner.location.join(node.location))
    reshape = made.node("Reshape", [source], {"shape": shape}, [result.name, ""])
    reshape.results[0].type = result.type  # as known as before, whatever symbols the new call's rule would give
    return _forward(graph, node, reshape.results[0])


def _reshape_argument(source: Value | None, result: Value, variants: Variants) -> tuple[int, ...] | None:
    """Reshape's ``shape`` for all input sizes: numbers, 0 for a batch that stays, -1 for at most one more."""
    shapes = variants.shapes(result)
    old = variants.shapes(source) if source is not None else []
    if not all(old) or not all(shapes) or any(s and 0 in s for s in shapes):
        return None
    argument = []
    for i, dims in enumerate(zip(*(s for s in shapes if s))):
        first = dims[0]
        if i == 0 and all(s and s[0] == d for s, d in zip(old, dims)):
            argument.append(0)
        else:
            argument.append(first if isinstance(first, int) and set(dims) == {first} else -1)
    return tuple(argument) if argument.count(-1) <= 1 else None


def _keeps_shape(graph: Graph, node: Node, variants: Variants) -> bool:
    """For operators that can only take away or repeat: what has the same shape has the same elements."""
    x = node.operands[0]
    return x is not None and variants.same_shape(x, node.results[0]) and _forward(graph, node, x)


def _of_one(graph: Graph, node: Node, variants: Variants) -> bool:
    return len(node.operands) == 1 and _keeps_shape(graph, node, variants)


def _cast(graph: Graph, node: Node, variants: Variants) -> bool:
    x = node.operands[0]
    if x is None or x.type.dtype is None or x.type.dtype is not node.results[0].type.dtype:
        return False
    return _forward(graph, node, x)


def _scale(graph: Graph, node: Node, variants: Variants) -> bool:
    return bool(Call(node).arg("scale") == 1.0) and _forward(graph, node, node.operands[0])


def _idempotent(graph: Graph, node: Node, variants: Variants) -> bool:
    """f(f(x)) is f(x)."""
    x = node.operands[0]
    return x is not None and x.producer is not None and x.producer.op == node.op and _forward(graph, node, x)


def _transpose(graph: Graph, node: Node, variants: Variants) -> bool:
    """Transposes that keep the order, and transposes of transposes."""
    axes = _permutation(node)
    x = node.operands[0]
    if axes is None or x is None:
        return False
    if axes == tuple(range(len(axes))):
        return _forward(graph, node, x)
    inner = _permutation(x.producer) if x.producer is not None else None
    if inner is None or x.producer is None:
        return False
    both = tuple(inner[a] for a in axes)
    made = Builder(graph, node, x.producer.location.join(node.location))
    source = x.producer.operands[0]
    return _forward(graph, node, made.op("Transpose", [source], {"axes": both}, node.results[0].name))


def _permutation(node: Node) -> tuple[int, ...] | None:
    """Which dimension of the operand each dimension of the result is; None for what is no transpose of known rank."""
    x = node.operands[0] if node.operands else None
    rank = x.type.rank if x is not None else None
    if rank is None:
        return None
    if node.op == "NCHW2NHWC":
        return (0, *range(2, rank), 1)
    if node.op == "NHWC2NCHW":
        return (0, rank - 1, *range(1, rank - 1))
    if node.op != "Transpose":
        return None
    axes = tuple(int(a) for a in Call(node).arg("axes") or ())
    return axes or tuple(reversed(range(rank)))


_RULES: dict[str, tuple[Rule, ...]] = {
    "Transpose": (_transpose,),
    "NCHW2NHWC": (_transpose,),
    "NHWC2NCHW": (_transpose,),
    "Slice": (_keeps_shape,),
    "Tile": (_keeps_shape,),
    "Concat": (_of_one,),
    "Sum": (_of_one,),
    "Max": (_of_one,),
    "Min": (_of_one,),
    "Mean": (_of_one,),
    "Cast": (_cast,),
    "Scale": (_scale,),
    "Relu": (_idempotent,),
}
