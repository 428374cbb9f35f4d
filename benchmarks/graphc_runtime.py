"""graphc as a runtime of the peers' benchmark: ``load(onnx_path, threads) -> callable(inputs) -> outputs``.

The NetDef pair of NAME.onnx is expected beside it: NAME.init_net.pb, NAME.predict_net.pb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

import graphc


def load(path: str, threads: int, target: str = "native") -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """A compiled net; ``inputs.npz`` beside the model gives the shapes."""
    stem = path.removesuffix(".onnx")
    inputs = dict(np.load(stem + ".inputs.npz"))
    plan = graphc.compile(
        stem + ".predict_net.pb", stem + ".init_net.pb", inputs=inputs, threads=threads, target=target
    )

    def run(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return list(plan.run(arrays).values())

    return run
