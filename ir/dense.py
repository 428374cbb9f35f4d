"""Small weights written in the text itself, ``dense<[0.5, nan, -0.0]>``: exact to the bit."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from graphc.ir.attrs import format_scalar, unescape
from graphc.ir.graph import Constant
from graphc.ir.types import DType, TensorType

MAX_ELEMENTS = 16
MAX_STRING_BYTES = 1024
_NAN_BITS = re.compile(r"nan:0x([0-9a-f]+)")


def is_small(constant: Constant) -> bool:
    """The weight is written in full: its storage is at hand, fits its type, and has 16 elements at most."""
    data, dtype = constant.data, constant.type.dtype
    if data is None or dtype is None or data.size > MAX_ELEMENTS or data.dtype != dtype.numpy:
        return False
    if not constant.type.is_static or constant.type.static_shape != data.shape:
        return False
    if dtype is not DType.STRING:
        return True
    elements = data.reshape(-1).tolist()
    return all(type(e) is bytes for e in elements) and sum(map(len, elements)) <= MAX_STRING_BYTES


def format_dense(constant: Constant) -> str:
    """``dense<...>`` of a weight that ``is_small``: a list in row-major order, or one element for rank 0."""
    assert constant.data is not None
    elements = [_format(e) for e in constant.data.reshape(-1)]
    return f"dense<{elements[0]}>" if constant.data.ndim == 0 else f"dense<[{', '.join(elements)}]>"


def dense_array(elements: Sequence[str], type: TensorType) -> np.ndarray:
    """The array of a type from the texts of its elements; raises ``ValueError`` where they do not fit."""
    if type.dtype is None:
        raise ValueError("the elements of a constant need an element type")
    shape = type.static_shape
    if len(elements) != type.size:
        raise ValueError(f"{type} has {type.size} elements, not {len(elements)}")
    array = np.empty(len(elements), type.dtype.numpy)
    for i, text in enumerate(elements):
        array[i] = _element(text, array.dtype)
    return array.reshape(shape)


def _format(e: np.generic | bytes) -> str:
    if isinstance(e, bytes):
        return format_scalar(e)
    if isinstance(e, np.bool_):
        return "true" if e else "false"
    if not isinstance(e, np.floating):
        return str(e)
    bits = e.tobytes()[::-1].hex()
    if np.isnan(e) and bits != type(e)(np.nan).tobytes()[::-1].hex():
        return f"nan:0x{bits}"
    # Fewest digits that give this number again, written as Python does: NumPy's own form differs by its version.
    return repr(float(np.format_float_scientific(e)))


def _element(text: str, dtype: np.dtype) -> object:
    if dtype.kind == "O" or text.startswith('"'):
        if dtype.kind != "O" or not text.startswith('"'):
            raise ValueError(f"{text} is no element of a tensor of {dtype}")
        return unescape(text[1:-1])
    if dtype.kind == "b":
        if text not in ("true", "false"):
            raise ValueError(f"{text} is neither true nor false")
        return text == "true"
    if dtype.kind != "f":
        return _int(text, dtype)
    m = _NAN_BITS.fullmatch(text)
    return np.frombuffer(bytes.fromhex(m.group(1))[::-1], dtype)[0] if m else _float(text, dtype)


def _int(text: str, dtype: np.dtype) -> object:
    value, limits = int(text), np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise ValueError(f"{text} is out of the range of {dtype}")
    return dtype.type(value)


def _float(text: str, dtype: np.dtype) -> object:
    with np.errstate(over="ignore"):
        value = dtype.type(float(text))
    if np.isinf(value) and not text.endswith("inf"):
        raise ValueError(f"{text} is too large for {dtype}")
    return value
