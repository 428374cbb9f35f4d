"""Images as kernels see them."""

from __future__ import annotations

from graphc.ir.schedule import View


def image_strides(view: View) -> tuple[int, int, int, int]:
    """Strides of image, plane, row and pixel of a (N, C, H, W) or (N, C, W) value, in elements."""
    s = view.strides
    return (s[0], s[1], 0, s[2]) if len(s) == 3 else (s[0], s[1], s[2], s[3])
