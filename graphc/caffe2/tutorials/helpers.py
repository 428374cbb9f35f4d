"""``caffe2.python.tutorials.helpers``: pictures to the arrays that the models of the zoo take, and answers to words.

Steps and names are Caffe2's. Pictures are read by Pillow and scaled by the rule of the scikit-image of that time
(``resize.py``), so neither scikit-image nor its version matters. What Caffe2's helpers got wrong is right here:

- ``parseResults`` took class 0 for class 1 and lost class 1; it had no answer for a class that the file of names lacks;
- grey pictures and those with transparency ended in an error. Grey ones are three equal channels, transparency is
  ignored;
- a mean of one value a channel needed the shape (3, 1, 1); (3,) does, too.
"""

from __future__ import annotations

import io
import os
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphc.caffe2.tutorials.resize import resize

CODES = "inference_codes.txt"
"""In the working directory: the names of the classes, if they are not ImageNet's."""
MOST_NUMBERS = 1 << 28
"""Of a picture that is scaled."""
_NAMES = Path(__file__).with_name("imagenet_classes.txt")


def load(img: Any) -> np.ndarray:
    """A picture as float32 (H, W, 3), red, green and blue in [0, 1].

    img: a path, a URL or an open file. Raises ``OSError`` where it cannot be read or is no picture.
    """
    if isinstance(img, str) and img.startswith(("http://", "https://", "ftp://")):
        with urllib.request.urlopen(img, timeout=60) as answer:
            img = io.BytesIO(answer.read())
    with Image.open(img) as picture:
        if picture.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB", "PA"):
            picture = picture.convert("RGB")  # colours of a table, and spaces that are not red, green, blue
        pixels: np.ndarray = np.asarray(picture)
    if pixels.dtype.kind == "i":  # Pillow's mode I holds the 16 bits of a grey PNG in 32
        pixels = pixels.astype(np.uint16)
    if pixels.dtype.kind == "u":
        pixels = pixels / np.float64(np.iinfo(pixels.dtype).max)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    return pixels[..., :3].astype(np.float32)


def rescale(img: np.ndarray, input_height: int, input_width: int) -> np.ndarray:
    """(H, W, C) scaled so that its shorter side becomes that of the input; the longer one is rounded down."""
    aspect = img.shape[1] / float(img.shape[0])
    if aspect > 1:
        shape = input_height, int(aspect * input_height)
    elif aspect < 1:
        shape = int(input_width / aspect), input_width
    else:
        shape = input_height, input_width
    if shape[0] * shape[1] * img.shape[-1] > MOST_NUMBERS:
        raise ValueError(f"a picture of {img.shape[1]} x {img.shape[0]} would be scaled to {shape[1]} x {shape[0]}")
    return resize(img, shape)


def crop_center(img: np.ndarray, cropx: int, cropy: int) -> np.ndarray:
    """The middle ``cropy`` rows and ``cropx`` columns of (H, W, C)."""
    y, x = img.shape[:2]
    left, top = x // 2 - cropx // 2, y // 2 - cropy // 2
    return img[top : top + cropy, left : left + cropx]


def chw(img: np.ndarray) -> np.ndarray:
    """(H, W, C) to (C, H, W)."""
    return np.moveaxis(img, 2, 0)


def bgr(img: np.ndarray) -> np.ndarray:
    """The first three channels of (C, H, W) in the order blue, green, red."""
    return img[(2, 1, 0), :, :]


def removeMean(img: np.ndarray, mean: Any) -> np.ndarray:
    """Values in [0, 1] to [0, 255], less the mean: a number, one a channel, or whatever fits (C, H, W)."""
    mean = np.asarray(mean)
    if mean.shape == (img.shape[0],):
        mean = mean[:, None, None]
    return np.asarray(img * 255 - mean)


def batch(img: np.ndarray) -> np.ndarray:
    """(C, H, W) as a batch of one, float32."""
    return img[np.newaxis, :, :, :].astype(np.float32)


def loadToNCHW(img: Any, mean: Any, input_size: int) -> np.ndarray:
    """A picture file or URL as the input (1, 3, input_size, input_size) of a model: float32, BGR, less the mean.

    Its shorter side is scaled to ``input_size``, then the middle is cut out. Raises ``OSError`` as ``load``.
    """
    picture = crop_center(rescale(load(img), input_size, input_size), input_size, input_size)
    return batch(removeMean(bgr(chw(picture)), mean))


def parseResults(results: Any) -> str:
    """The most likely class in words; prints the three most likely ones as (class, probability).

    results: what ``Predictor.run`` gives, of any shape. The names are those of the file ``inference_codes.txt`` in the
    working directory (``0: 'tench',`` a line), else ImageNet's. Raises ``ValueError`` for no results.
    """
    scores = np.asarray(results).ravel()
    if not scores.size:
        raise ValueError("there are no results to be put into words")
    best = np.argsort(-scores, kind="stable")[:3].tolist()
    print("Raw top 3 results:", [(i, scores[i].item()) for i in best])
    name = _names().get(best[0], f"class {best[0]}")
    percent = str(scores[best[0]] * scores.dtype.type(100))
    return f"The image contains a {name} with a {percent} percent probability."


def _names() -> dict[int, str]:
    if not os.path.exists(CODES):
        lines = _NAMES.read_text(encoding="utf-8").splitlines()
        return dict(enumerate(line for line in lines if not line.startswith("#")))
    found = {}
    for line in Path(CODES).read_text(encoding="utf-8").splitlines():
        code, _, name = line.strip("{}, ").partition(":")
        if code.strip().isdecimal():
            found[int(code)] = name.strip(" ,}").strip("'\"")
    return found
