"""Train a small convolutional net on scikit-learn's digits and write it out as a pair of Caffe2 NetDefs.

    python examples/train_digits.py            (half a minute; needs graphc and scikit-learn)

Writes into examples/digits/: init_net.pb and predict_net.pb (the net), labels.txt, test_images.npz (the pictures that
the net never saw, their labels, and the probabilities that the net gives them in double precision) and ten of those
pictures as PNG files. The files are committed: the example runs without this script.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy_layers import FC, Conv, Layer, MaxPool, Relu, softmax
from PIL import Image
from sklearn.datasets import load_digits

from graphc.frontends.netdef import Net, Operator, write_net

SEED = 20180402
EPOCHS = 150
BATCH = 50
PEAK_RATE = 4e-3
WEIGHT_DECAY = 0.02
FOLDER = Path(__file__).resolve().parent / "digits"
PARAMETERS = tuple(f"{layer}_{kind}" for layer in ("conv1", "conv2", "conv3", "fc4") for kind in "wb")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """All digits as 8-bit grey pictures (1797, 8, 8), strokes bright, and their labels (1797,)."""
    digits = load_digits()
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int32)


def split(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the test pictures: a fifth of each digit is for the test."""
    test = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == d))[:36] for d in range(10)]))
    return np.setdiff1d(np.arange(len(labels)), test), test


def as_input(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 8, 8) -> float32 (N, 1, 8, 8) in 0..1: what the net expects as ``data``."""
    return (images[:, None] / np.float32(255)).astype(np.float32)


def build(rng: np.random.Generator) -> list[Layer]:
    """The net up to the scores; ``predict_net`` writes the same sequence as operators."""
    return [
        Conv(1, 16, rng),
        Relu(),
        MaxPool(),
        Conv(16, 32, rng),
        Relu(),
        Conv(32, 48, rng),
        Relu(),
        MaxPool(),
        FC(192, 10, rng),
    ]


def forward(net: list[Layer], x: np.ndarray) -> np.ndarray:
    for layer in net:
        x = layer.forward(x)
    return x


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by up to one pixel, so that the net does not learn positions by heart."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    dy, dx = rng.integers(0, 3, (2, len(x)))
    return np.stack([p[:, i : i + 8, j : j + 8] for p, i, j in zip(padded, dy, dx)])


class Adam:
    """Adam with decoupled weight decay on the matrices."""

    def __init__(self, net: list[Layer]) -> None:
        self.slots = [(layer, name) for layer in net for name in layer.params]
        self.moments = [(np.zeros_like(layer.params[n]), np.zeros_like(layer.params[n])) for layer, n in self.slots]
        self.count = 0

    def step(self, rate: float) -> None:
        self.count += 1
        scale = rate * np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)
        for (layer, name), (mean, square) in zip(self.slots, self.moments):
            grad, param = layer.grads[name], layer.params[name]
            mean += 0.1 * (grad - mean)
            square += 0.001 * (grad * grad - square)
            if name == "w":
                param *= 1 - rate * WEIGHT_DECAY
            param -= scale * mean / (np.sqrt(square) + 1e-8)


def train(net: list[Layer], x: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    adam, steps = Adam(net), len(x) // BATCH
    for epoch in range(EPOCHS):
        order, loss = rng.permutation(len(x)), 0.0
        for i in range(steps):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            scores = softmax(forward(net, shifted(x[chosen], rng)))
            truth = np.eye(10, dtype=np.float32)[labels[chosen]]
            loss -= float(np.log((scores * truth).sum(1)).mean()) / steps
            gradient = (scores - truth) / len(chosen)
            for layer in reversed(net):
                gradient = layer.backward(gradient)
            progress = (epoch + i / steps) / EPOCHS
            adam.step(PEAK_RATE * min(progress * 10, 1) * (1 + np.cos(np.pi * progress)) / 2)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1:2}: loss {loss:.4f}")


def predict_net() -> Net:
    """The net of ``build`` as operators; ReLUs work in place, as in most Caffe2 nets."""
    conv = {"kernel": 3, "stride": 1, "pad": 1, "order": b"NCHW"}
    pool = {"kernel": 2, "stride": 2, "order": b"NCHW"}
    operators = [
        Operator("Conv", ["data", "conv1_w", "conv1_b"], ["conv1"], conv),
        Operator("Relu", ["conv1"], ["conv1"]),
        Operator("MaxPool", ["conv1"], ["pool1"], pool),
        Operator("Conv", ["pool1", "conv2_w", "conv2_b"], ["conv2"], conv),
        Operator("Relu", ["conv2"], ["conv2"]),
        Operator("Conv", ["conv2", "conv3_w", "conv3_b"], ["conv3"], conv),
        Operator("Relu", ["conv3"], ["conv3"]),
        Operator("MaxPool", ["conv3"], ["pool3"], pool),
        Operator("FC", ["pool3", "fc4_w", "fc4_b"], ["fc4"]),
        Operator("Softmax", ["fc4"], ["softmax"]),
    ]
    return Net("digits", operators, ["data", *PARAMETERS], ["softmax"])


def init_net(net: list[Layer]) -> Net:
    """The weights as fills, and the one-element fill that Caffe2's mobile exporter adds for each true input."""
    arrays = [array for layer in net for array in layer.params.values()]
    operators = [
        Operator("GivenTensorFill", [], [name], {"shape": array.shape, "values": array.ravel()})
        for name, array in zip(PARAMETERS, arrays)
    ]
    operators.append(Operator("GivenTensorFill", [], ["data"], {"shape": (1, 1), "values": (0.0,)}))
    return Net("digits_init", operators, [], [*PARAMETERS, "data"])


def accuracy(net: list[Layer], images: np.ndarray, labels: np.ndarray) -> float:
    return float((forward(net, as_input(images)).argmax(1) == labels).mean())


def in_double_precision(net: list[Layer], images: np.ndarray) -> np.ndarray:
    """Probabilities from the same weights in float64: what a float32 run is compared with."""
    for layer in net:
        layer.params = {name: array.astype(np.float64) for name, array in layer.params.items()}
    return softmax(forward(net, as_input(images).astype(np.float64)))


def write_pictures(images: np.ndarray, labels: np.ndarray) -> None:
    """The first test picture of each digit as ``<digit>.png``, eight by eight grey pixels."""
    for digit in range(10):
        Image.fromarray(images[np.flatnonzero(labels == digit)[0]]).save(FOLDER / f"{digit}.png", optimize=True)


def main() -> None:
    rng = np.random.default_rng(SEED)
    images, labels = pictures()
    learn, test = split(labels, rng)
    net = build(rng)
    train(net, as_input(images[learn]), labels[learn], rng)
    print(f"accuracy: {accuracy(net, images[learn], labels[learn]):.4f} on the {len(learn)} pictures learnt from,")
    print(f"          {accuracy(net, images[test], labels[test]):.4f} on the {len(test)} others")

    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "init_net.pb").write_bytes(write_net(init_net(net)))
    (FOLDER / "predict_net.pb").write_bytes(write_net(predict_net()))
    (FOLDER / "labels.txt").write_text("".join(f"{word}\n" for word in WORDS))
    expected = in_double_precision(net, images[test])
    np.savez_compressed(FOLDER / "test_images.npz", images=images[test], labels=labels[test], expected=expected)
    write_pictures(images[test], labels[test])


if __name__ == "__main__":
    main()
