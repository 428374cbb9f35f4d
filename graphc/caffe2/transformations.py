"""``caffe2.python.transformations``: rewritings of nets. graphc does all that pays off itself when it compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.caffe2.transforms import TRANSFORMS, WORKSPACE_TRANSFORMS, transform
from graphc.caffe2.workspace.current import current


class Transformer:
    """Rewritings by name: ``Transformer().FuseConvBN(net)`` changes a ``core.Net``."""

    @classmethod
    def runTransform(cls, transform_name: str, net: Any) -> None:
        """Rewrite a net; raises ``AttributeError`` for a name that graphc does not have."""
        if transform_name not in TRANSFORMS and transform_name not in WORKSPACE_TRANSFORMS:
            known = ", ".join(sorted([*TRANSFORMS, *WORKSPACE_TRANSFORMS]))
            raise AttributeError(f"Transformation {transform_name} not found. graphc has {known}")
        transform(transform_name, net.Proto(), current())

    def __getattr__(self, transform_name: str) -> Callable[[Any], None]:
        if transform_name.startswith("__"):
            raise AttributeError(transform_name)
        return lambda net: self.runTransform(transform_name, net)


def addNNPACK(net: Any) -> None:
    """Let convolutions ask for the engine NNPACK."""
    Transformer.runTransform("AddNNPACK", net)


def fuseNNPACKConvRelu(net: Any) -> None:
    """Let convolutions of the engine NNPACK do the Relu after them."""
    Transformer.runTransform("FuseNNPACKConvRelu", net)


def fuseConvBN(net: Any) -> None:
    """Let convolutions do the batch normalisation after them; their weights change in the workspace."""
    Transformer.runTransform("FuseConvBN", net)


def sinkMaxPool(net: Any) -> None:
    """Let MaxPool come after Relu."""
    Transformer.runTransform("SinkMaxPool", net)


def optimizeForMKLDNN(net: Any, training_mode: bool = False) -> None:
    """Nothing: graphc fuses layers and chooses layouts when it compiles the net."""
