"""``caffe2.python.normalizer``: normalisation as an object that layers take."""

from __future__ import annotations

from typing import Any


class Normalizer:
    """``normalizer(layer_model, blob)`` adds normalisation of a blob to a model and gives the result."""

    def __call__(self, net: Any, param: Any) -> Any:
        return self._run(net, param)

    def _run(self, net: Any, param: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no method _run")


class BatchNormalizer(Normalizer):
    """Batch normalisation, by the model's method ``BatchNormalization``."""

    def __init__(self, momentum: float, scale_init_value: float = 1.0) -> None:
        self._momentum = float(momentum)
        self._scale_init_value = float(scale_init_value)

    def _run(self, net: Any, param: Any) -> Any:
        return net.BatchNormalization(param, momentum=self._momentum, scale_init_value=self._scale_init_value)


class LayerNormalizer(Normalizer):
    """Layer normalisation, by the model's method ``LayerNormalization``."""

    def __init__(self, epsilon: float, use_layer_norm_op: bool = True, scale_init_value: float = 1.0) -> None:
        self._epsilon = float(epsilon)
        self._use_layer_norm_op = use_layer_norm_op
        self._scale_init_value = float(scale_init_value)

    def _run(self, net: Any, param: Any) -> Any:
        return net.LayerNormalization(
            param,
            epsilon=self._epsilon,
            use_layer_norm_op=self._use_layer_norm_op,
            scale_init_value=self._scale_init_value,
        )
