"""graphc's own conversion of images: from float32 in order NCHW to uint8 in order NHWC at once."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Call, Trait, op
from graphc.ir.ops._rules import require, require_rank
from graphc.ir.ops.quantized.int8 import Y_QUANT, int8_type, result_quant
from graphc.ir.types import DType, TensorType

MOST_CHANNELS = 4


def _image_type(call: Call) -> list[TensorType]:
    """X (N, C, H, W) becomes (N, H, W, C), C being 4 at most."""
    require(call, 0, (DType.FLOAT,))
    shape = require_rank(call, 0, 4)
    if shape is not None and isinstance(shape[1], int) and shape[1] > MOST_CHANNELS:
        call.fail(f"X has {shape[1]} channels, at most {MOST_CHANNELS} are supported", "use NCHW2NHWC and Int8Quantize")
    return [int8_type(call, None if shape is None else (shape[0], *shape[2:], shape[1]))]


def _image(call: Call, x: np.ndarray) -> list[np.ndarray]:
    quant = result_quant(call)
    with np.errstate(over="ignore", invalid="ignore"):
        q = np.rint(x.transpose(0, 2, 3, 1) / np.float32(quant.scale))
    bounded = np.clip(np.nan_to_num(q, nan=-1000.0, posinf=1000.0, neginf=-1000.0), -1000, 1000)
    return [np.clip(bounded.astype(np.int64) + quant.zero_point, 0, 255).astype(np.uint8)]


op(
    "g.int8_image",
    _image_type,
    inputs="X",
    outputs="Y",
    args=Y_QUANT,
    reference=_image,
    traits=Trait.INTERNAL,
    doc="Int8Quantize of an image that NCHW2NHWC gives",
)
