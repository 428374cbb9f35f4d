"""``caffe2.python.layers.functional``: a function that adds operators, as a layer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core, schema, scope, workspace
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.proto import caffe2_pb2

_LOG = logging.getLogger(__name__)
_TENSOR = caffe2_pb2.TensorProto
_TYPES = {
    _TENSOR.DOUBLE: np.float64,
    _TENSOR.FLOAT: np.float32,
    _TENSOR.INT32: np.int32,
    _TENSOR.INT64: np.int64,
    _TENSOR.FLOAT16: np.float16,
}


class Functional(ModelLayer):
    """``function(net, input_record, output_schema, **kwargs)`` adds the operators.

    The output is a ``Scalar`` for one name, or the number 1, else a ``Struct``, or a record that is given. Its types
    are ``output_dtypes``, or inferred by running the function on an empty batch.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_names_or_num: Any,
        function: Callable[..., Any],
        name: str = "functional",
        output_dtypes: Any = None,
        tags: Any = None,
        **kwargs: Any,
    ) -> None:
        """output_names_or_num: one name, several, their number, or a record."""
        super().__init__(model, name, schema.as_record(input_record), tags=tags, **kwargs)
        self._function = function
        self._kwargs = kwargs
        if isinstance(output_names_or_num, schema.Field):
            self.output_schema = output_names_or_num.clone(keep_blobs=True)
            return
        record = self._new_record(output_names_or_num)
        one = not isinstance(output_names_or_num, list) and (
            not isinstance(output_names_or_num, int) or output_names_or_num == 1
        )
        self.output_schema = record[0] if one else record
        leaves = record.field_blobs()
        if output_dtypes is not None:
            self._set_types(output_dtypes if isinstance(output_dtypes, list) else [output_dtypes] * len(leaves))
        elif not self._infer_types([self.output_schema] if one else list(record)):
            _LOG.warning("Type inference had problems for layer: %s", self.name)

    def _new_record(self, names: Any) -> Any:
        if isinstance(names, int):
            fields = schema.RawTuple(names)
        else:
            fields = schema.Struct(*((out, np.void) for out in (names if isinstance(names, list) else [names])))
        with scope.NameScope(self.name, reset=True):
            return schema.NewRecord(self.model.net, fields)

    def _set_types(self, dtypes: Sequence[Any]) -> None:
        leaves = self.output_schema.all_scalars()
        require(len(dtypes) == len(leaves), f"{len(leaves)} outputs have {len(dtypes)} types")
        for dtype, leaf in zip(dtypes, leaves, strict=True):
            leaf.set_type(dtype)

    def _infer_types(self, fields: Sequence[Any]) -> bool:
        """Set the types that a net on an empty batch has; False if some are unknown or without a batch in front."""
        net = core.Net("_temp_type_and_shape_inference_net")
        try:
            schema.InitEmptyRecord(net, self.input_record, enforce_types=True)
            self._function(net, self.input_record, self.output_schema, **self._kwargs)
            shapes, types = workspace.InferShapesAndTypes([net], {})
        except TypeError as error:
            _LOG.warning("%s", error)
            return False
        known = [_set_type(field, shapes, types) for field in fields]
        return all(known)

    def add_ops(self, net: Any) -> None:
        """Call the function."""
        self._function(net, self.input_record, self.output_schema, **self._kwargs)


def _set_type(field: Any, shapes: Any, types: Any) -> bool:
    blob = str(field())
    if blob not in types or blob not in shapes:
        return False
    shape = list(shapes[blob])
    if shape and shape[0] != 0:
        _LOG.warning("unexpected shape: %s", shape)
        return False
    if types[blob] in _TYPES:
        field.set_type((_TYPES[types[blob]], tuple(shape[1:])))
    return True
