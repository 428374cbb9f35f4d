"""Layers: the parts of a float graph that have an Int8 operator, and which of them shall run in 8 bits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from graphc.ir import Call, Graph, Node, Value
from graphc.ir.opdef import Trait
from graphc.ir.ops._window import CAFFE_POOLING, given_window
from graphc.ir.ops.tensor.parts import join_axis
from graphc.passes.matching import is_float, sole_use, traits_of, unused_but_first
from graphc.passes.variants import Variants

IMAGE_RANK = 4
CONVOLUTIONS = ("Conv", "Conv2D")


class Kind(Enum):
    """What a layer does with scales. PRODUCT: has weights. MIX: reads and writes scales of its own (sums, means).
    MOVE: moves numbers, so that all it reads and writes has one scale.
    """

    PRODUCT = "product"
    MIX = "mix"
    MOVE = "move"


@dataclass(frozen=True, eq=False)
class Layer:
    """An operator, with the Relu (a product's may be a Clip from 0 on) that alone reads its result, in order NCHW.

    op: the Int8 operator, without the Relu. inputs: the values that it would read in 8 bits; those of an FC are images
    where only a Flatten or Reshape is in between.
    """

    node: Node
    relu: Node | None
    op: str
    kind: Kind
    inputs: tuple[Value, ...]

    @property
    def last(self) -> Node:
        """The node that gives the result."""
        return self.relu or self.node

    @property
    def result(self) -> Value:
        """What the layer gives."""
        return self.last.results[0]

    @property
    def name(self) -> str:
        """Name of the result, by which tables and reports call the layer."""
        return self.result.name

    @property
    def groups(self) -> int:
        """Groups of channels of a product."""
        return int(Call(self.node).arg("group")) if self.op == "Int8Conv" else 1


def find_layers(graph: Graph) -> list[Layer]:
    """All layers that could run in 8 bits, in the order of the graph.

    Handles Conv (two spatial dimensions, any window and group) and FC with weights at hand; Sum and Add of two values
    of one shape; MaxPool; AveragePool that counts no border; Concat of channels; Relu, LeakyRelu, ChannelShuffle,
    ResizeNearest. A Relu that alone reads a convolution, FC, sum or pool belongs to it. Refuses what else there is,
    values whose further results are read, and what Caffe2's int8 library makes no operator of: pools of one pixel,
    slopes of LeakyRelu that are not in 0 ... 1, one group to shuffle.
    """
    variants = Variants(graph)
    layers: list[Layer] = []
    absorbed: set[Node] = set()
    for node in graph.nodes:
        layer = None if node in absorbed else _layer(graph, node, variants)
        if layer is not None:
            layers.append(layer)
            absorbed.update([layer.relu] if layer.relu else [])
    return layers


def choose_layers(layers: Sequence[Layer], in_float: Collection[str] = ()) -> list[Layer]:
    """The layers to run in 8 bits, without the products named in ``in_float``.

    Every other product does. What is between them does where all that it reads comes out of 8-bit layers and one of
    these reads its result: anything else would round more often than it saves time.
    """
    chosen = [layer for layer in layers if layer.kind is not Kind.PRODUCT or layer.name not in in_float]
    while True:
        made = {layer.result for layer in chosen}
        read = {v for layer in chosen for v in layer.inputs}
        kept = [n for n in chosen if n.kind is Kind.PRODUCT or (made.issuperset(n.inputs) and n.result in read)]
        if len(kept) == len(chosen):
            return kept
        chosen = kept


def _layer(graph: Graph, node: Node, variants: Variants) -> Layer | None:
    if not node.results or not unused_but_first(graph, node) or not is_float(node.results[0]):
        return None
    if "epilogue" in node.attrs or not all(map(is_float, node.operands)):
        return None
    call = Call(node)
    if node.op in CONVOLUTIONS and _is_image_convolution(call):
        return Layer(node, _activation_after(graph, node), "Int8Conv", Kind.PRODUCT, _data(node, 1))
    if node.op == "FC" and _is_plain_product(call):
        return Layer(node, _activation_after(graph, node), "Int8FC", Kind.PRODUCT, (_image_of(node, variants),))
    if any(v is None or v.is_constant for v in node.operands):
        return None
    if node.op in ("Sum", "Add") and _is_plain_sum(call, variants):
        return Layer(node, _relu_after(graph, node), "Int8Sum", Kind.MIX, _data(node, 2))
    return _small_layer(graph, node, call)


def _small_layer(graph: Graph, node: Node, call: Call) -> Layer | None:
    rank = call.type(0).rank
    if node.op == "Relu":
        return Layer(node, None, "Int8Relu", Kind.MOVE, _data(node, 1))
    if node.op == "LeakyRelu" and 0 < call.arg("alpha") <= 1:
        return Layer(node, None, "Int8LeakyRelu", Kind.MIX, _data(node, 1))
    if node.op == "Concat" and _joins_channels(call, rank):
        return Layer(node, None, "Int8Concat", Kind.MOVE, _data(node, len(node.operands)))
    if rank != IMAGE_RANK or (call.opdef.has_arg("order") and call.arg("order") == "NHWC"):
        return None
    is_move = node.op == "ResizeNearest" or (node.op == "ChannelShuffle" and call.arg("group") > 1)
    if is_move and len(node.operands) == 1:
        return Layer(node, None, f"Int8{node.op}", Kind.MOVE, _data(node, 1))
    if node.op == "MaxPool" and _has_narrow_border(call):
        return Layer(node, _relu_after(graph, node), "Int8MaxPool", Kind.MOVE, _data(node, 1))
    if node.op == "AveragePool" and _counts_no_border(call):
        return Layer(node, _relu_after(graph, node), "Int8AveragePool", Kind.MIX, _data(node, 1))
    return None


def _data(node: Node, count: int) -> tuple[Value, ...]:
    return tuple(v for v in node.operands[:count] if v is not None)


def _relu_after(graph: Graph, node: Node) -> Node | None:
    """The Relu that alone reads the result."""
    use = sole_use(graph, node.results[0])
    return use[0] if use is not None and use[0].op == "Relu" else None


def _activation_after(graph: Graph, node: Node) -> Node | None:
    """The Relu that alone reads the result, or a Clip from 0 on: the range of its result cuts off what is above."""
    use = sole_use(graph, node.results[0])
    if use is not None and use[0].op == "Clip" and Call(use[0]).arg("min") == 0:
        return use[0]
    return _relu_after(graph, node)


def _has_weights(call: Call) -> bool:
    return all(call.constant(i) is not None for i in ((1, 2) if call.has(2) else (1,)))


def _is_image_convolution(call: Call) -> bool:
    is_image = call.type(0).rank == IMAGE_RANK and call.arg("order") == "NCHW"
    return is_image and _has_weights(call) and isinstance(call.node.operands[0], Value) and _reads_data(call)


def _reads_data(call: Call) -> bool:
    x = call.node.operands[0]
    return x is not None and not x.is_constant


def _is_plain_product(call: Call) -> bool:
    """Rows of X are everything behind its first dimension."""
    rank = call.type(0).rank
    return rank in (2, IMAGE_RANK) and call.arg("axis") == 1 and _has_weights(call) and _reads_data(call)


def _image_of(node: Node, variants: Variants) -> Value:
    """The image that an FC reads, through views that keep the batch; else its operand."""
    x = node.operands[0]
    assert x is not None
    while x.producer is not None and x is x.producer.results[0] and traits_of(x.producer) & Trait.VIEW:
        source = x.producer.operands[0]
        if source is None or not _same_batch(variants, source, x):
            break
        x = source
    rank = x.type.rank
    operand = node.operands[0]
    assert operand is not None
    return x if rank == IMAGE_RANK and x.type.is_static else operand


def _same_batch(variants: Variants, a: Value, b: Value) -> bool:
    """The first dimensions are equal whatever the sizes of the inputs."""
    pairs = zip(variants.shapes(a), variants.shapes(b))
    return all(p and q and p[0] == q[0] for p, q in pairs)


def _is_plain_sum(call: Call, variants: Variants) -> bool:
    if len(call.node.operands) != 2 or (call.opdef.has_arg("broadcast") and call.arg("broadcast")):
        return False
    a, b = call.node.operands
    return a is not None and b is not None and variants.same_shape(a, b)


def _joins_channels(call: Call, rank: int | None) -> bool:
    return rank in (2, IMAGE_RANK) and not call.arg("add_axis") and join_axis(call, rank or 0) == 1


def _has_narrow_border(call: Call) -> bool:
    """Where a window reaches over the image, the pixel nearest to the border is in the window too."""
    w, _, _ = given_window(call)
    is_narrow = all(p < k for p, k in zip((*w.heads, *w.tails), (*w.kernel, *w.kernel)))
    return max(w.kernel) > 1 and set(w.dilation) == {1} and is_narrow


def _counts_no_border(call: Call) -> bool:
    """No window reaches over the image: Int8AveragePool divides by the whole window, AveragePool by what is inside."""
    w, whole, legacy = given_window(call)
    is_plain = not any(w.pads) and set(w.dilation) == {1} and legacy != CAFFE_POOLING and legacy < 2
    return whole or (max(w.kernel) > 1 and is_plain)
