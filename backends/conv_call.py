"""What the rules of convolutions and pooling read from a call before they choose: window, sizes, layouts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from graphc.ir.opdef import Call
from graphc.ir.ops._window import Window
from graphc.ir.precision import reads_float

C = TypeVar("C", bound="ConvCall")


@dataclass(frozen=True)
class ConvCall:
    """A convolution, transposed or not, on one image size.

    shape, result: of input and output. block_in, block_out: lanes of a channel block, 1 where plain. constant: weights
    and bias are weights of the net.
    """

    window: Window
    shape: tuple[int, ...]
    result: tuple[int, ...]
    block_in: int
    block_out: int
    constant: bool
    has_bias: bool

    @classmethod
    def read(cls: type[C], call: Call, ranks: Collection[int], window_of: Callable[[Call], Window]) -> C | None:
        """The call where kernels can do it: float, NCHW, static, of one of these ranks; else None."""
        x, y = call.type(0), call.node.results[0].type
        if not reads_float(call.node, 0) or not x.is_static or x.rank not in ranks:
            return None
        w = window_of(call)
        if w.order != "NCHW":
            return None
        constant = call.is_weight(1) and (call.is_weight(2) or not call.has(2))
        return cls(w, x.static_shape, y.static_shape, x.layout.block, y.layout.block, constant, call.has(2))


def in_two(w: Window) -> Window | None:
    """The window in two dimensions, None for three."""
    if len(w.kernel) == 1:
        return Window((1, *w.kernel), (1, *w.stride), (1, 1), (0, w.heads[0], 0, w.tails[0]), 1, w.order)
    return w if len(w.kernel) == 2 else None
