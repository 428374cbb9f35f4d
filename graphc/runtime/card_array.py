"""CardArray: elements in a card's memory, whoever owns it, as the array interfaces for cards give and take them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.errors import RunError

DEFAULT_STREAM = 1
"""CUDA's number for the stream that work is on where nobody asks for another."""
CUDA_DEVICES = (2, 13)
"""DLPack's numbers for memory of NVIDIA's cards, plain and managed."""
KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
"""NumPy's letter for DLPack's kinds of elements."""


@dataclass(frozen=True, eq=False)
class CardArray:
    """Row-major elements in a card's memory.

    address: as kernels see it. owner: keeps the memory. read: gives the bytes, as ``uint8``. stream: CUDA's handle of
    the stream whose work so far has to be done before the elements are there; None: they are.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object
    read: Callable[[CardArray], np.ndarray]
    stream: int | None = None

    @property
    def ndim(self) -> int:
        """Dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.dtype.itemsize

    def numpy(self) -> np.ndarray:
        """A copy of the elements in the memory of the process."""
        return self.read(self).view(self.dtype).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }


def is_on_card(value: object) -> bool:
    """The object is an array whose elements are in the memory of a card."""
    if type(value) is np.ndarray:
        return False
    return isinstance(value, CardArray) or _dlpack_device(value) is not None or _interface(value) is not None


def card_array(name: str, value: Any, stream: int, read: Callable[[CardArray], np.ndarray]) -> CardArray:
    """An array for which ``is_on_card`` holds, without a copy.

    name: what errors call it. stream: the handle of the one that is going to read it; an array that speaks DLPack has
    that stream wait for its elements. Raises ``RunError`` for elements that are not row-major, masked, or of a type
    that NumPy lacks.
    """
    if isinstance(value, CardArray):
        return value
    try:
        if _dlpack_device(value) is not None:
            return _from_capsule(value.__dlpack__(stream=stream or None), read)
        return _from_interface(_interface(value) or {}, value, read)
    except RunError as error:
        raise RunError(f"input '{name}' on the card: {error.message}", error.help) from None
    except Exception as error:  # other libraries' arrays raise what they like
        raise RunError(f"input '{name}' on the card cannot be read: {error}", "give a plain array") from error


def _dlpack_device(value: Any) -> int | None:
    """The number of the card, by DLPack."""
    try:
        kind, number = value.__dlpack_device__()
    except Exception:  # no array, or one that cannot say
        return None
    return int(number) if kind in CUDA_DEVICES else None


def _interface(value: Any) -> dict[str, Any] | None:
    try:
        found = value.__cuda_array_interface__
    except Exception:  # PyTorch's tensors of the CPU have the attribute, and raise
        return None
    return found if isinstance(found, dict) else None


def _from_interface(told: dict[str, Any], owner: object, read: Callable[[CardArray], np.ndarray]) -> CardArray:
    shape, dtype = tuple(int(d) for d in told["shape"]), np.dtype(told["typestr"])
    if told.get("mask") is not None:
        raise RunError("it is masked", "give a plain array")
    strides = told.get("strides")
    _require_dense(shape, None if strides is None else [int(s) / dtype.itemsize for s in strides])
    # arrays that do not name a stream, PyTorch's among them, have their work on the default one
    stream = told.get("stream", DEFAULT_STREAM)
    return CardArray(int(told["data"][0] or 0), shape, dtype, owner, read, None if stream is None else int(stream))


def _require_dense(shape: tuple[int, ...], strides: list[float] | None) -> None:
    """Raise ``RunError`` unless strides in elements are those of row-major order."""
    if strides is None or 0 in shape:
        return
    wanted = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    if any(d > 1 and s != w for d, s, w in zip(shape, strides, wanted)):
        raise RunError(
            f"its elements are not in row-major order (shape {shape}, strides {tuple(strides)} elements)",
            "make a contiguous copy: tensor.contiguous(), cupy.ascontiguousarray(array)",
        )


class _Tensor(ctypes.Structure):
    """``DLTensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _from_capsule(capsule: Any, read: Callable[[CardArray], np.ndarray]) -> CardArray:
    """The tensor of a DLPack capsule, which frees it when it goes itself."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    told = _Tensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(told.shape[k] for k in range(told.ndim))
    if told.code not in KINDS or told.lanes != 1:
        raise RunError(f"NumPy has no such elements (DLPack kind {told.code}, {told.bits} bits)", "convert it")
    dtype = np.dtype(f"{KINDS[told.code]}{told.bits // 8}")
    _require_dense(shape, [float(told.strides[k]) for k in range(told.ndim)] if told.strides else None)
    return CardArray((told.data or 0) + told.byte_offset, shape, dtype, capsule, read)
