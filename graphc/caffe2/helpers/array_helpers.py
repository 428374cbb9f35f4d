"""Helpers that join blobs."""

from __future__ import annotations

from typing import Any


def concat(model: Any, blobs_in: Any, blob_out: Any, **kwargs: Any) -> Any:
    """Blobs one behind the other, along ``axis``, or along the channels of ``order``."""
    if kwargs.get("order") and kwargs.get("axis"):
        del kwargs["order"]  # the operator takes one of both
    return model.net.Concat(blobs_in, [blob_out, "_" + blob_out + "_concat_dims"], **kwargs)[0]


def depth_concat(model: Any, blobs_in: Any, blob_out: Any, **kwargs: Any) -> Any:
    """``concat``, under its old name."""
    print("DepthConcat is deprecated. use Concat instead.")
    return concat(model, blobs_in, blob_out, **kwargs)
