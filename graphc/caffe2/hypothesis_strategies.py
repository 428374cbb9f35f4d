"""Strategies of hypothesis for tests of operators: arrays, tensors cut into segments, rows to look up.

The names are those of ``caffe2.python.hypothesis_test_util``, which gives them to tests. Importing this lets
``hypothesis.extra.numpy.arrays`` take its options by place again, as it did when those tests were written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np

_WIDTHS: dict[int, Any] = {16: np.float16, 32: np.float32, 64: np.float64}
"""Types of floats by their bits."""
_FIRST_NUMBER_TOO_LARGE = {np.dtype(np.int32): 2**31, np.dtype(np.int64): 2**63}


def _by_place(arrays: Callable[..., st.SearchStrategy]) -> Callable[..., st.SearchStrategy]:
    @functools.wraps(arrays)
    def accepting(dtype: Any, shape: Any, *options: Any, **named: Any) -> st.SearchStrategy:
        return arrays(dtype, shape, **dict(zip(("elements", "fill", "unique"), options)), **named)

    return accepting


hypothesis.extra.numpy.arrays = _by_place(hypothesis.extra.numpy.arrays)


def dims(min_value: int = 1, max_value: int = 5) -> st.SearchStrategy:
    """A dimension."""
    return st.integers(min_value=min_value, max_value=max_value)


def floats(*args: Any, **kwargs: Any) -> st.SearchStrategy:
    """``hypothesis.strategies.floats`` of 32 bits unless ``width`` says otherwise; bounds need not be exact numbers."""
    bounds = dict(zip(("min_value", "max_value"), args))
    width = kwargs.setdefault("width", 32)
    for name, bound in {**kwargs, **bounds}.items():
        if name in ("min_value", "max_value") and bound is not None:
            kwargs[name] = float(_WIDTHS[width](bound))
    return st.floats(**kwargs)


def elements_of_type(dtype: Any = np.float32, filter_: Callable[[Any], bool] | None = None) -> st.SearchStrategy:
    """Numbers of an element type: floats from -1 to 1, whole numbers that are not negative, or both bools.

    Raises ``ValueError`` for other types.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        elements = floats(min_value=-1.0, max_value=1.0, width=kind.itemsize * 8)
    elif kind in _FIRST_NUMBER_TOO_LARGE:
        elements = st.integers(min_value=0, max_value=_FIRST_NUMBER_TOO_LARGE[kind] - 1)
    elif kind == np.bool_:
        elements = st.booleans()
    else:
        raise ValueError("Unexpected dtype without elements provided")
    return elements if filter_ is None else elements.filter(filter_)


def arrays(
    dims: Any, dtype: Any = np.float32, elements: st.SearchStrategy | None = None, unique: bool = False
) -> st.SearchStrategy:
    """Arrays of a shape (numbers, or a strategy for them); elements are rounded to the element type."""
    kind = np.dtype(dtype)
    chosen = elements_of_type(dtype) if elements is None else elements
    if kind.kind == "f":
        chosen = chosen.map(lambda value: kind.type(value).item())
    shape = dims if isinstance(dims, int | st.SearchStrategy) else tuple(dims)
    return hypothesis.extra.numpy.arrays(kind, shape, elements=chosen, unique=unique)


def _shapes(min_dim: int, max_dim: int, **bounds: int) -> st.SearchStrategy:
    return st.lists(dims(**bounds), min_size=min_dim, max_size=max_dim)


def tensor(
    min_dim: int = 1,
    max_dim: int = 4,
    dtype: Any = np.float32,
    elements: st.SearchStrategy | None = None,
    unique: bool = False,
    **kwargs: int,
) -> st.SearchStrategy:
    """An array of so many dimensions, whose sizes are from ``min_value`` (1) to ``max_value`` (5)."""
    return _shapes(min_dim, max_dim, **kwargs).flatmap(lambda shape: arrays(shape, dtype, elements, unique))


def tensor1d(
    min_len: int = 1, max_len: int = 64, dtype: Any = np.float32, elements: st.SearchStrategy | None = None
) -> st.SearchStrategy:
    """A vector."""
    return tensor(1, 1, dtype, elements, min_value=min_len, max_value=max_len)


def tensors(
    n: int,
    min_dim: int = 1,
    max_dim: int = 4,
    dtype: Any = np.float32,
    elements: st.SearchStrategy | None = None,
    unique: bool = False,
    **kwargs: int,
) -> st.SearchStrategy:
    """A list of n tensors of one shape."""
    return ntensors(n, n, min_dim, max_dim, dtype, elements, unique, **kwargs)


def ntensors(
    min_n: int,
    max_n: int,
    min_dim: int = 1,
    max_dim: int = 4,
    dtype: Any = np.float32,
    elements: st.SearchStrategy | None = None,
    unique: bool = False,
    **kwargs: int,
) -> st.SearchStrategy:
    """A list of min_n to max_n tensors of one shape."""
    return _shapes(min_dim, max_dim, **kwargs).flatmap(
        lambda shape: st.lists(arrays(shape, dtype, elements, unique), min_size=min_n, max_size=max_n)
    )


