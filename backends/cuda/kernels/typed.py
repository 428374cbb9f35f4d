"""Element types and layouts of what kernels read and write, as the words that load and store them.

A blocked value keeps eight channels of a pixel together (``Layout``): 16 bytes of halves.
"""

from __future__ import annotations

import numpy as np

from graphc.backends.cuda.target import BLOCK
from graphc.ir.fpmath import is_tf32, to_tf32
from graphc.ir.opdef import Call
from graphc.ir.precision import rounded
from graphc.ir.types import DType, TensorType

CODES = {DType.FLOAT: "f4", DType.FLOAT16: "f2", DType.BFLOAT16: "bf"}
DTYPES = {code: dtype for dtype, code in CODES.items()}
TF32 = "tf"
"""The code of float32 that is multiplied as TF32 (``ir/fpmath.py``)."""


def code_of(type: TensorType) -> str:
    """The code of a value's elements, float32 or halves, in words such as ``ld_f2``."""
    assert type.dtype is not None
    return CODES[type.dtype]


def multiplied(call: Call) -> str:
    """The code of what a product multiplies: that of operand 0, or ``TF32``."""
    return TF32 if is_tf32(call.node) else code_of(call.type(0))


def itemsize(code: str) -> int:
    """Bytes of an element."""
    return 4 if code in ("f4", TF32) else 2


def several(code: str, count: int) -> str:
    """What follows ``ld`` or ``st`` in the name of a word for ``count`` elements."""
    if count == 1:
        return f"_{code}"
    return "4" if (code, count) == ("f4", 4) else f"{count}_{code}"


def lane(name: str, k: int, count: int) -> str:
    """Element ``k`` of what a word for ``count`` elements has loaded."""
    return name if count == 1 else f"{name}[{k}]"


def is_readable(type: TensorType) -> bool:
    """The layout is plain or in blocks as a card has them."""
    return type.layout.block in (1, BLOCK)


def place_of_channel(channel: str, stride: str, block: int) -> str:
    """The offset of a channel; stride: of a channel, or of a block of them."""
    return f"({channel}) * {stride}" if block == 1 else f"(({channel}) >> 3) * {stride} + (({channel}) & 7)"


def blocks_of(channels: int, block: int) -> int:
    """Blocks of so many channels."""
    return -(-channels // block)


def stored(numbers: np.ndarray, code: str) -> np.ndarray:
    """float32 numbers as words of a code load them: float32, for ``tf`` rounded to TF32, or bits of halves."""
    if code == TF32:
        return to_tf32(numbers)
    made = np.ascontiguousarray(rounded(np.asarray(numbers, np.float32), DTYPES[code]))
    return made if code == "f4" else made.view(np.uint16)
