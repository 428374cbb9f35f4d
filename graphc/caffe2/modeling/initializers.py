"""What makes parameters: an operator that fills a blob, or nothing where the workspace has it already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.caffe2.core import BlobReference, DataType, Net, ScopedBlobReference
from graphc.caffe2.modeling.parameter_info import ParameterInfo

Fill = tuple[str, Mapping[str, Any]]
"""A fill operator and its arguments, as ``("XavierFill", {})``."""


class Initializer:
    """A parameter is what an operator fills, in float32."""

    def __init__(self, operator_name: str | None = None, **kwargs: Any) -> None:
        self.operator_name = operator_name
        self.operator_kwargs: Mapping[str, Any] = kwargs

    def update(self, operator_name: str, kwargs: Mapping[str, Any]) -> None:
        """Set the operator of an initializer that has none; raises ``Exception`` for one that has."""
        if self.operator_name is not None:
            raise Exception("Operator name overwrites are not allowed")
        self.operator_name, self.operator_kwargs = operator_name, kwargs

    def create_param(self, param_name: Any, init_net: Net, shape: Sequence[int]) -> ParameterInfo:
        """Add the operator to the init net; the name gets the name scope if it is a string."""
        return ParameterInfo(None, self._fill(param_name, init_net, shape), shape=shape)

    def _fill(self, name: Any, init_net: Net, shape: Sequence[int]) -> Any:
        return getattr(init_net, str(self.operator_name))([], name, shape=shape, **self.operator_kwargs)


class ExternalInitializer:
    """A parameter that the workspace has when the nets run: no operator is added."""

    def create_param(self, param_name: Any, init_net: Net, shape: Sequence[int]) -> ParameterInfo:
        """The blob of this name; raises ``TypeError`` for anything but a string or a blob."""
        if not isinstance(param_name, str | BlobReference):
            raise TypeError("Unsupported type for param_name")
        make = ScopedBlobReference if isinstance(param_name, str) else BlobReference
        param = make(str(param_name), init_net)
        return ParameterInfo(None, param, shape=shape)


class PseudoFP16Initializer(Initializer):
    """Half precision for the net, and a float32 copy ``NAME_fp32`` that optimizers update, in ``blob_copy``."""

    def create_param(self, param_name: Any, init_net: Net, shape: Sequence[int]) -> ParameterInfo:
        """Fill the float32 blob and round it."""
        full = self._fill(param_name + "_fp32", init_net, shape)
        half = init_net.FloatToHalf(full, param_name)
        return ParameterInfo(None, half, shape=shape, blob_copy={DataType.FLOAT: full})


class ReversePseudoFP16Initializer(Initializer):
    """Float32 for the parameter, and its half precision copy ``NAME_fp16`` in ``blob_copy``."""

    def create_param(self, param_name: Any, init_net: Net, shape: Sequence[int]) -> ParameterInfo:
        """Fill the float32 blob and round it."""
        full = self._fill(param_name, init_net, shape)
        half = init_net.FloatToHalf(full, param_name + "_fp16")
        return ParameterInfo(None, full, shape=shape, blob_copy={DataType.FLOAT16: half})


def update_initializer(
    initializer_class: Any,
    operator_name_and_kwargs: Fill | None,
    default_operator_name_and_kwargs: Fill,
) -> Any:
    """An initializer of this class, ``Initializer`` if it is None, with this operator, else with the default one."""
    name, kwargs = (operator_name_and_kwargs or default_operator_name_and_kwargs)[:2]  # Caffe2 reads no more of them
    return (initializer_class or Initializer)(name, **kwargs)