def tensors1d(
    n: int, min_len: int = 1, max_len: int = 64, dtype: Any = np.float32, elements: st.SearchStrategy | None = None
) -> st.SearchStrategy:
    """A list of n vectors of one length."""
    return tensors(n, 1, 1, dtype, elements, min_value=min_len, max_value=max_len)


# ---- segments --------------------------------------------------------------------------------------------------------


def segment_ids(size: int, is_sorted: bool) -> st.SearchStrategy:
    """The segment of each of so many rows, int32: sorted from 0 on without gaps, or any up to twice the size."""
    if size == 0:
        return st.just(np.empty(0, np.int32))
    if is_sorted:
        steps = arrays([size], dtype=np.int32, elements=st.booleans().map(int))
        return steps.map(lambda x: np.cumsum(x, dtype=np.int32) - x[0])
    return arrays([size], dtype=np.int32, elements=st.integers(min_value=0, max_value=2 * size))


def lengths(
    size: int, min_segments: int | None = None, max_segments: int | None = None, **kwargs: Any
) -> st.SearchStrategy:
    """Lengths of segments, int32, whose sum is ``size``; by default up to ``size`` segments, some of them empty."""
    least = 0 if min_segments is None else min_segments
    most = size if max_segments is None else max_segments
    if not 0 <= least <= most:
        raise AssertionError(f"min_segments {least} and max_segments {most} are no range")
    if size == 0 and most == 0:
        return st.just(np.empty(0, np.int32))
    if most == 0:
        raise AssertionError("size is not 0, need at least one segment")
    cuts = st.integers(max(least - 1, 0), most - 1).flatmap(
        lambda n: hypothesis.extra.numpy.arrays(np.int32, n, elements=st.integers(0, size))
    )
    return cuts.map(lambda x: np.diff(np.sort(np.append(x, np.array([0, size], np.int32)))))


def segmented_tensor(
    min_dim: int = 1,
    max_dim: int = 4,
    dtype: Any = np.float32,
    is_sorted: bool = True,
    elements: st.SearchStrategy | None = None,
    segment_generator: Callable[..., st.SearchStrategy] = segment_ids,
    allow_empty: bool = False,
    **kwargs: int,
) -> st.SearchStrategy:
    """A tensor and the segments of its rows; with allow_empty there may be no rows."""
    return _maybe_empty(allow_empty, _shapes(min_dim, max_dim, **kwargs)).flatmap(
        lambda shape: st.tuples(arrays(shape, dtype, elements), segment_generator(shape[0], is_sorted=is_sorted))
    )


def _maybe_empty(allow_empty: bool, shapes: st.SearchStrategy) -> st.SearchStrategy:
    empty = st.booleans() if allow_empty else st.just(False)
    return st.tuples(empty, shapes).map(lambda pair: [0, *pair[1]] if pair[0] else pair[1])


def lengths_tensor(
    min_segments: int | None = None, max_segments: int | None = None, *args: Any, **kwargs: Any
) -> st.SearchStrategy:
    """A tensor and the lengths of the segments of its rows."""
    kwargs["segment_generator"] = functools.partial(lengths, min_segments=min_segments, max_segments=max_segments)
    return segmented_tensor(*args, **kwargs)


def sparse_segmented_tensor(
    min_dim: int = 1,
    max_dim: int = 4,
    dtype: Any = np.float32,
    is_sorted: bool = True,
    elements: st.SearchStrategy | None = None,
    allow_empty: bool = False,
    segment_generator: Callable[..., st.SearchStrategy] = segment_ids,
    itype: Any = np.int64,
    **kwargs: int,
) -> st.SearchStrategy:
    """A tensor, positions of rows in it, and the segments of these positions; there may be none with allow_empty."""

    def parts(drawn: tuple[Sequence[int], int]) -> st.SearchStrategy:
        shape, count = drawn
        rows = st.integers(min_value=0, max_value=shape[0] - 1)
        return st.tuples(
            arrays(shape, dtype, elements),
            arrays([count], dtype=itype, elements=rows),
            segment_generator(count, is_sorted=is_sorted),
        )

    empty = st.booleans() if allow_empty else st.just(False)
    drawn = st.tuples(empty, _shapes(min_dim, max_dim, **kwargs)).flatmap(
        lambda pair: st.tuples(st.just(pair[1]), st.just(0) if pair[0] else st.integers(1, pair[1][0]))
    )
    return drawn.flatmap(parts)


def sparse_lengths_tensor(**kwargs: Any) -> st.SearchStrategy:
    """A tensor, positions of rows in it, and the lengths of the segments of these positions."""
    return sparse_segmented_tensor(segment_generator=lengths, **kwargs)
