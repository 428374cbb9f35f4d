"""Limits: scales with which a layer cannot run in 8 bits, because Caffe2's int8 library refuses them or a Clip is lost.

Source of the numbers: the checks with which QNNPACK makes its operators (convolution, fully connected, add, average
pooling, leaky ReLU), and the shift of 31 bits at most in its requantisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir import Call, Quant
from graphc.passes.quantize.layers import Kind, Layer
from graphc.passes.quantize.scales import SMALLEST

PRODUCT = (2.0**-32, 1.0)
"""Of X_scale * W_scale / Y_scale: from the first number on, below the second."""
RATIOS = {"Int8Sum": (2.0**-14, 2.0**8), "Int8AveragePool": (2.0**-8, 2.0**8), "Int8LeakyRelu": (2.0**-8, 2.0**8)}
"""Of X_scale / Y_scale of each input, by operator."""


def unfit_layer(layer: Layer, inputs: Sequence[Quant], own: Quant) -> str | None:
    """Why a layer cannot run in 8 bits, whatever its weights; None where it can. own: the scale of its result.

    The range of a result ends where a Clip does, up to half a step.
    """
    if layer.relu is not None and layer.relu.op == "Clip":
        most, highest = (254.5 - own.zero_point) * own.scale, Call(layer.last).arg("max")
        if most > highest:
            return f"the range of its result, tied to others, ends at {most:.3g}, its Clip at {highest:.3g}"
    for x in inputs if layer.op in RATIOS else ():
        ratio = float(np.float32(x.scale) / np.float32(own.scale))
        least, bound = RATIOS[layer.op]
        if not least <= ratio < bound:
            return f"X_scale / Y_scale would be {ratio:.3g}, {least:.3g} ... {bound:.3g} is possible"
    return None


def unfit_product(layer: Layer, x: Quant, weight_scale: float, own: Quant) -> str | None:
    """Why a product with one scale for all its weights is none for Caffe2; None where it is."""
    assert layer.kind is Kind.PRODUCT
    unit = np.float32(x.scale) * np.float32(weight_scale)
    if unit < SMALLEST:
        return f"X_scale * W_scale would be {unit:.3g}, no normal float32"
    ratio, (least, bound) = float(unit / np.float32(own.scale)), PRODUCT
    if least <= ratio < bound:
        return None
    return f"X_scale * W_scale / Y_scale would be {ratio:.3g}, {least:.3g} ... {bound:.3g} is possible"
