"""``caffe2.python.schema``: records of blobs, with structs and lists inside of each other."""

from __future__ import annotations

from graphc.caffe2.schema.fields import FIELD_SEPARATOR as FIELD_SEPARATOR
from graphc.caffe2.schema.fields import FeatureSpec as FeatureSpec
from graphc.caffe2.schema.fields import Field as Field
from graphc.caffe2.schema.fields import List as List
from graphc.caffe2.schema.fields import ListWithEvicted as ListWithEvicted
from graphc.caffe2.schema.fields import Map as Map
from graphc.caffe2.schema.fields import MapWithEvicted as MapWithEvicted
from graphc.caffe2.schema.fields import Metadata as Metadata
from graphc.caffe2.schema.fields import NamedTuple_ as NamedTuple  # noqa: F401
from graphc.caffe2.schema.fields import RawTuple as RawTuple
from graphc.caffe2.schema.fields import Scalar as Scalar
from graphc.caffe2.schema.fields import Struct as Struct
from graphc.caffe2.schema.fields import Tuple as Tuple
from graphc.caffe2.schema.fields import as_field as _normalize_field  # noqa: F401
from graphc.caffe2.schema.fields import as_record as as_record
from graphc.caffe2.schema.fields import attach_metadata_to_scalars as attach_metadata_to_scalars
from graphc.caffe2.schema.fields import equal_schemas as equal_schemas
from graphc.caffe2.schema.fields import is_schema_subset as is_schema_subset
from graphc.caffe2.schema.fields import schema_check as schema_check
from graphc.caffe2.schema.records import ConstRecord as ConstRecord
from graphc.caffe2.schema.records import FeedRecord as FeedRecord
from graphc.caffe2.schema.records import FetchRecord as FetchRecord
from graphc.caffe2.schema.records import InitEmptyRecord as InitEmptyRecord
from graphc.caffe2.schema.records import NewRecord as NewRecord
from graphc.caffe2.schema.records import data_type_for_dtype as data_type_for_dtype
from graphc.caffe2.schema.records import dtype_for_core_type as dtype_for_core_type
from graphc.caffe2.schema.records import from_blob_list as from_blob_list
from graphc.caffe2.schema.records import from_column_list as from_column_list
from graphc.caffe2.schema.records import from_dtype as from_dtype
