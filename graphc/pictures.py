"""Pictures to network inputs: the preparation that Caffe's and Caffe2's image models expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from graphc.ir import FileError

MOST_PIXELS = 1 << 26
"""Of a scaled picture."""


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes a (C, size, size) float32 array.

    resize: the shorter side is scaled to this (bilinear), then the centre is cut out. mean: subtracted per channel, in
    the order of the channels fed. scale: multiplied at the end. bgr: channel order blue, green, red. grey: one channel.
    """

    size: int
    resize: int = 0
    mean: tuple[float, ...] = ()
    scale: float = 1.0
    bgr: bool = False
    grey: bool = False

    @property
    def shorter_side(self) -> int:
        """``resize``, or its default: 256 for the ImageNet sizes (192 to 256), else ``size`` itself."""
        return self.resize or (256 if 192 <= self.size <= 256 else self.size)


def load_picture(path: str | Path, how: Preparation) -> np.ndarray:
    """A picture file as (C, size, size) float32; raises ``FileError`` for what is no picture."""
    try:
        with Image.open(path) as picture:
            picture = picture.convert("L" if how.grey else "RGB")
            pixels = np.asarray(_crop(picture, how), np.float32)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise FileError(f"{path} is not a picture that can be read: {error}", "use PNG or JPEG") from None
    planes = pixels[None] if how.grey else pixels.transpose(2, 0, 1)
    if how.bgr and not how.grey:
        planes = planes[::-1]
    if len(how.mean) not in (0, 1, len(planes)):
        raise FileError(
            f"{path}: the mean has {len(how.mean)} values, the picture {len(planes)} channels",
            "give one value, or one per channel",
        )
    if how.mean:
        planes = planes - np.array(how.mean, np.float32).reshape(-1, 1, 1)
    return np.ascontiguousarray(planes * np.float32(how.scale))


def _crop(picture: Image.Image, how: Preparation) -> Image.Image:
    w, h = picture.size
    ratio = how.shorter_side / min(w, h)
    w, h = max(how.size, round(w * ratio)), max(how.size, round(h * ratio))
    if w * h > MOST_PIXELS:
        raise ValueError(f"it would be scaled to {w} x {h} pixels; ask for a smaller size")
    picture = picture.resize((w, h), Image.Resampling.BILINEAR)
    left, top = (w - how.size) // 2, (h - how.size) // 2
    return picture.crop((left, top, left + how.size, top + how.size))


def load_pictures(paths: Sequence[str | Path], how: Preparation) -> np.ndarray:
    """A batch (N, C, size, size) of pictures."""
    return np.stack([load_picture(p, how) for p in paths])
