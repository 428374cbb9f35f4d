"""Rules that the inference of many operators shares: dtypes, axes, agreeing dimensions, broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.opdef import Arg, Call
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType, dims_agree, merge_dims

Shape = tuple[Dim, ...]

FLOATS = (DType.FLOAT, DType.FLOAT16)
"""What the neural-net operators take: float32 on every device, float16 on CUDA."""
NUMERIC = (DType.INT32, DType.INT64, DType.FLOAT, DType.DOUBLE)
"""Caffe2's ``NumericTypes``."""

LARGEST = 2**31 - 1
"""Caffe2 keeps sizes among arguments in ``int``."""

ORDER = Arg("order", "string", b"NCHW", "NCHW or NHWC")
HINTS = (
    Arg("use_cudnn", "int", None, "a preference, never changes the answer"),
    Arg("cudnn_exhaustive_search", "int", None, "a preference, never changes the answer"),
)


def same_type(call: Call) -> list[TensorType]:
    """One output of the type of input 0."""
    return [call.type(0)]


def require(call: Call, i: int, dtypes: Sequence[DType] = FLOATS) -> TensorType:
    """Type of input ``i``; fails unless its dtype is unknown or among ``dtypes``.

    Where these are FLOATS, inputs 0 and ``i`` cannot be one float and one half: no operator of Caffe2 mixes them.
    """
    t = call.type(i)
    if t.dtype is not None and t.dtype not in dtypes:
        names = ", ".join(d.text for d in dtypes)
        call.fail(
            f"input {i} ({call.input_name(i)}) is {t.dtype.text}, the operator takes {names}",
            "insert a Cast, or feed the input in one of these types",
        )
    first = call.type(0).dtype if call.has(0) else None
    if dtypes is FLOATS and first in FLOATS and first is not None and t.dtype not in (first, None):
        call.fail(
            f"inputs 0 ({call.input_name(0)}) and {i} ({call.input_name(i)}) are {first.text} and {t.dtype.text}",
            "insert FloatToHalf or HalfToFloat: both must have one type",
        )
    return t


def require_rank(call: Call, i: int, *ranks: int) -> Shape | None:
    """Shape of input ``i``, None while unknown; fails if its rank is not among ``ranks``."""
    shape = call.type(i).shape
    if shape is not None and len(shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        call.fail(f"input {i} ({call.input_name(i)}) has {len(shape)} dimensions, the operator wants {wanted}")
    return shape


def axis_of(call: Call, axis: int, rank: int, name: str = "axis") -> int:
    """``axis`` counted from the front; fails outside [-rank, rank)."""
    if not -rank <= axis < rank:
        call.fail(f"{name} {axis} is outside an input of {rank} dimensions", f"use {-rank} <= {name} < {rank}")
    return axis % rank


def agree(call: Call, got: Dim, want: Dim, what: str, help: str = "") -> Dim:
    """The better known of two dimensions; fails with ``what`` if they differ."""
    if not dims_agree(got, want):
        call.fail(f"{what}: {got} where {want} is needed", help)
    return merge_dims(want, got)


def count_of(shape: Shape | None) -> Dim:
    """Number of elements of a shape, 1 for a scalar's; not known where the shape is not."""
    return UNKNOWN if shape is None else product(shape)


def product(dims: Sequence[Dim]) -> Dim:
    """Product of dimensions, symbolic where one is."""
    known = 1
    symbols: list[Dim] = []
    for d in dims:
        if isinstance(d, int):
            known *= d
        else:
            symbols.append(d)
    if known == 0:
        return 0
    total: Dim = 1
    for s in symbols:
        total = s if total == 1 else total * s
    return known if not symbols else total * known


def bounded(call: Call, value: int, low: int, name: str) -> int:
    """``value``; fails unless ``low <= value <= 2**31 - 1``."""
    if not low <= value <= LARGEST:
        call.fail(f"argument {name} is {value}", f"give {name} a value from {low} to {LARGEST}")
    return value


def nhwc(call: Call) -> bool:
    """The ``order`` argument says NHWC; fails for orders that are neither NCHW nor NHWC."""
    order = call.arg("order")
    if order not in ("NCHW", "NHWC"):
        call.fail(f"order '{order}' is not known", "use NCHW or NHWC")
    return bool(order == "NHWC")


def channel_axis(call: Call, rank: int) -> int:
    """Where the channels are: 1 in NCHW order, last in NHWC."""
    return rank - 1 if nhwc(call) else 1


def along(dims: Shape, axis: int, rank: int) -> Shape:
    """``dims`` placed from ``axis`` on in a shape of ``rank`` dimensions, ones elsewhere."""
    return (1,) * axis + dims + (1,) * (rank - axis - len(dims))


def per_channel(call: Call, i: int) -> Shape:
    """Shape under which the channel vector of input ``i`` broadcasts with input 0; one element serves all channels."""
    shape, mine = call.type(0).shape, call.type(i).shape
    if shape is None or mine is None or product(mine) == 1:
        return (1,)
    return along((product(mine),), channel_axis(call, len(shape)), len(shape))


def broadcast_dims(call: Call, a: Dim, b: Dim) -> Dim:
    """One dimension of NumPy broadcasting; symbols may turn out to be 1, so two different ones give an unknown."""
    if a == 1 or (a == b and a != UNKNOWN):
        return b
    if b == 1:
        return a
    if isinstance(a, int) and isinstance(b, int):
        call.fail(f"dimensions {a} and {b} do not broadcast", "make the shapes equal, or one of the dimensions 1")
    return merge_dims(a, b) if isinstance(a, int) or isinstance(b, int) else UNKNOWN


def broadcast_shapes(call: Call, a: Shape | None, b: Shape | None) -> Shape | None:
    """NumPy broadcasting of two shapes; None while a rank is unknown; fails where they do not broadcast."""
    if a is None or b is None:
        return None
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(broadcast_dims(call, x, y) for x, y in zip(a, b))


def merge_shapes(call: Call, a: Shape | None, b: Shape | None, what: str = "shapes differ") -> Shape | None:
    """The better known of two shapes that must be equal; fails if they are not."""
    if a is None or b is None:
        return b if a is None else a
    if len(a) != len(b):
        call.fail(f"{what}: {len(a)} and {len(b)} dimensions")
    return tuple(agree(call, y, x, what) for x, y in zip(a, b))


def vector(call: Call, i: int, length: Dim, what: str) -> Dim:
    """Input ``i`` is a vector of ``length`` (returned better known); fails otherwise."""
    shape = require_rank(call, i, 1)
    return length if shape is None else agree(call, shape[0], length, what)


def constant_ints(call: Call, i: int) -> tuple[int, ...] | None:
    """Elements of input ``i`` as ints where it is a weight."""
    data = call.constant(i)
    return None if data is None else tuple(int(x) for x in np.ravel(data))


def contiguous(a: np.ndarray, like: np.ndarray) -> np.ndarray:
    """``a`` in row-major order with the dtype of ``like``."""
    return np.ascontiguousarray(a, dtype=like.dtype).reshape(a.shape)
