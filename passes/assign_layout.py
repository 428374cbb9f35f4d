"""assign_layout: channels in blocks of a vector's width for the convolutional part of a net."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from graphc.ir import PLAIN, Call, DType, Graph, Layout, Node, TensorType, Trait, Value
from graphc.ir.opdef import n_epilogue_operands
from graphc.passes.base import Pass, in_each_net
from graphc.passes.matching import channel_axis, traits_of
from graphc.passes.variants import Variants

_SMALL_INPUT = 4
"""Up to so many input channels a convolution reads plain rows: a block would be mostly padding."""


@dataclass(frozen=True)
class AssignLayout(Pass):
    """Give 4-D float values the layout NCHW<block>c where it helps, and insert g.reorder where layouts meet.

    Handles Conv in NCHW order with constant weights (one group, depthwise, or groups of whole blocks; one with up to 4
    input channels reads plain and writes blocked); operators with ``Trait.BLOCKED`` follow their operands: pooling,
    pointwise ones with operands of the full shape, per channel or of one element, Concat of whole blocks along the
    channels. Everything else is plain: other operators, ConvTranspose, NHWC, graph inputs and outputs, constants.
    Refuses graphs that have blocked values already.
    """

    block: int = 16

    def run(self, graph: Graph) -> bool:
        if self.block == 1 or any(v.type.layout != PLAIN for v in graph.values()):
            return False
        changed = in_each_net(graph, lambda g: _Assignment(g, self.block, Variants(g)).run())
        if changed:
            graph.stage = "optimised"
        return changed


@dataclass
class _Wish:
    """The layouts that a node wants: operands that are blocked (all others plain), and whether result 0 is."""

    operands: frozenset[int] = frozenset()
    result: bool = False


@dataclass
class _Assignment:
    graph: Graph
    block: int
    variants: Variants
    reordered: dict[tuple[Value, Layout], Value] = field(default_factory=dict)

    def run(self) -> bool:
        """Assign layouts in one sweep; True iff any value became blocked."""
        changed = False
        for node in list(self.graph.nodes):
            wish = self.wish(node)
            self.fetch_operands(node, wish)
            if wish.result:
                set_layout(node, Layout(self.block))
                changed = True
        for v in list(self.graph.outputs):
            if v.type.layout != PLAIN:
                plain = self.version(v, PLAIN, None)
                self.graph.outputs = [plain if o is v else o for o in self.graph.outputs]
        return changed

    def wish(self, node: Node) -> _Wish:
        """What the node wants, given the layouts of what it reads."""
        if Trait.BLOCKED not in traits_of(node) or not _is_candidate(node):
            return _Wish()
        if node.op in ("Conv", "Conv2D"):
            return self.convolution(node)
        full = self.full_operands(node)
        followed = [i for i in full if _layout(node.operands[i]) != PLAIN]
        return _Wish(frozenset(full), True) if followed else _Wish()

    def convolution(self, node: Node) -> _Wish:
        """One of: blocked to blocked, plain to blocked (few input channels), plain."""
        call = Call(node)
        weight = node.operands[1]
        if weight is None or not weight.is_constant or weight.type.rank != 4:
            return _Wish()
        maps, per_group = weight.type.static_shape[:2]
        group = int(call.arg("group"))
        channels = per_group * group
        first = len(node.operands) - n_epilogue_operands(node)
        residuals = [i for i in range(first, len(node.operands)) if self.is_full(node.operands[i], node)]
        if group == 1 and channels <= _SMALL_INPUT:
            return _Wish(frozenset(residuals), True)
        depthwise = group == channels == maps
        whole = per_group % self.block == 0 and (maps // group) % self.block == 0
        return _Wish(frozenset((0, *residuals)), True) if group == 1 or depthwise or whole else _Wish()

    def full_operands(self, node: Node) -> list[int]:
        """The operands that have to be blocked if the result is; none if the node has to stay plain."""
        if node.op == "Concat":
            return list(range(len(node.operands))) if self.joins_blocks(node) else []
        if Trait.POINTWISE not in traits_of(node):
            return [0]
        kinds = self.variants.operand_kinds(node, 1)
        return [i for i, k in enumerate(kinds) if k == "full"] if "other" not in kinds else []

    def is_full(self, operand: Value | None, node: Node) -> bool:
        """The operand has the shape of the result, whatever the input sizes; a row per channel has not."""
        if operand is None or operand.type.rank != 4:
            return False
        n, _, h, w = operand.type.shape or ()
        return not (operand.is_constant and (n, h, w) == (1, 1, 1)) and self.variants.same_shape(
            operand, node.results[0]
        )

    def joins_blocks(self, node: Node) -> bool:
        """A Concat along the channels whose pieces are whole blocks."""
        call = Call(node)
        axis = call.arg("axis") if call.given("axis") else channel_axis(call)
        pieces = [v.type.shape[1] if v is not None and v.type.shape else None for v in node.operands]
        whole = all(isinstance(c, int) and c % self.block == 0 for c in pieces)
        return axis in (1, -3) and not call.arg("add_axis") and whole

    def fetch_operands(self, node: Node, wish: _Wish) -> None:
        for i, v in enumerate(node.operands):
            if v is not None and (v.type.layout != PLAIN or i in wish.operands):
                node.set_operand(i, self.version(v, Layout(self.block) if i in wish.operands else PLAIN, node))

    def version(self, value: Value, layout: Layout, before: Node | None) -> Value:
        """The value in a layout: itself, or the g.reorder of it in front of its first reader (None: at the end)."""
        if value.type.layout == layout:
            return value
        if (value, layout) not in self.reordered:
            result = Value(replace(value.type, layout=layout), value.name)
            node = Node("g.reorder", [value], [result], {"layout": layout.text.encode()})
            node.location = value.producer.location if value.producer else node.location
            self.graph.append(node) if before is None else self.graph.insert_before(before, node)
            self.reordered[value, layout] = result
        return self.reordered[value, layout]


def _is_candidate(node: Node) -> bool:
    """Operand 0 and the results are 4-D float in NCHW order with a known number of channels; one result."""
    x = node.operands[0] if node.operands else None
    if x is None or (len(node.results) != 1 and any(r.uses for r in node.results[1:])):
        return False
    return _is_image(x.type) and _is_image(node.results[0].type) and channel_axis(Call(node)) == 1


def _is_image(type: TensorType) -> bool:
    return type.dtype is DType.FLOAT and type.rank == 4 and type.shape is not None and isinstance(type.shape[1], int)


def _layout(value: Value | None) -> Layout:
    return value.type.layout if value is not None else PLAIN


def set_layout(node: Node, layout: Layout) -> None:
    """Set the layout of result 0, and of the values of its shape in the node's fused graph."""
    result = node.results[0]
    result.type = replace(result.type, layout=layout)
    for inner in node.subgraphs():
        operands = node.operands[len(node.operands) - len(inner.inputs) :]
        for v, outer in zip(inner.inputs, operands):
            v.type = replace(v.type, layout=_layout(outer))
        if "epilogue" in node.attrs:
            inner.inputs[0].type = replace(inner.inputs[0].type, layout=layout)
        _set_inner(inner.nodes, result.type)


def _set_inner(nodes: Iterable[Node], type: TensorType) -> None:
    for node in nodes:
        node.results[0].type = replace(node.results[0].type, layout=type.layout)
