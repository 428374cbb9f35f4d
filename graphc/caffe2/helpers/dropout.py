"""Helper for dropout."""

from __future__ import annotations

from typing import Any


def dropout(model: Any, blob_in: Any, blob_out: Any, use_cudnn: bool = False, **kwargs: Any) -> Any:
    """Random elements become zero in training; ``is_test`` has to be said, ``ratio`` is 0.5 unless it is said."""
    kwargs["engine"] = "CUDNN" if use_cudnn else "DEFAULT"
    if "is_test" not in kwargs:
        raise AssertionError("Argument 'is_test' is required")
    return model.net.Dropout(blob_in, [blob_out, "_" + blob_out + "_mask"], **kwargs)[0]
