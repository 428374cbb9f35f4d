"""CardArray: elements in a card's memory, whoever owns it, as the array interfaces for cards give and take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.errors import RunError
from graphc.runtime.card_stream import LEGACY_STREAM
from graphc.runtime.dlpack import CUDA, CUDA_MANAGED, read_capsule, write_capsule

NO_WAIT = -1
"""What a consumer of DLPack gives as its stream when it sees to the order itself."""


def _unshared(reader: int | None) -> None:
    """Nothing has to be known of others that learn an address."""


@dataclass(frozen=True, eq=False)
class CardArray:
    """Row-major elements in a card's memory.

    address: as kernels see it. owner: keeps the memory. read: gives the bytes, as ``uint8``. stream: CUDA's handle of
    the stream whose work so far has to be done before the elements are there; None: they are. card: its number in this
    process. lend: gets to know when somebody else learns the address, with the handle of the stream that has to wait
    for the elements, None where the reader sees to that.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object
    read: Callable[[CardArray], np.ndarray]
    stream: int | None = None
    card: int = 0
    lend: Callable[[int | None], None] = _unshared

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
        if copy is False:
            raise ValueError("an array on a card is copied to be a NumPy array: leave out copy=False")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.lend(None)
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.card

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule without a version, as the array API standard has it: the consumer's stream waits for the elements.

        stream: its handle; None and 1 are CUDA's default stream, 2 that of the thread, -1 asks for no waiting, and 0,
        which is ambiguous, is a ``ValueError``. Raises ``BufferError`` where a copy or another device is asked for.
        """
        if stream is not None and (stream == 0 or stream < NO_WAIT):
            raise ValueError(f"stream is {stream}: give CUDA's handle, 1 or 2 for a default stream, -1 for no waiting")
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("a CardArray is not copied by DLPack: .numpy() is a copy in the memory of the process")
        self.lend(None if stream == NO_WAIT else stream or LEGACY_STREAM)
        return write_capsule(self.address, self.shape, self.dtype, self.card, self)


def is_on_card(value: object) -> bool:
    """The object is an array whose elements are in the memory of a card."""
    if type(value) is np.ndarray:
        return False
    return isinstance(value, CardArray) or _dlpack_device(value) is not None or _interface(value) is not None


def card_array(name: str, value: Any, stream: int, read: Callable[[CardArray], np.ndarray]) -> CardArray:
    """An array for which ``is_on_card`` holds, without a copy.

    name: what errors call it. stream: the handle of the one that is going to read it; an array that speaks DLPack has
    that stream wait for its elements. Raises ``RunError`` for elements that are not row-major, masked, of a type
    that NumPy lacks, or in another order of bytes.
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
    return int(number) if kind in (CUDA, CUDA_MANAGED) else None


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
    if not dtype.isnative:
        raise RunError(f"its elements ({dtype.str}) are not in this machine's order of bytes", "convert it")
    strides = told.get("strides")
    _require_dense(shape, None if strides is None else [int(s) / dtype.itemsize for s in strides])
    # arrays that do not name a stream, PyTorch's among them, have their work on the default one
    stream = told.get("stream", LEGACY_STREAM)
    if stream == 0:
        raise RunError("its stream is 0, which the interface does not allow", "give 1 or 2 for a default stream")
    return CardArray(int(told["data"][0] or 0), shape, dtype, owner, read, None if stream is None else int(stream))


def _require_dense(shape: tuple[int, ...], strides: Sequence[float] | None) -> None:
    """Raise ``RunError`` unless strides in elements are those of row-major order."""
    if strides is None or 0 in shape:
        return
    wanted = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    if len(strides) != len(shape) or any(d > 1 and s != w for d, s, w in zip(shape, strides, wanted)):
        raise RunError(
            f"its elements are not in row-major order (shape {shape}, strides {tuple(strides)} elements)",
            "make a contiguous copy: tensor.contiguous(), cupy.ascontiguousarray(array)",
        )


def _from_capsule(capsule: Any, read: Callable[[CardArray], np.ndarray]) -> CardArray:
    told = read_capsule(capsule)
    _require_dense(told.shape, told.strides)
    return CardArray(told.address, told.shape, told.dtype, capsule, read)
