"""Images: borders, resizing, shuffled channels, space and batch exchanged, and the style-transfer conversions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._caffe2_random import Caffe2Generator, seed_of
from graphc.ir.ops._rules import ORDER, Shape, agree, bounded, channel_axis, nhwc, require, require_rank, vector
from graphc.ir.ops._window import WINDOW_ARGS, batch_and_channels, explicit_pads, join_shape, spatial
from graphc.ir.ops.image._images import exchange_blocks, pad_image, resize_bilinear, resize_nearest
from graphc.ir.ops.nn.norm import float_only
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge"}


def _pad_infer(call: Call) -> list[TensorType]:
    """Y: X with a border of ``pads`` pixels, or without them where they are negative; a pixel has to be left.

    With mode reflect the border is narrower than the image.
    """
    x, mode = require(call, 0), call.arg("mode")
    if mode not in PAD_MODES:
        call.fail(f"mode '{mode}' is not known", "use constant, reflect or edge")
    if call.arg("legacy_pad"):
        call.fail("legacy_pad does not go with PadImage", "give explicit pads")
    shape = require_rank(call, 0, 4)
    pads = explicit_pads(call, 2)
    if shape is None:
        return [x]
    image: list[Dim] = []
    for size, head, tail in zip(spatial(call, shape), pads[:2], pads[2:]):
        if mode == "reflect" and isinstance(size, int) and max(head, tail) >= size:
            call.fail(f"a border of {max(head, tail)} cannot be reflected from {size} pixels", "use less padding")
        if mode == "edge" and size == 0 and head + tail > 0:
            call.fail("X has no pixels, so there is no edge to repeat", "use mode constant")
        if min(head, tail) < 0 and isinstance(size, int) and size + head + tail < 1:
            call.fail(f"the pads {head} and {tail} leave nothing of {size} pixels", "cut fewer of them off")
        image.append(size + (head + tail))
    return [x.with_shape(join_shape(call, *batch_and_channels(call, shape), tuple(image)))]


def _pad_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    pads = explicit_pads(call, 2)
    sides = list(zip(pads[:2], pads[2:]))
    widths = [(0, 0), *sides, (0, 0)] if nhwc(call) else [(0, 0), (0, 0), *sides]
    border = [(max(head, 0), max(tail, 0)) for head, tail in widths]
    if call.arg("mode") == "constant":
        padded = np.pad(x, border, constant_values=call.arg("value"))
    else:
        padded = np.pad(x, border, mode=PAD_MODES[call.arg("mode")])  # type: ignore[call-overload]
    return [padded[tuple(slice(max(-head, 0), min(tail, 0) or None) for head, tail in widths)]]


PAD_ARGS = (
    *WINDOW_ARGS,
    Arg("mode", "string", b"constant", "constant, reflect (without the edge pixel) or edge"),
    Arg("value", "float", 0.0, "the border's value in mode constant"),
)


def pad_constants(call: Call) -> Sequence[Any]:
    """(order is NHWC, number of the mode, border above and to the left, value)."""
    float_only(call)
    top, left = explicit_pads(call, 2)[:2]
    return [int(nhwc(call)), list(PAD_MODES).index(call.arg("mode")), top, left, call.arg("value")]


def _pad_loop(x: np.ndarray, y: np.ndarray, last: int, kind: int, top: int, left: int, value: float) -> None:
    pad_image(x, y, last, kind, top, left, value, 0)


op(
    "PadImage",
    _pad_infer,
    inputs="X",
    outputs="Y",
    args=PAD_ARGS,
    loop=_pad_loop,
    constants=pad_constants,
    reference=_pad_reference,
    doc="The image with a border.",
)


def scales_of(call: Call, names: Sequence[str]) -> tuple[np.float32, ...] | None:
    """The scale of each spatial dimension; None where they are an input that is not a weight."""
    if call.has(1):
        shape = require(call, 1, (DType.FLOAT,)).shape
        if shape is not None:
            vector(call, 1, len(names), "number of scales")
        data = call.constant(1)
        values = None if data is None else tuple(np.float32(v) for v in np.ravel(data))
    else:
        values = tuple(np.float32(call.arg(n)) for n in names)
    for v in values or ():
        if not 0 < v < np.inf:
            call.fail(f"scale {v} is not positive", "use scales above 0")
    return values


def scaled_size(call: Call, size: Dim, scale: np.float32) -> Dim:
    """``int(size * scale)`` in float32, as Caffe2 computes it; fails for results that are no size."""
    if scale == int(scale):
        return size * int(scale) if not isinstance(size, int) else bounded(call, size * int(scale), 0, "size * scale")
    return bounded(call, int(np.float32(size) * scale), 1, "size * scale") if isinstance(size, int) else UNKNOWN


def _resized(call: Call, x: TensorType, names: Sequence[str]) -> list[TensorType]:
    shape = require_rank(call, 0, len(names) + 2)
    scales = scales_of(call, names)
    if shape is None:
        return [x]
    image = spatial(call, shape)
    sizes = (
        (UNKNOWN,) * len(image) if scales is None else tuple(map(lambda d, s: scaled_size(call, d, s), image, scales))
    )
    return [x.with_shape(join_shape(call, *batch_and_channels(call, shape), sizes))]


SCALES_2D = ("height_scale", "width_scale")
SCALES_3D = ("temporal_scale", *SCALES_2D)


def _resize_infer(call: Call) -> list[TensorType]:
    """Y: X with ``int(size * scale)`` pixels in each direction."""
    return _resized(call, require(call, 0), SCALES_3D if call.opdef.has_arg("temporal_scale") else SCALES_2D)


def nearest_sources(size: int, out: int, scale: np.float32) -> np.ndarray:
    """For each output pixel the input pixel that ResizeNearest takes: ``min(int(i / scale), size - 1)`` in float32."""
    at = (np.arange(out, dtype=np.float32) / np.float32(scale)).astype(np.int64)
    return np.asarray(np.minimum(at, size - 1))


def _nearest_reference(call: Call, x: np.ndarray, *scales: np.ndarray) -> Sequence[np.ndarray]:
    first = 1 if nhwc(call) else 2
    names = SCALES_3D if call.opdef.has_arg("temporal_scale") else SCALES_2D
    y = x
    for i, scale in enumerate(scales_of(call, names) or ()):
        size = x.shape[first + i]
        out = scaled_size(call, size, scale)
        assert isinstance(out, int)
        y = y.take(nearest_sources(size, out, scale), axis=first + i)
    return [np.ascontiguousarray(y)]


def scale_constants(call: Call) -> Sequence[Any]:
    """(spatial dimensions, order is NHWC, scales of depth, height and width, 1 where there is none)."""
    float_only(call)
    names = SCALES_3D if call.opdef.has_arg("temporal_scale") else SCALES_2D
    scales = scales_of(call, names)
    if scales is None:
        call.fail("its scales are not known", "give them as a weight or an argument")
    return [len(names), int(nhwc(call)), *(1.0,) * (3 - len(names)), *map(float, scales)]


def _nearest_loop(
    x: np.ndarray, scales: np.ndarray, y: np.ndarray, n: int, last: int, depth: float, height: float, width: float
) -> None:
    resize_nearest(x, y, n, last, depth, height, width, 0)


def _volume_loop(x: np.ndarray, y: np.ndarray, n: int, last: int, depth: float, height: float, width: float) -> None:
    resize_nearest(x, y, n, last, depth, height, width, 0)


def scale_args(names: Sequence[str]) -> tuple[Arg, ...]:
    """The arguments of these names, 1 each by default."""
    return tuple(Arg(n, "float", 1.0, "output size / input size") for n in names)


op(
    "ResizeNearest",
    _resize_infer,
    inputs="X scales?",
    outputs="Y",
    args=(*scale_args(SCALES_2D), ORDER),
    loop=_nearest_loop,
    constants=scale_constants,
    shape_inputs=(1,),
    reference=_nearest_reference,
    doc="The image resized; every pixel is one of the old image.",
)
op(
    "ResizeNearest3D",
    _resize_infer,
    inputs="X",
    outputs="Y",
    args=(*scale_args(SCALES_3D), ORDER),
    loop=_volume_loop,
    constants=scale_constants,
    reference=_nearest_reference,
    doc="The volume resized; every voxel is one of the old volume.",
)


def _upsample_infer(call: Call) -> list[TensorType]:
    """Y: X with ``scale`` times the rows and columns, the last two dimensions."""
    x, scale = require(call, 0), bounded(call, call.arg("scale"), 1, "scale")
    if x.shape is None:
        return [x]
    if len(x.shape) < 3:
        call.fail(f"the input has {len(x.shape)} dimensions, at least 3 are needed")
    return [x.with_shape((*x.shape[:-2], x.shape[-2] * scale, x.shape[-1] * scale))]


op(
    "UpsampleNearest",
    _upsample_infer,
    inputs="X",
    outputs="Y",
    args=(Arg("scale", "int", 2, "output size / input size"),),
    reference=lambda call, x: [x.repeat(call.arg("scale"), axis=-2).repeat(call.arg("scale"), axis=-1)],
    doc="The image enlarged by a whole number; every pixel is repeated.",
)


def bilinear_sources(size: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output pixel of UpsampleBilinear the two input pixels and the share of the second.

    The corners of both images lie on each other: position i * (size - 1) / (out - 1).
    """
    ratio = np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.float32(0)
    at = np.arange(out, dtype=np.float32) * ratio
    low = np.minimum(at.astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), at - low.astype(np.float32)


