"""Kinds of records that layers take, and what is known of their features."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema

IdList = schema.List(np.int64)
IdScoreList = schema.Map(np.int64, np.float32)
IdListWithEvicted = schema.ListWithEvicted(np.int64)
IdScoreListWithEvicted = schema.MapWithEvicted(np.int64, np.float32)


def require(holds: Any, message: str) -> None:
    """Raise ``AssertionError`` unless something holds."""
    if not holds:
        raise AssertionError(message)


def almost_equal_schemas(
    record: Any,
    original_schema: Any,
    check_field_names: bool = True,
    check_field_types: bool = True,
    check_field_metas: bool = False,
) -> bool:
    """A record is of a schema, or, where that is a list of identifiers, of the same with the evicted ones."""
    checks = {
        "check_field_names": check_field_names,
        "check_field_types": check_field_types,
        "check_field_metas": check_field_metas,
    }
    for plain, evicted in ((IdList, IdListWithEvicted), (IdScoreList, IdScoreListWithEvicted)):
        if original_schema == plain:
            return any(schema.equal_schemas(record, kind, **checks) for kind in (plain, evicted))
    return schema.equal_schemas(record, original_schema)


def get_key(record: Any) -> Any:
    """The field of the identifiers of a list; raises ``NotImplementedError`` for another record.

    Raises ``AssertionError`` where nothing is known of them.
    """
    if almost_equal_schemas(record, IdList):
        key = record["values"]
    elif almost_equal_schemas(record, IdScoreList, check_field_types=False):
        key = record["values:keys"]
    else:
        raise NotImplementedError(f"identifiers are in an IdList or an IdScoreList, not in {record}")
    if key.metadata is None:
        raise AssertionError(f"nothing is known of the identifiers of {record}: set their metadata")
    return key


def get_categorical_limit(record: Any) -> Any:
    """The number above all identifiers of a list."""
    return get_key(record).metadata.categorical_limit


def get_avg_length(record: Any) -> Any:
    """The length to expect of a list."""
    return record["lengths"].metadata.expected_value


def set_request_only(field: Any) -> None:
    """Note of every leaf that its features are the same for all rows of a request."""
    for leaf in field.all_scalars():
        known = leaf.metadata or schema.Metadata()
        specs = known.feature_specs or schema.FeatureSpec()
        specs = schema.FeatureSpec(
            feature_type=specs.feature_type,
            feature_names=specs.feature_names,
            feature_ids=specs.feature_ids,
            feature_is_request_only=True,
            desired_hash_size=specs.desired_hash_size,
        )
        if not np.issubdtype(leaf.field_type(), np.integer):
            require(known.categorical_limit is None, "categorical_limit shouldn't be set for no-integer field")
        leaf.set_metadata(
            schema.Metadata(
                categorical_limit=known.categorical_limit, expected_value=known.expected_value, feature_specs=specs
            )
        )


def is_request_only_scalar(scalar: Any) -> bool:
    """All features of a leaf are the same for all rows of a request."""
    known = scalar.field_metadata()
    return bool(known) and all(
        metadata and metadata.feature_specs and getattr(metadata.feature_specs, "feature_is_request_only", False)
        for metadata in known
    )
