"""What several layers do: checks of records, casts, losses with weights, random weights, clipped parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers.layers import require

Fill = tuple[str, dict[str, Any]]
"""An operator that fills a parameter, and its arguments."""


def require_scalar(record: Any) -> None:
    """Raise ``AssertionError`` unless a record is one tensor."""
    require(isinstance(record, schema.Scalar), f"a Scalar is needed, not {record}")


def require_fields(record: Any, *names: str) -> None:
    """Raise ``AssertionError`` unless a record has leaves of these names, whatever their types."""
    wanted = schema.Struct(*((name, schema.Scalar()) for name in names))
    require(schema.is_schema_subset(wanted, record), f"the fields {', '.join(names)} are needed, not {record}")


def row_shape(record: Any) -> tuple[int, ...]:
    """The shape of a row of a tensor; raises ``AssertionError`` where it is unknown."""
    require_scalar(record)
    shape: tuple[int, ...] = record.field_types()[0].shape
    require(len(shape) > 0, f"the dimensions of the input have to be known, {record} has none")
    return shape


def uniform(inputs: float, numerator: float = 1.0) -> Fill:
    """Numbers between plus and minus the root of ``numerator / inputs``."""
    scale = math.sqrt(numerator / inputs)
    return "UniformFill", {"min": -scale, "max": scale}


def constant(value: float, dtype: int | None = None) -> Fill:
    """One number, float32 unless its type is given."""
    return "ConstantFill", {"value": value} if dtype is None else {"value": value, "dtype": dtype}


def as_type(net: Any, field: Any, dtype: Any, name: str) -> Any:
    """The blob of a field, behind a Cast to ``name`` unless the field is of the type."""
    if field.field_type().base == dtype:
        return field()
    return net.Cast([field()], [net.NextScopedBlob(name)], to=schema.data_type_for_dtype(np.dtype(dtype)))


def float_weight(net: Any, record: Any) -> Any:
    """The blob of the field ``weight``, as float32."""
    blob = record.weight()
    if record.weight.field_type().base == np.float32:
        return blob
    return net.Cast(blob, blob + "_float32", to=core.DataType.FLOAT)


def weighted(net: Any, record: Any, loss: Any, name: str) -> Any:
    """A loss times the field ``weight``, through which no gradient flows; as it is without such a field."""
    if "weight" not in record.fields:
        return loss
    weight = net.StopGradient([float_weight(net, record)], [net.NextScopedBlob("weight_stop_gradient")])
    return net.Mul([loss, weight], net.NextScopedBlob(name))


def clip_arguments(clip_param: Any) -> dict[str, float] | None:
    """Arguments of ``Clip`` from a pair (min, max), one of which may be None; ``AssertionError`` for another thing."""
    if clip_param is None:
        return None
    require(len(clip_param) == 2, f"clip_param is a pair (min, max), not {clip_param}")
    low, high = clip_param
    require(low is not None or high is not None, "clip_param has neither a minimum nor a maximum")
    require(low is None or high is None or low < high, f"clip_param has no numbers between {low} and {high}")
    return {name: value for name, value in (("min", low), ("max", high)) if value is not None}


def clipped(net: Any, params: list[Any], arguments: dict[str, float] | None) -> list[Any]:
    """Clipped copies of parameters, where they are to be clipped."""
    if arguments is None:
        return params
    copies = [net.NextScopedBlob(f"clipped_{param}") for param in params]
    for param, copied in zip(params, copies, strict=True):
        net.Clip([param], [copied], **arguments)
    return copies