def _bilinear_reference(call: Call, x: np.ndarray, *scales: np.ndarray) -> Sequence[np.ndarray]:
    y, first = x, 1 if nhwc(call) else 2
    for i, scale in enumerate(scales_of(call, SCALES_2D) or ()):
        axis, size = first + i, x.shape[first + i]
        out = scaled_size(call, size, scale)
        assert isinstance(out, int)
        low, high, share = bilinear_sources(size, out)
        weights = share.reshape(-1, *(1,) * (x.ndim - axis - 1)).astype(x.dtype)
        y = y.take(low, axis=axis) * (1 - weights) + y.take(high, axis=axis) * weights
    return [np.ascontiguousarray(y)]


def _bilinear_loop(
    x: np.ndarray, scales: np.ndarray, y: np.ndarray, n: int, last: int, depth: float, height: float, width: float
) -> None:
    resize_bilinear(x, y, last, 0)


op(
    "UpsampleBilinear",
    _resize_infer,
    inputs="X scales?",
    outputs="Y",
    args=(*scale_args(SCALES_2D), ORDER),
    loop=_bilinear_loop,
    constants=scale_constants,
    shape_inputs=(1,),
    reference=_bilinear_reference,
    doc="The image resized; pixels between old ones are their weighted mean, corners lie on corners.",
)


