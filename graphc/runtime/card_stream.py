"""Streams that callers give: CUDA's handles, and objects that tell theirs by ``__cuda_stream__``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir.errors import RunError

LEGACY_STREAM, PER_THREAD_STREAM = 1, 2
"""CUDA's handles of the streams that work is on where nobody names one; the first is also called 0."""

REMEDY = "give CUDA's handle (torch_stream.cuda_stream, cupy_stream.ptr) or an object with __cuda_stream__"


@dataclass(frozen=True)
class CallerStream:
    """A stream that is not graphc's. handle: CUDA's, never 0. owner: what keeps it alive."""

    handle: int
    owner: object


def caller_stream(given: object) -> CallerStream:
    """The stream that a caller names, by handle or by the protocol ``__cuda_stream__``, whose version is 0.

    Raises ``RunError`` for anything else.
    """
    handle = given
    if hasattr(given, "__cuda_stream__"):
        told = given.__cuda_stream__
        try:
            version, handle = told() if callable(told) else told
        except Exception as error:  # other libraries' objects raise what they like
            raise RunError(f"the stream {given!r} does not tell its handle: {error}", REMEDY) from error
        if version != 0:
            raise RunError(f"the stream {given!r} speaks version {version} of __cuda_stream__, not 0", REMEDY)
    whole = isinstance(handle, int | np.integer) and not isinstance(handle, bool)
    if not whole or int(handle) < 0:  # type: ignore[call-overload]
        raise RunError(f"stream is {given!r}", REMEDY)
    return CallerStream(int(handle) or LEGACY_STREAM, given)  # type: ignore[call-overload]
