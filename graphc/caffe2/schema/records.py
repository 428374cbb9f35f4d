"""Records of blobs: made in nets, fed, fetched, built from columns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import workspace
from graphc.caffe2.core.blob_reference import BlobReference
from graphc.caffe2.core.data_type import DataType
from graphc.caffe2.core.net import Net
from graphc.caffe2.schema.fields import FIELD_SEPARATOR, Field, List, Map, Scalar, Struct

_LOG = logging.getLogger(__name__)

_DATA_TYPE_FOR_DTYPE: list[tuple[Any, int]] = [
    (str, DataType.STRING),
    (np.float16, DataType.FLOAT16),
    (np.float32, DataType.FLOAT),
    (np.float64, DataType.DOUBLE),
    (bool, DataType.BOOL),
    (np.int8, DataType.INT8),
    (np.int16, DataType.INT16),
    (np.int32, DataType.INT32),
    (np.int64, DataType.INT64),
    (np.uint8, DataType.UINT8),
    (np.uint16, DataType.UINT16),
]


def data_type_for_dtype(dtype: np.dtype) -> int:
    """The number of an element type, of texts of any length too; raises ``TypeError`` for one without."""
    if dtype.base.kind in "SU":
        return DataType.STRING
    for numpy_type, number in _DATA_TYPE_FOR_DTYPE:
        if dtype.base == numpy_type:
            return number
    raise TypeError(f"Unknown dtype: {dtype.base}")


def dtype_for_core_type(core_type: int) -> Any:
    """The NumPy type of a number of ``DataType``; raises ``TypeError`` for one without."""
    for numpy_type, number in _DATA_TYPE_FOR_DTYPE:
        if number == core_type:
            return numpy_type
    raise TypeError(f"Unknown core type: {core_type}")


# ---- building --------------------------------------------------------------------------------------------------------


def from_dtype(dtype: Any, _outer_shape: tuple[int, ...] = ()) -> Field:
    """The field of a NumPy type: a struct for one of several fields, whose rows all have the outer shape."""
    if not isinstance(dtype, np.dtype):
        dtype = np.dtype(dtype)
    shape = _outer_shape + dtype.shape
    if not dtype.base.fields:
        return Scalar(np.dtype((dtype.base, shape)))
    return Struct(*((name, from_dtype(dtype.base.fields[name][0], shape)) for name in dtype.base.names))


def from_column_list(
    col_names: Sequence[str],
    col_types: Sequence[Any] | None = None,
    col_blobs: Sequence[Any] | None = None,
    col_metadata: Sequence[Any] | None = None,
) -> Field:
    """The record whose leaves have these names, in any order; types, blobs and metadata stand beside the names.

    A struct of ``lengths`` and ``values`` becomes a list, one of ``lengths``, ``keys`` and ``values`` a map. Raises
    ``AssertionError`` for lists of different lengths.
    """
    none = [None] * len(col_names)
    columns = [none if column is None else column for column in (col_types, col_blobs, col_metadata)]
    for name, column in zip(("col_types", "col_blobs", "col_metadata"), columns):
        if len(column) != len(col_names):
            raise AssertionError(f"col_names and {name} must have the same length.")
    tree: dict[str, Any] = {}
    for path, dtype, blob, metadata in zip(col_names, *columns):
        *inner, last = path.split(FIELD_SEPARATOR)
        node = tree
        for part in inner:
            node = node.setdefault(part, {})
        node[last] = Scalar(dtype, blob, metadata)
    return _from_tree(tree)


Net.record_of_columns = from_column_list


def _from_tree(tree: dict[str, Any] | Scalar) -> Field:
    if isinstance(tree, Scalar):
        return tree
    fields = {name: _from_tree(part) for name, part in tree.items()}
    if fields.keys() == {"lengths", "values"}:
        return List(fields["values"], lengths_blob=fields["lengths"])
    if fields.keys() == {"lengths", "keys", "values"}:
        return Map(fields["keys"], fields["values"], lengths_blob=fields["lengths"])
    return Struct(*fields.items())


def from_blob_list(schema: Any, values: Any, throw_on_type_mismatch: bool = False) -> Any:
    """A copy of a field whose leaves hold these; raises ``AssertionError`` for another number of them."""
    if not isinstance(schema, Field):
        raise AssertionError("Argument `schema` must be a Field.")
    given = [values] if isinstance(values, BlobReference) else values
    record = schema.clone_schema()
    leaves = record.all_scalars()
    if len(leaves) != len(given):
        raise AssertionError(f"Values must have {len(leaves)} elements, got {len(given)}.")
    for leaf, value in zip(leaves, given):
        leaf.set_value(value, throw_on_type_mismatch, unsafe=True)
    return record


# ---- blobs -----------------------------------------------------------------------------------------------------------


def _blobs_of(record: Field) -> list[BlobReference]:
    blobs = record.field_blobs()
    if not all(isinstance(blob, BlobReference) for blob in blobs):
        raise AssertionError("every leaf of the record has to hold a BlobReference")
    return blobs


def FetchRecord(blob_record: Field, ws: Any = None, throw_on_type_mismatch: bool = False) -> Any:
    """A copy of a record of blobs that holds their arrays, from the current workspace or ``ws``."""
    blobs = [str(blob) for blob in _blobs_of(blob_record)]
    arrays = [workspace.FetchBlob(name) if ws is None else ws.blobs[name].fetch() for name in blobs]
    return from_blob_list(blob_record, arrays, throw_on_type_mismatch)


def FeedRecord(blob_record: Field, arrays: Any, ws: Any = None) -> None:
    """Feed arrays, a list or a record of them, to the blobs of a record, in the current workspace or ``ws``."""
    blobs = _blobs_of(blob_record)
    given = arrays.field_blobs() if isinstance(arrays, Field) else arrays
    if len(given) != len(blobs):
        raise AssertionError(f"Values must contain exactly {len(blobs)} ndarrays.")
    for blob, array in zip(blobs, given):
        if ws is None:
            workspace.FeedBlob(blob, array)
        else:
            ws.create_blob(str(blob)).feed(array)


def NewRecord(net: Any, schema: Any) -> Any:
    """A copy of a field with a blob of its own for every leaf, called as the leaf in the current name scope."""
    if isinstance(schema, Scalar):
        record = schema.clone()
        record.set_value(blob=net.NextScopedBlob("unnamed_scalar"), unsafe=True)
        return record
    if not isinstance(schema, Field):
        raise AssertionError("Record must be a schema.Field instance.")
    return from_blob_list(schema, [net.NextScopedBlob(prefix=name) for name in schema.field_names()])


def ConstRecord(net: Any, array_record: Field) -> Any:
    """A record of blobs that a net fills with the arrays of another."""
    record = NewRecord(net, array_record)
    for blob, array in zip(record.field_blobs(), array_record.field_blobs()):
        net.Const(array, blob)
    return record


def InitEmptyRecord(net: Any, schema_or_record: Any, enforce_types: bool = False) -> Any:
    """A record of blobs that a net fills with no rows; its blobs are new ones where the field holds none.

    A leaf of unknown type becomes float32, or with enforce_types a ``TypeError``.
    """
    record = schema_or_record if schema_or_record.has_blobs() else NewRecord(net, schema_or_record)
    for dtype, blob in zip(record.field_types(), record.field_blobs()):
        try:
            number = data_type_for_dtype(dtype)
        except TypeError:
            if enforce_types:
                raise
            _LOG.warning("blob %s is of unknown type and becomes float32", blob)
            net.ConstantFill([], blob, shape=[0])
            continue
        net.ConstantFill([], blob, shape=[0, *dtype.shape], dtype=number)
    return record
