"""Type inference: runs the operators' rules over a graph in order. Imported -> typed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from graphc.ir.errors import GraphcError, VerifyError
from graphc.ir.excerpt import excerpt
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call, Trait, n_epilogue_operands
from graphc.ir.precision import PRECISION, float_twin, precision_of
from graphc.ir.types import PLAIN, Dim, DType, Layout, TensorType, dims_agree, merge_dims


def infer_types(graph: Graph) -> None:
    """Set the type of every result, sub-graphs included, from the types of inputs and constants.

    Inputs may have unknown or symbolic dims. In an imported graph the types that results have already are declarations:
    what inference knows less well is kept from them, and a contradiction is an error. In later stages they are the old
    answer: shapes are replaced, layout and quantisation, which passes decide, stay. An imported graph becomes typed.
    Raises ``VerifyError`` that names the operator.
    """
    declared = graph.stage == "imported"
    for node in graph.nodes:
        try:
            infer_node(node, declared)
        except VerifyError as e:
            raise VerifyError(e.message, e.help, e.excerpt or excerpt(graph, node)) from e
    if declared:
        graph.stage = "typed"


def infer_node(node: Node, declared: bool = False) -> None:
    """Set the types of one node's results. declared: types that they have already bind (see ``infer_types``)."""
    if PRECISION in node.attrs:
        _infer_half(node, declared)
        return
    call = Call(node)
    types = _apply_rule(call)
    if len(types) < len(node.results):
        call.fail(f"it has {len(types)} outputs, not {len(node.results)}")
    ports = call.opdef.outputs
    if call.opdef.loop is not None and ports and ports[-1].variadic and len(types) > len(node.results):
        call.fail(f"it has {len(types)} outputs, and all of them are computed, but {len(node.results)} have a name")
    for inner in node.subgraphs():
        if inner.stage == "imported":
            infer_types(inner)
    epilogue = node.attrs.get("epilogue")
    if isinstance(epilogue, Graph):
        fused = [v for v in node.operands[len(node.operands) - n_epilogue_operands(node) :] if v is not None]
        bare = replace(types[0], layout=_layout(call, node.results[0].type, types[0]))
        types[0] = infer_subgraph(epilogue, [bare, *(v.type for v in fused)])[0]
    for result, type in zip(node.results, types):
        result.type = _declared(call, result, type) if declared else _updated(call, result.type, type)


def _infer_half(node: Node, declared: bool) -> None:
    """Types of an operator in half precision: those of its twin, with its precision in place of float32."""
    try:
        dtype = precision_of(node)
    except ValueError as e:
        Call(node).fail(str(e), "remove the attribute precision, or give one of these")
    twin = float_twin(node)
    infer_node(twin, declared)
    for result, wide in zip(node.results, twin.results):
        result.type = replace(wide.type, dtype=dtype) if wide.type.dtype is DType.FLOAT else wide.type


def infer_subgraph(graph: Graph, types: Iterable[TensorType]) -> list[TensorType]:
    """The output types of a sub-graph whose inputs have the given types, in order; infers it.

    For the rules of operators with sub-graphs. A sub-graph that no rule has given types is inferred as it stands.
    """
    types = list(types)
    if len(types) != len(graph.inputs):
        raise VerifyError(f"graph '{graph.name}' has {len(graph.inputs)} inputs, but {len(types)} are given")
    for v, type in zip(graph.inputs, types):
        v.type = type
    infer_types(graph)
    return [v.type for v in graph.outputs]


def _apply_rule(call: Call) -> list[TensorType]:
    """What the operator's rule says; a rule that trips over a malformed call is an error of that call."""
    try:
        return list(call.opdef.infer(call))
    except GraphcError:
        raise
    except (ValueError, TypeError, IndexError) as e:
        try:
            call.fail(f"its types cannot be inferred: {e}", "check the number, the types and the ranks of its inputs")
        except VerifyError as named:
            raise named from e


def _declared(call: Call, result: Value, type: TensorType) -> TensorType:
    old = result.type
    if old.dtype and type.dtype and old.dtype is not type.dtype:
        call.fail(f"'{result.name}' is declared {old}, but is {type}")
    return replace(
        type,
        dtype=type.dtype or old.dtype,
        shape=_merged(call, result, type),
        layout=old.layout if type.layout == PLAIN else type.layout,
        quant=type.quant or old.quant,
    )


def _merged(call: Call, result: Value, type: TensorType) -> tuple[Dim, ...] | None:
    old, new = result.type.shape, type.shape
    if old is None or new is None:
        return old if new is None else new
    if len(old) != len(new) or not all(map(dims_agree, old, new)):
        call.fail(f"'{result.name}' is declared {result.type}, but is {type}")
    return tuple(map(merge_dims, new, old))


def _updated(call: Call, old: TensorType, type: TensorType) -> TensorType:
    layout = _layout(call, old, type)
    return replace(type, dtype=type.dtype or old.dtype, layout=layout, quant=type.quant or old.quant)


def _layout(call: Call, old: TensorType, type: TensorType) -> Layout:
    """A layout that a pass chose stays, except where the operator's own argument says it."""
    chosen = old.shape is not None and call.opdef.name != "g.reorder"
    return old.layout if chosen and Trait.BLOCKED in call.opdef.traits_of(call) else type.layout
