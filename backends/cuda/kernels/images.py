"""Images, and what moves over them, as kernels see them."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.schedule import View


@dataclass(frozen=True)
class Geometry:
    """What a product over images is told: strides of input and result, from image to pixel, in elements; further sizes,
    and moves of the window, as the kernel's parameters have them; groups.
    """

    x: tuple[int, ...]
    y: tuple[int, ...]
    sizes: tuple[int, ...]
    moves: tuple[int, ...]
    groups: int = 1


def image_strides(view: View) -> tuple[int, int, int, int]:
    """Strides of image, plane, row and pixel of a (N, C, H, W) or (N, C, W) value, in elements."""
    s = view.strides
    return (s[0], s[1], 0, s[2]) if len(s) == 3 else (s[0], s[1], s[2], s[3])