def shuffle_infer(call: Call) -> list[TensorType]:
    """Y has the type of X; ``group`` divides its channels."""
    x, group = require(call, 0), bounded(call, call.arg("group"), 1, "group")
    if x.shape is not None:
        if len(x.shape) < 2:
            call.fail(f"the input has {len(x.shape)} dimensions, at least 2 are needed")
        c = x.shape[channel_axis(call, len(x.shape))]
        if isinstance(c, int) and c % group:
            call.fail(f"{c} channels cannot be divided into {group} groups", "use a group that divides the channels")
    return [x]


def _shuffle_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    axis, group = channel_axis(call, x.ndim), call.arg("group")
    parts = x.reshape(*x.shape[:axis], group, x.shape[axis] // group, *x.shape[axis + 1 :])
    return [np.ascontiguousarray(parts.swapaxes(axis, axis + 1)).reshape(x.shape)]


SHUFFLE_ARGS = (*WINDOW_ARGS, Arg("group", "int", 1, "groups whose channels are interleaved"))

op(
    "ChannelShuffle",
    shuffle_infer,
    inputs="X",
    outputs="Y",
    args=SHUFFLE_ARGS,
    reference=_shuffle_reference,
    doc="Channels of the groups dealt out in turn: output channel c * group + g is channel c of group g.",
)

BLOCK_ARGS = (
    Arg("block_size", "int", 2, "pixels of a block in each direction"),
    Arg("pad", "int", 0, "border on all sides; for the sides alone pad_t, pad_l, pad_b, pad_r"),
    *(Arg(f"pad_{side}", "int", None, "border on one side") for side in "tlbr"),
    ORDER,
)


def _block(call: Call) -> tuple[int, tuple[int, ...]]:
    """Block size and pads t, l, b, r."""
    if nhwc(call):
        call.fail("order NHWC is not defined for this operator", "insert NHWC2NCHW")
    size = bounded(call, call.arg("block_size"), 1, "block_size")
    sides = [call.arg(f"pad_{side}") for side in "tlbr"]
    pads = tuple(call.arg("pad") if p is None else p for p in sides)
    return size, tuple(bounded(call, p, 0, "pad") for p in pads)


def _to_batch_infer(call: Call) -> list[TensorType]:
    """Y: (N * b * b, C, padded H / b, padded W / b)."""
    x, (b, pads) = require(call, 0), _block(call)
    shape = require_rank(call, 0, 4)
    if shape is None:
        return [x]
    n, c, h, w = shape
    h, w = h + (pads[0] + pads[2]), w + (pads[1] + pads[3])
    for d in (h, w):
        if isinstance(d, int) and d % b:
            call.fail(f"{d} padded pixels are not a multiple of block_size {b}", "change the padding")
    return [x.with_shape((n * (b * b), c, h // b, w // b))]


def _to_space_infer(call: Call) -> list[TensorType]:
    """Y: (N / b / b, C, H * b, W * b), the border cut off."""
    x, (b, pads) = require(call, 0), _block(call)
    shape = require_rank(call, 0, 4)
    if shape is None:
        return [x]
    n, c, h, w = shape
    if isinstance(n, int) and n % (b * b):
        call.fail(f"{n} images are not a multiple of block_size squared, {b * b}")
    out = (h * b + -(pads[0] + pads[2]), w * b + -(pads[1] + pads[3]))
    if any(isinstance(d, int) and d < 0 for d in out):
        call.fail("the border is larger than the image", "use less padding")
    return [x.with_shape((n // (b * b), c, *out))]


def _block_constants(call: Call) -> Sequence[Any]:
    """(block size, border above and to the left)."""
    float_only(call)
    size, pads = _block(call)
    return [size, pads[0], pads[1]]


def _to_batch_loop(x: np.ndarray, y: np.ndarray, block: int, top: int, left: int) -> None:
    exchange_blocks(x, y, block, top, left, 0)


def _to_space_loop(x: np.ndarray, y: np.ndarray, block: int, top: int, left: int) -> None:
    exchange_blocks(y, x, block, top, left, 1)


op(
    "SpaceToBatch",
    _to_batch_infer,
    inputs="X",
    outputs="Y",
    args=BLOCK_ARGS,
    loop=_to_batch_loop,
    constants=_block_constants,
    doc="The pixels at one place of every block become an image of their own.",
)
op(
    "BatchToSpace",
    _to_space_infer,
    inputs="X",
    outputs="Y",
    args=BLOCK_ARGS,
    loop=_to_space_loop,
    constants=_block_constants,
    doc="Undoes SpaceToBatch.",
)

_PACKED, _PLANES = 4, 3


def _mean(call: Call) -> None:
    require(call, 1, (DType.FLOAT,))
    vector(call, 1, _PLANES, "length of the mean")


def _preprocess_infer(call: Call) -> list[TensorType]:
    """Y: float (N, 3, H, W) of uint8 (N, H, W, 4); the mean has 3 elements."""
    require(call, 0, (DType.UINT8, DType.BYTE))
    shape = require_rank(call, 0, 4)
    _mean(call)
    bounded(call, call.arg("noise_size"), 1, "noise_size")
    if shape is None:
        return [TensorType(DType.FLOAT, (UNKNOWN, _PLANES, UNKNOWN, UNKNOWN))]
    agree(call, shape[3], _PACKED, "channels of the packed image")
    return [TensorType(DType.FLOAT, (shape[0], _PLANES, *shape[1:3]))]


def stylizer_noise(call: Call) -> np.ndarray:
    """The noise that the preprocessing adds: ``noise_size`` values, used in turn for every channel of every pixel.

    Caffe2 draws them once for a workspace. With ``random_seed`` in the device option they are Caffe2's values of that
    seed; without, Caffe2's generator begins with the time, and graphc draws the same values of its own always.
    """
    seed, size, std = seed_of(call), call.arg("noise_size"), call.arg("noise_std")
    if seed is not None:
        return Caffe2Generator(seed).normal(0.0, std, (size,))
    return np.asarray(np.random.default_rng(0).standard_normal(size) * std, np.float32)


def _preprocess_reference(call: Call, x: np.ndarray, mean: np.ndarray) -> Sequence[np.ndarray]:
    pixels = x[..., :_PLANES].astype(np.float32) - mean
    if call.arg("noise_std"):
        pixels = pixels + np.resize(stylizer_noise(call), pixels.shape[1:])
    return [np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))]


op(
    "PackedInt8BGRANHWCToNCHWCStylizerPreprocess",
    _preprocess_infer,
    inputs="X mean",
    outputs="Y",
    args=(
        Arg("noise_std", "float", 10.0, "standard deviation of the noise that is added"),
        Arg("noise_size", "int", 491, "values of noise, used again and again"),
    ),
    reference=_preprocess_reference,
    doc="A packed BGRA photo as three float planes, the mean subtracted and noise added.",
)


def _deprocess_infer(call: Call) -> list[TensorType]:
    """Y: uint8 (N, H, W, 4) of float (N, 3, H, W); the mean has 3 elements."""
    require(call, 0, (DType.FLOAT,))
    shape: Shape | None = require_rank(call, 0, 4)
    _mean(call)
    if shape is None:
        return [TensorType(DType.UINT8, (UNKNOWN, UNKNOWN, UNKNOWN, _PACKED))]
    agree(call, shape[1], _PLANES, "planes of the image")
    return [TensorType(DType.UINT8, (shape[0], *shape[2:], _PACKED))]


def _deprocess_reference(call: Call, x: np.ndarray, mean: np.ndarray) -> Sequence[np.ndarray]:
    y = np.full((x.shape[0], *x.shape[2:], _PACKED), 255, np.uint8)
    y[..., :_PLANES] = np.clip(x + mean.reshape(1, _PLANES, 1, 1), 0, 255).transpose(0, 2, 3, 1)
    return [y]


op(
    "BRGNCHWCToPackedInt8BGRAStylizerDeprocess",
    _deprocess_infer,
    inputs="X mean",
    outputs="Y",
    reference=_deprocess_reference,
    doc="Three float planes as a packed BGRA photo: the mean added, clipped to 0..255, cut off, opaque.",
)


def _yuv_infer(call: Call) -> list[TensorType]:
    """Z has the type of X, (N, 3, H, W); mean and standard deviation are (1, C)."""
    x, shape = require(call, 0, (DType.FLOAT,)), require_rank(call, 0, 4)
    for i in (1, 2):
        require(call, i, (DType.FLOAT,))
        stats = require_rank(call, i, 2)
        if shape is not None and stats is not None:
            agree(call, stats[0], 1, f"rows of {call.input_name(i)}")
            agree(call, stats[1], shape[1], f"length of {call.input_name(i)}")
    return [x]


def _plane_align(call: Call, i: int) -> Shape:
    shape = call.type(i).shape or ()
    return (1, shape[-1], 1, 1) if i and shape else shape


op(
    "NormalizePlanarYUV",
    _yuv_infer,
    inputs="X mean std",
    outputs="Z",
    scalar=lambda o, call, x, mean, std: (x - mean) / std,
    align=_plane_align,
    traits=Trait.POINTWISE | Trait.BLOCKED,
    inplace=((0, 0),),
    doc="Each plane minus its mean, divided by its standard deviation.",
)
