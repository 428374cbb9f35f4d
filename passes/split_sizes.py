"""Split operators whose output sizes depend on elements into the pass that finds the sizes and the pass that fills."""

from __future__ import annotations

from graphc.ir import Graph, LoweringError, Node, TensorType, Trait, Value
from graphc.ir.infer import infer_node
from graphc.ir.opdef import CARRIED, RESULTS, Call, open_dims

QUANTISED = "quantized.dnnlowp"
"""The family of the engine's operators."""


def split_sizes(graph: Graph) -> None:
    """Replace every node whose record has ``sizes`` by ``g.sizes.<Name>`` and ``g.fill.<Name>``, in place.

    The second reads the dimensions that the first writes; ``passes/segments.py`` puts it into a later segment. Nodes
    that run in Python stay. Raises ``LoweringError`` where the rank of an operand is not known.
    """
    for node in list(graph.nodes):
        if node.opdef.sizes is not None and Trait.HOST not in node.opdef.traits_of(Call(node)) and not _is_known(node):
            _split(graph, node)


def _is_known(node: Node) -> bool:
    """Size passes of the engine DNNLOWP find scales; arguments may have given them."""
    return node.opdef.family == QUANTISED and not open_dims(node.opdef.infer(Call(node)))


def _split(graph: Graph, node: Node) -> None:
    name = node.results[0].name
    made = [Value(TensorType(), f"{name}.dims")]
    made += [Value(TensorType(), f"{name}.scratch{k}") for k in range(_scratch_arrays(node))]
    attrs = {**node.attrs, RESULTS: len(node.results)}
    first = Node(f"g.sizes.{node.op}", list(node.operands), made, attrs, node.location, node.engine, node.device)
    attrs = {**node.attrs, CARRIED: len(made)}
    results = [Value(r.type, r.name) for r in node.results]
    second = Node(f"g.fill.{node.op}", [*node.operands, *made], results, attrs, node.location, node.engine, node.device)
    graph.insert_before(node, first)
    graph.insert_before(node, second)
    infer_node(first)
    for old, new in zip(node.results, results):
        graph.replace(old, new)
    graph.erase(node)


def _scratch_arrays(node: Node) -> int:
    """How many scratch arrays the operator works in; it may depend on the arguments, not on sizes."""
    if node.opdef.scratch is None:
        return 0
    operands = [None if v is None else Value(_with_some_size(node, v), v.name, v.constant) for v in node.operands]
    twin = Node(node.op, operands, [Value(r.type, r.name) for r in node.results], dict(node.attrs), node.location)
    return len(node.opdef.scratch(Call(twin)))


def _with_some_size(node: Node, value: Value) -> TensorType:
    """The operand's type with 1 for dimensions that are not known."""
    if value.type.shape is None:
        raise LoweringError(
            f"{node.location}: {node.op}: the rank of '{value.name}' is not known before a run",
            "give the shapes of all inputs; where the rank depends on data, cut the net before it",
        )
    return value.type.with_shape(tuple(d if isinstance(d, int) else 1 for d in value.type.shape))
