"""nhwc_to_nchw: operators on images in NHWC order work in NCHW order, for which the fast kernels are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.ir import Attr, Call, Graph, Node, Trait, Value
from graphc.ir.builder import Builder
from graphc.ir.opdef import aligned_shape
from graphc.ir.ops.tensor.parts import join_axis
from graphc.passes.base import Pass, at_each_node
from graphc.passes.matching import fresh_constant, is_output, traits_of

CONVOLUTIONS = ("Conv", "Conv1D", "Conv2D", "Conv3D", "ConvTranspose")
POOLINGS = tuple(f"{kind}Pool{suffix}" for kind in ("Max", "Average") for suffix in ("", "1D", "2D", "3D"))

WRAPPED = frozenset(
    (
        *CONVOLUTIONS,
        *(f"{name}Gradient" for name in (*CONVOLUTIONS, *POOLINGS)),
        "ConvRelu",
        "LRN",
        "LRNGradient",
        "GroupNorm",
        "GroupNormGradient",
        "InstanceNorm",
        "InstanceNormGradient",
        "SpatialBNGradient",
        "LpPool",
        "LpPoolGradient",
        "PadImageGradient",
        "ResizeNearest",
        "ResizeNearestGradient",
        "ChannelShuffle",
        "ChannelShuffleGradient",
    )
)
"""They always change order. A weight is transposed as the images are: (M, kH, kW, C) to (M, C, kH, kW)."""

FOLLOWING = frozenset((*POOLINGS, "PadImage", "SpatialBN", "AffineChannel", "PRelu", "RoIAlign"))
"""They have kernels for NHWC, and change order only where their image comes from an operator that did."""

JOINS = frozenset(("Concat", "DepthConcat", "Split", "DepthSplit"))
"""They work along one dimension of all the images that they read and write."""


@dataclass(frozen=True)
class NhwcToNchw(Pass):
    """Let convolutions, normalisations and their like with order NHWC work in order NCHW, between two transpositions.

    Handles the operators in ``WRAPPED``, in 1, 2 and 3 spatial dimensions, with weights at hand or not; after them, as
    long as the images come from such an operator, those in ``FOLLOWING``, Concat, Split, identities and pointwise
    operators whose other operands are such images or constants. So a chain keeps two transpositions, one at each end.
    Refuses images of unknown rank, and leaves what follows in NHWC where an operand is in NHWC only.
    """

    def run(self, graph: Graph) -> bool:
        return at_each_node(graph, _Reordering().at_node)


@dataclass
class _Reordering:
    """One run. transposed: the NCHW form of values that are not made from one."""

    transposed: dict[tuple[Graph, Value], Value] = field(default_factory=dict)

    def at_node(self, graph: Graph, node: Node) -> bool:
        image = node.operands[0] if node.operands else None
        if image is None or (image.type.rank or 0) < 3:
            return False
        if node.opdef.has_arg("order") and node.op in WRAPPED | FOLLOWING:
            nhwc = Call(node).arg("order") == "NHWC"
            wanted = nhwc and (node.op in WRAPPED or _source(image) is not None)
            return wanted and self._rewrite(graph, node, {**node.attrs, "order": b"NCHW"})
        if _source(image) is None and not any(_source(v) for v in node.operands[1:]):
            return False
        if node.op in JOINS:
            return self._join(graph, node)
        if traits_of(node) & (Trait.POINTWISE | Trait.IDENTITY):
            return self._pointwise(graph, node)
        return False

    def _rewrite(
        self, graph: Graph, node: Node, attrs: dict[str, Attr], operands: Sequence[Value | None] | None = None
    ) -> bool:
        """Replace ``node`` by the call on ``operands`` (default: its own in NCHW) and transposed results.

        Whatever has as many dimensions as the image is one, or a weight that is laid out like one.
        """
        build, rank = Builder(graph, node, node.location), Call(node).type(0).rank
        if operands is None:
            operands = [self._nchw(build, v) if v is not None and v.type.rank == rank else v for v in node.operands]
        is_image = [r.type.rank == rank for r in node.results]
        names = [f"{r.name}.nchw" if image and r.name else r.name for r, image in zip(node.results, is_image)]
        made = build.node(node.op, operands, attrs, names)
        made.engine, made.device = node.engine, node.device
        for old, new, image in zip(node.results, made.results, is_image):
            if old.uses or is_output(graph, old):
                stands = build.op("NCHW2NHWC", [new], name=old.name) if image else new
                stands.type = old.type  # as known as before, whatever symbols the new call's rule would give
                graph.replace(old, stands)
        graph.erase(node)
        return True

    def _nchw(self, build: Builder, value: Value) -> Value:
        found = _source(value) or self.transposed.get((build.graph, value))
        if found is None:
            name = f"{value.name}.nchw" if value.name else ""
            found = self.transposed[build.graph, value] = build.op("NHWC2NCHW", [value], name=name)
        return found

    def _join(self, graph: Graph, node: Node) -> bool:
        """Concat and Split whose images all come from NCHW, along the dimension that it was."""
        call = Call(node)
        rank = call.type(0).rank or 0
        images = node.operands if node.op.endswith("Concat") else node.operands[:1]
        if not all(_source(v) for v in images) or (call.opdef.has_arg("add_axis") and call.arg("add_axis")):
            return False
        axis = join_axis(call, rank)
        attrs = {k: v for k, v in node.attrs.items() if k != "order"} | {"axis": (0, *range(2, rank), 1)[axis]}
        return self._rewrite(graph, node, attrs)

    def _pointwise(self, graph: Graph, node: Node) -> bool:
        """Operators whose operands broadcast by NumPy's rules or by the legacy ones of ``broadcast=1``."""
        call, rank = Call(node), node.results[0].type.rank
        if rank is None or call.type(0).rank != rank:
            return False
        if call.opdef.align is not None and not call.opdef.has_arg("broadcast"):
            return False
        if not all(_has_nchw(call, i, rank) for i in range(call.n_inputs)):
            return False
        attrs = {k: v for k, v in node.attrs.items() if k not in ("broadcast", "axis", "axis_str", "order")}
        return self._rewrite(graph, node, attrs, [_operand(graph, call, i, rank) for i in range(call.n_inputs)])


def _source(value: Value | None) -> Value | None:
    """The value in NCHW that this one is the NHWC form of."""
    made = value.producer if value is not None else None
    return made.operands[0] if made is not None and made.op == "NCHW2NHWC" else None


def _has_nchw(call: Call, i: int, rank: int) -> bool:
    """Operand ``i`` of a pointwise call is made from NCHW, or a constant that is spread over the result."""
    value = call.node.operands[i]
    if value is None:
        return False
    if _source(value) is not None:
        return value.type.rank == rank
    shape = aligned_shape(call, i)
    return value.data is not None and shape is not None and len(shape) <= rank


def _operand(graph: Graph, call: Call, i: int, rank: int) -> Value:
    """What a pointwise call reads in NCHW: operands of the result's rank that are transposed alike broadcast alike."""
    value = call.node.operands[i]
    source = _source(value)
    if source is not None:
        return source
    assert value is not None
    assert value.data is not None
    shape = value.type.with_shape(aligned_shape(call, i)).static_shape
    full = value.data.reshape((1,) * (rank - len(shape)) + shape)
    return fresh_constant(graph, f"{value.name}.nchw", np.ascontiguousarray(np.moveaxis(full, -1, 1)))
