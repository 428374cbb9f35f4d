"""Max and average pooling as kernels need it."""

from __future__ import annotations

from graphc.ir.opdef import Call

OPERATORS = ("MaxPool", "AveragePool", "MaxPool1D", "AveragePool1D", "MaxPool2D", "AveragePool2D")


def kind_of(call: Call) -> str:
    """``max``, ``average`` of what is inside the image, or ``average_pad`` of whole windows."""
    if call.node.op.startswith("Max"):
        return "max"
    return "average_pad" if call.arg("count_include_pad") else "average"


def image_of(shape: tuple[int, ...], order: str = "NCHW") -> tuple[int, int, int, int]:
    """Images, channels, rows, columns of a shape in either order, of rank 3 (images of one row) or 4."""
    full = shape if len(shape) == 4 else ((shape[0], 1, *shape[1:]) if order == "NHWC" else (*shape[:2], 1, shape[2]))
    return (full[0], full[3], full[1], full[2]) if order == "NHWC" else (full[0], full[1], full[2], full[3])
