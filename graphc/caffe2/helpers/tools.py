"""Helpers for images and videos from databases."""

from __future__ import annotations

from typing import Any


def image_input(
    model: Any, blob_in: Any, blob_out: Any, order: str = "NCHW", use_gpu_transform: bool = False, **kwargs: Any
) -> Any:  # fmt: skip
    """Batches of images and labels of a reader, in NCHW order unless ``order`` says otherwise.

    blob_out: names, that of the images first. ``is_test`` has to be said.
    """
    if "is_test" not in kwargs:
        raise AssertionError("Argument 'is_test' is required")
    if order != "NCHW":
        return model.net.ImageInput(blob_in, blob_out, **kwargs)
    if use_gpu_transform:
        return model.net.ImageInput(blob_in, blob_out, use_gpu_transform=1, **kwargs)
    images, *others = model.net.ImageInput(blob_in, [blob_out[0] + "_nhwc", *blob_out[1:]], **kwargs)
    return (model.net.NHWC2NCHW(images, blob_out[0]), *others)


def video_input(model: Any, blob_in: Any, blob_out: Any, **kwargs: Any) -> Any:
    """Batches of clips and labels of a reader."""
    return model.net.VideoInput(blob_in, blob_out, **kwargs)
