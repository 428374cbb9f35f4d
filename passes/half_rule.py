"""Which operators run in half precision, and what of them is a half: the rule of the pass ``half``, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from graphc.ir import PLAIN, Call, DType, Node, Trait, Value
from graphc.ir.device import wants_host
from graphc.passes.matching import broadcast_kind, traits_of

IsHalf = Callable[[Value], bool]
"""The value comes from an operator in half precision."""

CONVOLUTIONS = ("Conv", "Conv2D")
PRODUCTS = ("FC", "FCTransposed")
MATRICES = ("MatMul", "BatchMatMul")
POOLS = ("MaxPool", "AveragePool", "MaxPool1D", "AveragePool1D", "MaxPool2D", "AveragePool2D")
JOINS = ("Concat", "DepthConcat")

FEWEST = 16
"""Convolutions and products of fewer maps or channels stay float32: half precision hardly makes them faster or smaller,
and where all of a net is so narrow, too few errors cancel."""
MANY = 1 << 28
"""Multiply-adds from which a product of computed float32 matrices takes longer than making halves of these."""
PIECE = 8
"""Halves that tensor cores load at once: lines of matrices are multiples of it."""
LONG = 64
"""Products of a result from which a convolution has an image of few channels brought to blocks."""
SMALL = 1 << 15
"""Bytes of float32 weights up to which the last operator with weights before an answer stays float32."""


@dataclass(frozen=True)
class Row:
    """What the rule says of one kind of operators.

    includes: an operator is of this kind; the first row that includes it holds. covers: it runs in half precision.
    inputs: ``half`` or ``float``, what operand 0 (of a kind that moves, all) is converted to; ``any``: read as it is.
    weights: operand 1 becomes halves. matrices: so does operand 1 as it is computed, on targets with tensor cores.
    moves: the result is of the operands' type; of other kinds it is a half where somebody in half precision reads it,
    else float32. blocks: operand 0 is brought to the result's blocks of channels.
    """

    kind: str
    includes: Callable[[Node], bool]
    covers: Callable[[Node, IsHalf], bool]
    inputs: str
    weights: bool = False
    matrices: bool = False
    moves: bool = False
    blocks: bool = False


def row_of(node: Node) -> Row | None:
    """What the rule says of an operator; None for those that it never covers."""
    return next((row for row in TABLE if row.includes(node)), None)


def row_for_tensor_cores(node: Node) -> Row | None:
    """What the rule says of an operator on a target with tensor cores, for all that the CPU is not wanted for.

    Tensor cores multiply images in blocks. To convert one, and to multiply the channels that fill up its blocks, takes
    less time than long sums in float32.
    """
    row = row_of(node)
    return IMAGE_IN_BLOCKS if row is IMAGE and not wants_host(node) and _products(node) >= LONG else row


def reads_and_writes_floats(node: Node) -> bool:
    """What every covered operator does before the pass: some operand is float32, and the first result is."""
    floats = any(v is not None and v.type.dtype is DType.FLOAT for v in node.operands)
    return floats and bool(node.results) and node.results[0].type.dtype is DType.FLOAT


def has_weights(node: Node) -> bool:
    """The operator is a convolution or a product."""
    return row_of(node) in (IMAGE, CONVOLUTION, PRODUCT)


def is_small(node: Node) -> bool:
    """The operator has weights, and few of them."""
    weights = node.operands[1] if has_weights(node) else None
    return weights is not None and weights.type.nbytes <= SMALL


# ---- kinds -----------------------------------------------------------------------------------------------------------


def _reads_image(node: Node) -> bool:
    return node.op in CONVOLUTIONS and node.operands[0] is not None and node.operands[0].type.layout == PLAIN


def _has_trait(trait: Trait) -> Callable[[Node], bool]:
    return lambda node: trait in traits_of(node)


def _is_one_of(names: tuple[str, ...]) -> Callable[[Node], bool]:
    return lambda node: node.op in names


# ---- conditions ------------------------------------------------------------------------------------------------------


def is_blocked(node: Node) -> bool:
    """The first result lies in blocks of channels."""
    return node.results[0].type.layout != PLAIN


def has_known_weights(node: Node) -> bool:
    """Operand 1 is a float32 weight with elements, the bias a weight if there is one."""
    weight, bias = node.operands[1], node.operands[2] if Call(node).has(2) else None
    known = weight is not None and weight.data is not None and weight.type.dtype is DType.FLOAT
    return known and (bias is None or bias.is_constant)


def has_many_maps(node: Node) -> bool:
    """The first result has ``FEWEST`` numbers a pixel or a row, or more."""
    return _count(node.results[0]) >= FEWEST


def has_many_channels(node: Node) -> bool:
    """Operand 0 has ``FEWEST`` numbers a pixel or a row, or more."""
    return _count(node.operands[0]) >= FEWEST


def _wide_and_blocked(node: Node, is_half: IsHalf) -> bool:
    return _blocked_of_many_maps(node, is_half) and has_many_channels(node)


def _blocked_of_many_maps(node: Node, is_half: IsHalf) -> bool:
    return is_blocked(node) and _of_many_maps(node, is_half)


def _of_many_maps(node: Node, is_half: IsHalf) -> bool:
    return has_known_weights(node) and has_many_maps(node)


def _count(value: Value | None) -> int:
    """Numbers a pixel or a row; 0 where that is not known."""
    shape = (value.type.shape if value is not None else None) or (0,)
    count = shape[1 if len(shape) == 4 else -1]
    return count if isinstance(count, int) else 0


def _products(node: Node) -> int:
    """The products that a result of a convolution on constant weights is the sum of."""
    weight = node.operands[1]
    return prod(weight.type.static_shape[1:]) if weight is not None and weight.is_constant else 0


def _inputs(node: Node) -> list[Value]:
    """The float operands that are no weights."""
    return [v for v in node.operands if v is not None and v.type.dtype is DType.FLOAT and not v.is_constant]


def multiplies_computed(node: Node, piece: int) -> bool:
    """Both operands are computed, matrices or batches of them, and of known sizes: lines are whole pieces of so many
    elements, and sums and columns not few."""
    operands, call, y = node.operands[:2], Call(node), node.results[0].type
    if not y.is_static or any(v is None or v.is_constant or not v.type.is_static for v in operands):
        return False
    (a, b), columns = ([*v.type.static_shape] for v in operands if v is not None), y.static_shape[-1:]
    if min(len(a), len(b)) < 2 or (call.node.op == "MatMul" and max(len(a), len(b)) > 2):
        return False
    whole = a[-1] % piece == b[-1] % piece == 0
    return whole and _summed(node) >= FEWEST and columns[0] >= FEWEST


def _summed(node: Node) -> int:
    """The products that an element of a product of matrices is the sum of."""
    x = node.operands[0]
    assert x is not None
    return x.type.static_shape[-2 if Call(node).arg("trans_a") else -1]


def _computed(node: Node, is_half: IsHalf) -> bool:
    """Both operands are computed, of halves anyhow or with so much to multiply that it is worth making halves."""
    if not multiplies_computed(node, PIECE):
        return False
    return _all_half(node, is_half) or node.results[0].type.size * _summed(node) >= MANY


def _all_half(node: Node, is_half: IsHalf) -> bool:
    return bool(_inputs(node)) and all(map(is_half, _inputs(node)))


def _first_half(node: Node, is_half: IsHalf) -> bool:
    return node.operands[0] is not None and is_half(node.operands[0])


def _image_half(node: Node, is_half: IsHalf) -> bool:
    return _first_half(node, is_half) and (_inputs(node)[0].type.rank or 5) <= 4


def _any_half_all_simple(node: Node, is_half: IsHalf) -> bool:
    """All operands are float32, and have the result's shape, one element, or one a channel."""
    if not any(map(is_half, _inputs(node))):
        return False
    call, shape = Call(node), node.results[0].type.shape
    floats = all(v is not None and v.type.dtype is DType.FLOAT for v in node.operands)
    axis = 1 if len(shape or ()) > 1 else 0
    return (
        floats
        and shape is not None
        and all(broadcast_kind(call, i, shape, axis) != "other" for i in range(call.n_inputs))
    )


IMAGE = Row("image", _reads_image, _blocked_of_many_maps, inputs="float")
IMAGE_IN_BLOCKS = replace(IMAGE, inputs="half", weights=True, blocks=True)
CONVOLUTION = Row("convolution", _is_one_of(CONVOLUTIONS), _wide_and_blocked, inputs="half", weights=True)
PRODUCT = Row("product", _is_one_of(PRODUCTS), _of_many_maps, inputs="half", weights=True)

TABLE = (
    IMAGE,
    CONVOLUTION,
    PRODUCT,
    Row("matrices", _is_one_of(MATRICES), _computed, inputs="half", matrices=True),
    Row("join", _is_one_of(JOINS), _all_half, inputs="half", moves=True),
    Row("pool", _is_one_of(POOLS), _image_half, inputs="any"),
    Row("view", _has_trait(Trait.VIEW), _first_half, inputs="half", moves=True),
    Row("pointwise", _has_trait(Trait.POINTWISE), _any_half_all_simple, inputs="any"),
)
"""The rule; targets with tensor cores have another row for images (``row_for_tensor_cores``). Biases, operands of
epilogues that are no images, and whatever no row covers stay float32."""
