"""What a plan asks of an input: the type and the number of dimensions; an array of the process is copied if need be."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from graphc.ir import DType, RunError
from graphc.runtime.card_array import CardArray

IMAGE_RANK = 4
"""A batch of images is never empty; an empty list of rows, indices or boxes is a list like others."""

AnyArray = TypeVar("AnyArray", np.ndarray, CardArray)


def is_ready(array: object, dtype: np.dtype, rank: int | None) -> bool:
    """Kernels can read the input as it is; a quick check for the common case."""
    if type(array) is not np.ndarray or array.dtype != dtype or array.ndim != rank or not array.dtype.isnative:
        return False
    flags = array.flags
    return flags.c_contiguous and flags.aligned and array.size > 0


def as_array(name: str, value: Any) -> np.ndarray:
    """Whatever NumPy takes as an array; raises ``RunError``."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise RunError(f"input '{name}' is no array: {error}", "give a numpy.ndarray") from None


def require_input(name: str, array: AnyArray, dtype: DType, rank: int | None) -> AnyArray:
    """The input as it is, if it has the type and the number of dimensions; raises ``RunError``."""
    if array.dtype.newbyteorder("=") != dtype.numpy:
        raise RunError(
            f"input '{name}' has dtype {array.dtype}, the plan takes {dtype.numpy}",
            f"convert it: array.astype(numpy.{dtype.numpy})",
        )
    if rank is not None and array.ndim != rank:
        raise RunError(f"input '{name}' has shape {array.shape}, the plan takes {rank} dimensions")
    if array.size == 0 and rank == IMAGE_RANK:
        raise RunError(f"input '{name}' is empty: its shape is {array.shape}", "give at least one image or row")
    return array


def contiguous(name: str, array: np.ndarray, dtype: DType) -> np.ndarray:
    """The array as kernels can read it, a copy where it is not so yet; raises ``RunError`` without memory for one."""
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    try:
        return np.array(array, dtype=dtype.numpy, order="C")
    except MemoryError as error:
        raise RunError(f"input '{name}' has no contiguous copy: {error}", "use a smaller batch") from None
