"""DLPack's capsules: tensors of other libraries as they come, and ours as they go (the unversioned structure)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from graphc.ir.errors import RunError

CUDA, CUDA_MANAGED = 2, 13
"""DLPack's numbers for memory of NVIDIA's cards, plain and managed."""
KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
"""NumPy's letter for DLPack's kinds of elements."""
CODES = {letter: code for code, letter in KINDS.items()}


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


class _Managed(ctypes.Structure):
    """``DLManagedTensor``; sizes: what its tensor points to."""

    _fields_ = (
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )
    sizes: object


class Told(NamedTuple):
    """What a capsule tells: the address of the first element, sizes, and strides in elements, None where row-major."""

    address: int
    shape: tuple[int, ...]
    strides: list[int] | None
    dtype: np.dtype[Any]


def read_capsule(capsule: Any) -> Told:
    """The tensor of a capsule, which frees it when it goes itself; raises ``RunError`` for elements NumPy lacks."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    told = _Tensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(told.shape[k] for k in range(told.ndim))
    if told.code not in KINDS or told.lanes != 1:
        raise RunError(f"NumPy has no such elements (DLPack kind {told.code}, {told.bits} bits)", "convert it")
    strides = [int(told.strides[k]) for k in range(told.ndim)] if told.strides else None
    return Told((told.data or 0) + told.byte_offset, shape, strides, np.dtype(f"{KINDS[told.code]}{told.bits // 8}"))


_GIVEN: dict[int, tuple[_Managed, object]] = {}
"""By address, the structures that consumers have, with what keeps the memory."""


def _delete(address: int) -> None:
    """Called by the consumer, once."""
    _GIVEN.pop(address, None)


def _drop(capsule: int) -> None:
    """Called when a capsule goes; one that was consumed has another name by then."""
    valid, pointer = ctypes.pythonapi.PyCapsule_IsValid, ctypes.pythonapi.PyCapsule_GetPointer
    # by numbers: an object that goes must not be counted again
    is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(_at(valid))
    if is_valid(capsule, b"dltensor"):
        found = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(_at(pointer))
        _GIVEN.pop(found(capsule, b"dltensor"), None)


def _at(function: Callable[..., Any]) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address


_DELETE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_delete)
_DROP = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_drop)
"""As C calls them; the first may come without the interpreter's lock."""


def write_capsule(address: int, shape: tuple[int, ...], dtype: np.dtype[Any], card: int, owner: object) -> object:
    """A capsule of row-major elements in the memory of card ``card``, which lives as long as the owner does."""
    made = _Managed()
    rank = len(shape)
    sizes = (ctypes.c_int64 * max(1, rank))(*shape)
    made.sizes = sizes
    tensor = made.tensor
    tensor.data, tensor.device_type, tensor.device_id, tensor.ndim = address, CUDA, card, rank
    tensor.code, tensor.bits, tensor.lanes = CODES[dtype.kind], 8 * dtype.itemsize, 1
    tensor.shape = sizes
    made.deleter = _at(_DELETE)
    place = ctypes.addressof(made)
    _GIVEN[place] = made, owner
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(place, b"dltensor", _at(_DROP))
