"""Int8 convolutions and matrix products as kernels see them: sizes, zero points, exactness, scaling of the result.

A matrix product is a convolution of one image of one row, whose pixels are the rows of the matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.ops.quantized._fixed_point import q31
from graphc.ir.ops.quantized.int8 import product_scale, quant_of, result_quant
from graphc.ir.ops.quantized.native import RESIDUAL
from graphc.ir.types import OPEN_QUANT, DType

CONVOLUTIONS = ("Int8Conv", "Int8ConvRelu")
PRODUCTS = ("Int8FC", "Int8FCRelu")
NATIVE = ("g.int8_conv", "g.int8_fc")
WIDEST = 2**31 - 1
WIDEST_SHIFT = 31
BEYOND = 511
"""A result that is this far from zero before the zero point is added ends up clamped."""

Pair = tuple[int, int]


def is_quantised(call: Call, *inputs: int) -> bool:
    """The inputs are static uint8 with a scale that is known now."""
    types = [call.type(i) for i in inputs]
    return all(t.dtype is DType.UINT8 and t.is_static and t.quant not in (None, OPEN_QUANT) for t in types)


@dataclass(frozen=True)
class Int8Product:
    """A convolution of (images, rows, columns, channels) bytes.

    image, output: rows and columns of X and Y. heads: border above and to the left, negative where windows skip pixels.
    x_zero, w_zero, zero: zero points of X, W and Y; low: the least result.
    """

    images: int
    channels: int
    maps: int
    group: int
    image: Pair
    output: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    heads: Pair
    x_zero: int
    w_zero: int
    zero: int
    low: int

    @staticmethod
    def of(call: Call) -> Int8Product | None:
        """The product of a call with weights whose types and scales are known; else None."""
        if not _is_known(call) or not (call.is_weight(1) and call.is_weight(2)):
            return None
        return _matrix_product(call) if call.node.op in (*PRODUCTS, "g.int8_fc") else _convolution(call)

    @property
    def depth(self) -> int:
        """Channels of a group."""
        return self.channels // self.group

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.pixels * self.maps * self.depth * math.prod(self.kernel)

    @property
    def pixels(self) -> int:
        """Pixels of the result, over all images."""
        return self.images * math.prod(self.output)

    @property
    def before(self) -> Pair:
        """Pixels of border above and to the left that windows touch."""
        return max(0, self.heads[0]), max(0, self.heads[1])

    @property
    def padded(self) -> Pair:
        """Rows and columns of the image with its border, as far as windows reach."""
        sizes = []
        for i in range(2):
            end = (self.output[i] - 1) * self.stride[i] + self.dilation[i] * (self.kernel[i] - 1) + 1 - self.heads[i]
            sizes.append(self.before[i] + max(self.image[i], end))
        return sizes[0], sizes[1]

    @property
    def has_border(self) -> bool:
        """Windows touch pixels outside the image."""
        return self.padded != self.image

    @property
    def is_flat(self) -> bool:
        """Windows are single pixels side by side: all images are one long row."""
        return {*self.kernel, *self.stride} == {1} and not self.has_border and not any(self.heads)

    @property
    def is_depthwise(self) -> bool:
        """Each channel is a group and a map of its own."""
        return self.group == self.channels == self.maps

    def without_zero_point(self, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """The bias (M,) in int64 less what X's zero point adds to every sum of (M, kH, kW, C / group) weights."""
        sums = (weights.astype(np.int64) - self.w_zero).reshape(self.maps, -1).sum(1)
        return np.asarray(bias.astype(np.int64) - self.x_zero * sums)

    def most(self, weights: np.ndarray, bias: np.ndarray) -> int:
        """No sum is larger in size, whatever X holds. weights: (M, kH, kW, C / group); bias: (M,)."""
        return int(self.most_by_map(weights, bias).max(initial=0))

    def most_by_map(self, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """``most`` for each map."""
        span = np.abs(weights.astype(np.int64) - self.w_zero).reshape(self.maps, -1).sum(1)
        return np.asarray(span * max(self.x_zero, 255 - self.x_zero) + np.abs(bias.astype(np.int64)))


def _is_known(call: Call) -> bool:
    if call.node.op not in NATIVE:
        return is_quantised(call, 0, 1)
    rest = (RESIDUAL,) if call.has(RESIDUAL) else ()
    return is_quantised(call, 0, *rest) and call.type(1).is_static and call.is_weight(3)


def _convolution(call: Call) -> Int8Product:
    w, x, y = window(call), call.type(0).static_shape, call.node.results[0].type.static_shape
    kernel, stride, dilation, heads = ((v[0], v[1]) for v in (w.kernel, w.stride, w.dilation, w.heads))
    image, output = (x[1], x[2]), (y[1], y[2])
    return Int8Product(x[0], x[3], y[3], w.group, image, output, kernel, stride, dilation, heads, *_zeros(call))


def _matrix_product(call: Call) -> Int8Product:
    x, one = call.type(0).static_shape, (1, 1)
    axis = call.arg("axis") % len(x)
    image = (1, math.prod(x[:axis]))
    maps = call.node.results[0].type.static_shape[-1]
    return Int8Product(1, math.prod(x[axis:]), maps, 1, image, image, one, one, one, (0, 0), *_zeros(call))


def _zeros(call: Call) -> tuple[int, int, int, int]:
    """Zero points of X, W and Y, and the least result."""
    zero, x_zero = result_quant(call).zero_point, quant_of(call, 0).zero_point
    if call.node.op in NATIVE:
        return x_zero, 0, zero, zero * bool(call.arg("relu"))
    return x_zero, quant_of(call, 1).zero_point, zero, zero * call.node.op.endswith("Relu")


@dataclass(frozen=True)
class Scaling:
    """How sums become results: times ``multiplier`` / 2**31, then 2**left, or a rounded division by 2**right."""

    multiplier: int
    right: int
    left: int

    @staticmethod
    def of(call: Call) -> Scaling:
        """That of a product's scale. What a shift of more than 31 leaves of 32 bits is 0: so is the multiplier then."""
        multiplier, shift = q31(product_scale(call))
        if shift > WIDEST_SHIFT:
            return Scaling(0, 0, 0)
        return Scaling(multiplier, max(shift, 0), min(max(-shift, 0), 30))

    def step(self, most: int, zero: int) -> str:
        """How the kernel goes from products to results, for sums up to ``most`` and the zero point.

        ``grow``: by the left shift. ``add``: half a unit and the zero point are added before the right shift, which is
        quick; ``shift`` where that could leave 32 bits, or there is nothing to shift.
        """
        if self.left:
            return "grow"
        largest = (most * self.multiplier >> 31) + 1 + self.start(zero)
        return "add" if self.right and largest < WIDEST else "shift"

    def start(self, zero: int) -> int:
        """Half a unit and the zero point, in units of 1 / 2**right."""
        return (1 << self.right >> 1) + (zero << self.right)

    @property
    def limit(self) -> int:
        """What is beyond it before the left shift is clamped after it anyway."""
        return (BEYOND >> self.left) + 1
