"""The pre- and postprocessing of style-transfer nets, as kernels need it: packed photos, the mean, the noise."""

from __future__ import annotations

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.ops.image.image import stylizer_noise
from graphc.ir.schedule import Choice, Needs, View

PREPROCESS = "PackedInt8BGRANHWCToNCHWCStylizerPreprocess"
DEPROCESS = "BRGNCHWCToPackedInt8BGRAStylizerDeprocess"
PLANES = 3


def mean_and_noise(call: Call) -> dict[int, np.ndarray] | None:
    """What replaces the mean of a preprocessing: the mean, the noise, and the noise's first two values once more, so
    that a pixel's three lie side by side. None where noise meets a mean that is computed.
    """
    noise, mean = _noise(call), call.constant(1)
    if noise.size and mean is None:
        return None
    return {} if mean is None else {1: np.concatenate([np.ravel(mean), noise]).astype(np.float32)}


def needs(call: Call, choice: Choice, target: object) -> Needs:
    """Packed photos are dense; the planes may lie anywhere."""
    unpack = call.node.op == PREPROCESS
    return Needs(dense=frozenset({0, 1} if unpack else {1}), dense_out=not unpack)


def planes(call: Call, x: View, y: View) -> View:
    """Which of operand and result are the float planes."""
    return y if call.node.op == PREPROCESS else x


def period(choice: Choice) -> int:
    """Values of noise behind the mean of a choice; 0 where there is none."""
    return max(choice.packed[1].size - (2 * PLANES - 1), 0) if 1 in choice.packed else 0


def _noise(call: Call) -> np.ndarray:
    if not call.arg("noise_std"):
        return np.zeros(0, np.float32)
    noise = stylizer_noise(call)
    return np.resize(noise, noise.size + PLANES - 1)
