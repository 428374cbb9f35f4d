"""Input shapes for nets that do not tell them: a size that fits, to choose kernels for; plans run other sizes too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphc.ir import Call, Dim, DType, Graph, GraphcError, Node, TensorType, Value
from graphc.ir.infer import infer_types
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph

SIZES = (224, 227, 256, 299, 300, 416, 512, 128, 112, 96, 64, 48, 32, 28, 24, 20, 16, 12, 8, 10)
"""Picture sizes in the order in which they are tried: those of ImageNet models first."""
CONVERSIONS = ("NCHW2NHWC", "NHWC2NCHW", "Int8Quantize")


def assume_input_shapes(graph: Graph) -> list[str]:
    """Give inputs without a static shape the first one under which the whole net types; a note for each.

    Channels come from the weights of the operator that reads the input. An input for which nothing fits stays open.
    """
    notes = []
    for v in graph.inputs:
        if v.uses and not v.type.is_static:
            found = next((t for t in _candidates(v) if _fits(graph, v, t)), None)
            if found is not None:
                v.type = found
                notes.append(
                    f"no shape was given for input '{v.name}': {found} is assumed; the plan runs other sizes too"
                )
    graph.notes += notes
    return notes


def _candidates(value: Value) -> Iterator[TensorType]:
    node, index = next(iter(value.uses))
    dtype = value.type.dtype or DType.FLOAT
    if node.op.startswith("PackedInt8BGRA") and index == 0:
        yield from (TensorType(DType.UINT8, (1, s, s, 4)) for s in SIZES)
    elif value.type.shape is not None:
        yield from (TensorType(dtype, _filled(value.type.shape, s)) for s in SIZES)
    elif index == 0:
        yield from (TensorType(dtype, shape) for shape in _fitting_shapes(node))


def _fitting_shapes(node: Node) -> Iterator[tuple[int, ...]]:
    """Shapes of what a product reads by its weights, directly or behind changes of order and precision."""
    is_swapped = False
    while node.op in CONVERSIONS and node.results[0].uses:
        is_swapped ^= node.op != "Int8Quantize"
        node, index = next(iter(node.results[0].uses))
        if index != 0:
            return
    weight = _weight_shape(node)
    if weight is not None and node.op in ("FC", "FCTransposed", "Int8FC"):
        yield 1, weight[0 if node.op == "FCTransposed" else -1]
    elif weight is not None and node.op in ("Conv", "Int8Conv", "Int8ConvRelu") and len(weight) == 4:
        call = Call(node)
        is_last = call.arg("order") == "NHWC"
        channels = weight[3 if is_last else 1] * max(call.arg("group"), 1)
        yield from ((1, s, s, channels) if is_last != is_swapped else (1, channels, s, s) for s in SIZES)


def _weight_shape(node: Node) -> tuple[int, ...] | None:
    weight = node.operands[1] if len(node.operands) > 1 else None
    return weight.type.static_shape if weight is not None and weight.type.is_static else None


def _filled(shape: tuple[Dim, ...], size: int) -> tuple[int, ...]:
    """Open dims: 1 for the first, ``size`` for others."""
    return tuple(d if isinstance(d, int) else 1 if i == 0 else size for i, d in enumerate(shape))


def _fits(graph: Graph, value: Value, type: TensorType) -> bool:
    """The net types with this input; tried on a copy, which shares the weights."""
    weights = {v.name: v.data for v in graph.constants if v.data is not None}
    copy = parse(print_graph(graph), weights)
    target = copy.inputs[graph.inputs.index(value)]
    target.type = replace(type)
    try:
        infer_types(copy)
    except GraphcError:
        return False
    return all(r.type.is_static for node in copy.nodes for r in node.results) or len(copy.inputs) > 1
