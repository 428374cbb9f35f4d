"""``caffe2.python.visualize``: tensors as pictures, drawn by matplotlib, which has to be installed to draw.

A patch is one picture: (H, W), (H, W, 3), or a row whose length is a square or three times a square. ``NHWC`` has the
functions for patches with channels last, ``NCHW`` for channels first.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np


def ChannelFirst(arr: np.ndarray) -> np.ndarray:
    """The last axis before the two in front of it: (..., H, W, C) to (..., C, H, W)."""
    return np.moveaxis(arr, -1, -3)


def ChannelLast(arr: np.ndarray) -> np.ndarray:
    """The third axis from the end behind the others: (..., C, H, W) to (..., H, W, C)."""
    return np.moveaxis(arr, -3, -1)


def _show(image: np.ndarray, cmap: Any, axes: bool = True) -> np.ndarray:
    """Draw an image on matplotlib's current axes; raises ``ImportError`` where matplotlib is missing."""
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise ImportError("visualize draws with matplotlib: pip install matplotlib") from None
    pyplot.imshow(image, cmap="gray" if image.ndim == 2 and cmap is None else cmap, interpolation="nearest")
    if not axes:
        pyplot.axis("off")
    return image


class PatchVisualizer:
    """Draws patches; ``gap``: pixels between two of them. The functions give the image drawn."""

    def __init__(self, gap: int = 1) -> None:
        self.gap = gap

    def ShowSingle(self, patch: np.ndarray, cmap: Any = None) -> np.ndarray:
        """Draw one patch; raises ``ValueError`` for a shape that is none."""
        patch = patch.reshape(self.get_patch_shape(patch)) if patch.ndim == 1 else patch
        if patch.ndim not in (2, 3) or patch.shape[2:] not in ((), (3,)):
            raise ValueError(f"a patch of shape {patch.shape} is neither (H, W) nor (H, W, 3)")
        return _show(patch, cmap)

    def ShowMultiple(
        self,
        patches: np.ndarray,
        ncols: int | None = None,
        cmap: Any = None,
        bg_func: Callable[[np.ndarray], Any] = np.mean,
    ) -> np.ndarray:
        """Draw patches in a grid as square as can be; the ground has the value that ``bg_func`` gives for them.

        patches: (N, H, W), (N, H, W, 1), (N, H, W, 3) or rows. Raises ``ValueError`` for another shape.
        """
        if patches.ndim == 2:
            patches = patches.reshape(len(patches), *self.get_patch_shape(patches[0]))
        if patches.ndim not in (3, 4) or patches.shape[3:] not in ((), (1,), (3,)):
            raise ValueError(f"patches of shape {patches.shape} are neither (N, H, W) nor (N, H, W, 1 or 3)")
        if patches.shape[3:] == (1,):
            patches = patches[..., 0]
        count, height, width = patches.shape[:3]
        columns = int(np.ceil(np.sqrt(count))) if ncols is None else ncols
        rows = -(-count // columns)
        step_y, step_x = height + self.gap, width + self.gap
        size = (rows * step_y - self.gap, columns * step_x - self.gap, *patches.shape[3:])
        image = np.full(size, bg_func(patches), np.float64)
        for i, patch in enumerate(patches):
            top, left = i // columns * step_y, i % columns * step_x
            image[top : top + height, left : left + width] = patch
        return _show(image, cmap, axes=False)

    def ShowImages(self, patches: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        """``ShowMultiple`` with values stretched to the range from 0 to 1."""
        low, high = np.min(patches), np.max(patches)
        return self.ShowMultiple((patches - low) / (high - low + np.finfo(np.float64).eps), *args, **kwargs)

    def ShowChannels(
        self, patch: np.ndarray, cmap: Any = None, bg_func: Callable[[np.ndarray], Any] = np.mean
    ) -> np.ndarray:
        """Draw the channels of (H, W, C) as grey patches; raises ``ValueError`` for another shape."""
        if patch.ndim != 3:
            raise ValueError(f"a patch of shape {patch.shape} is not (H, W, C)")
        return self.ShowMultiple(ChannelFirst(patch), cmap=cmap, bg_func=bg_func)

    def get_patch_shape(self, patch: np.ndarray) -> tuple[int, ...]:
        """(n, n) for n * n numbers, (n, n, 3) for three times as many; raises ``ValueError`` for others."""
        for channels in ((), (3,)):
            edge = round((patch.size / (channels or (1,))[0]) ** 0.5)
            if edge * edge * (channels or (1,))[0] == patch.size:
                return (edge, edge, *channels)
        raise ValueError(f"{patch.size} numbers are no square patch, grey or in colour")


_visualizer = PatchVisualizer()


class NHWC:
    """Drawing of patches with channels last; nothing is returned, so that notebooks print nothing."""

    @staticmethod
    def ShowSingle(*args: Any, **kwargs: Any) -> None:
        """Draw one patch."""
        _visualizer.ShowSingle(*args, **kwargs)

    @staticmethod
    def ShowMultiple(*args: Any, **kwargs: Any) -> None:
        """Draw a grid of patches."""
        _visualizer.ShowMultiple(*args, **kwargs)

    @staticmethod
    def ShowImages(*args: Any, **kwargs: Any) -> None:
        """Draw a grid of patches with stretched values."""
        _visualizer.ShowImages(*args, **kwargs)

    @staticmethod
    def ShowChannels(*args: Any, **kwargs: Any) -> None:
        """Draw the channels of a patch."""
        _visualizer.ShowChannels(*args, **kwargs)


class NCHW:
    """Drawing of patches with channels first; nothing is returned."""

    @staticmethod
    def ShowSingle(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Draw one patch."""
        NHWC.ShowSingle(ChannelLast(patch), *args, **kwargs)

    @staticmethod
    def ShowMultiple(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Draw a grid of patches."""
        NHWC.ShowMultiple(ChannelLast(patch), *args, **kwargs)

    @staticmethod
    def ShowImages(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Draw a grid of patches with stretched values."""
        NHWC.ShowImages(ChannelLast(patch), *args, **kwargs)

    @staticmethod
    def ShowChannels(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        """Draw the channels of a patch."""
        NHWC.ShowChannels(ChannelLast(patch), *args, **kwargs)
