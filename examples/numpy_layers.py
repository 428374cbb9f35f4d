"""The four layers of a small convolutional net in NumPy, forward and backward: enough to train one.

Activations are (N, C, H, W) or (N, D) arrays. ``forward`` keeps what ``backward`` needs; ``backward`` takes the
gradient of the loss by the output, fills ``grads`` and gives the gradient by the input. The conventions are those of
Caffe2's operators: Conv is a cross-correlation with weights (M, C, 3, 3), FC is ``x @ w.T + b`` with weights (M, D).
"""

from __future__ import annotations

import numpy as np


class Layer:
    """A function with parameters ``params`` (name -> array, updated in place) and their gradients ``grads``."""

    def __init__(self) -> None:
        self.params: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}

    def forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, dy: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Conv(Layer):
    """3x3 convolution, stride 1, zero border of one pixel: the output has the size of the input."""

    def __init__(self, channels: int, filters: int, rng: np.random.Generator) -> None:
        super().__init__()
        w = rng.standard_normal((filters, channels, 3, 3)) * np.sqrt(2 / (channels * 9))
        self.params = {"w": w.astype(np.float32), "b": np.zeros(filters, np.float32)}

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.windows = _windows(x)
        n, h, w, _ = self.windows.shape
        filters = self.params["w"].shape[0]
        y = self.windows.reshape(n * h * w, -1) @ self.params["w"].reshape(filters, -1).T + self.params["b"]
        return y.reshape(n, h, w, filters).transpose(0, 3, 1, 2)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        n, filters, h, w = dy.shape
        rows = dy.transpose(0, 2, 3, 1).reshape(-1, filters)
        self.grads["w"] = (rows.T @ self.windows.reshape(n * h * w, -1)).reshape(self.params["w"].shape)
        self.grads["b"] = rows.sum(0)
        turned = self.params["w"][:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        dx = _windows(dy).reshape(n * h * w, -1) @ turned.reshape(turned.shape[0], -1).T
        return dx.reshape(n, h, w, -1).transpose(0, 3, 1, 2)


def _windows(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, H, W, C * 9): the zero-padded 3x3 neighbourhood of each pixel."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    n, c, h, w = x.shape
    return np.ascontiguousarray(around.transpose(0, 2, 3, 1, 4, 5)).reshape(n, h, w, c * 9)


class Relu(Layer):
    """max(x, 0)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.mask = x > 0
        return x * self.mask

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * self.mask


class MaxPool(Layer):
    """The largest of each 2x2 tile; the gradient goes to the first of equal ones."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        n, c, h, w = x.shape
        tiles = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
        self.winner = tiles.argmax(-1)[..., None]
        return np.take_along_axis(tiles, self.winner, -1)[..., 0]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        n, c, h, w = dy.shape
        tiles = np.zeros((n, c, h, w, 4), dy.dtype)
        np.put_along_axis(tiles, self.winner, dy[..., None], -1)
        return tiles.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, 2 * h, 2 * w)


class FC(Layer):
    """Fully connected: flattens everything behind the batch."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        super().__init__()
        w = rng.standard_normal((outputs, inputs)) * np.sqrt(1 / inputs)
        self.params = {"w": w.astype(np.float32), "b": np.zeros(outputs, np.float32)}

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x.reshape(len(x), -1) @ self.params["w"].T + self.params["b"]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        self.grads["w"] = dy.T @ self.x.reshape(len(self.x), -1)
        self.grads["b"] = dy.sum(0)
        return (dy @ self.params["w"]).reshape(self.x.shape)


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities from the rows of (N, D)."""
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
