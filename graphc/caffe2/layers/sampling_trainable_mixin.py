"""``caffe2.python.layers.sampling_trainable_mixin``: layers that can be trained with some rows of their parameters."""

from __future__ import annotations

import abc
from typing import Any

from graphc.caffe2.layers.layers import require


class SamplingTrainableMixin(abc.ABC):
    """A base, before ``ModelLayer``, of a layer that defines ``param_blobs`` and ``_add_ops(net, blobs)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._train_param_blobs: list[Any] | None = None

    @property
    @abc.abstractmethod
    def param_blobs(self) -> list[Any]:
        """The parameters in nets for prediction."""

    @property
    def train_param_blobs(self) -> list[Any]:
        """The blobs that stand for them in training: the same unless others were set before."""
        if self._train_param_blobs is None:
            self._train_param_blobs = self.param_blobs
        return self._train_param_blobs

    @train_param_blobs.setter
    def train_param_blobs(self, blobs: list[Any]) -> None:
        """Set them, once, and before they are used."""
        require(self._train_param_blobs is None, "the blobs for training are in use")
        self._train_param_blobs = blobs

    @abc.abstractmethod
    def _add_ops(self, net: Any, param_blobs: list[Any]) -> None:
        """Add the operators, with these parameters."""

    def add_ops(self, net: Any) -> None:
        """Add the operators for prediction."""
        self._add_ops(net, self.param_blobs)

    def add_train_ops(self, net: Any) -> None:
        """Add the operators for training."""
        self._add_ops(net, self.train_param_blobs)
