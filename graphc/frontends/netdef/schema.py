"""Caffe2's protobuf schema as a table, and message classes built from it in a private descriptor pool.

The numbers are those of Caffe2's last ``caffe2.proto`` and ``metanet.proto``; files of every older version read with
them. The pool is private, so the classes never clash with ``caffe2_pb2`` of an installed PyTorch.

Three dialects share the numbers:

- ``MODERN``: the names of the last version; what users of messages get.
- ``LEGACY``: the text of 2018, where ``device_id`` is called ``cuda_gpu_id``.
- each of them with every ``string`` read as ``bytes`` (``raw=True``), because blob names may be any bytes and protobuf
  refuses to hand out a string that is not UTF-8.
"""

from __future__ import annotations

import enum
import functools
from typing import Any

from google.protobuf import descriptor_pool, message_factory

from graphc.frontends.message_table import MessageTable

Message = Any
"""A protobuf message; its classes are made at run time, so there is no static type to name."""

_ENUMS = {
    "TensorProto.DataType": "UNDEFINED=0 FLOAT=1 INT32=2 BYTE=3 STRING=4 BOOL=5 UINT8=6 INT8=7 UINT16=8 INT16=9 "
    "INT64=10 FLOAT16=12 DOUBLE=13 ZERO_COLLISION_HASH=14 REBATCHING_BUFFER=15",
    "TensorBoundShape.DimType": "UNKNOWN=0 CONSTANT=1 BATCH=2 BATCH_OF_FEATURE_MAX=3 BATCH_OF_FEATURE_MAX_DEFAULT=4 "
    "FEATURE_MAX=5 FEATURE_MAX_DEFAULT=6",
    "DeviceTypeProto": "PROTO_CPU=0 PROTO_CUDA=1 PROTO_MKLDNN=2 PROTO_OPENGL=3 PROTO_OPENCL=4 PROTO_IDEEP=5 "
    "PROTO_HIP=6 PROTO_FPGA=7 PROTO_MAIA=8 PROTO_XLA=9 PROTO_MPS=10",
    "BlobSerializationOptions.FloatFormat": "FLOAT_DEFAULT=0 FLOAT_PROTOBUF=1 FLOAT_BFLOAT16=2",
    "LegacyPadding": "NOTSET=0 VALID=1 SAME=2 CAFFE_LEGACY_POOLING=3",
}

_MESSAGES = {
    "TensorProto": "*int64 dims=1; DataType data_type=2 =FLOAT; *float float_data=3 packed; "
    "*int32 int32_data=4 packed; bytes byte_data=5; *bytes string_data=6; string name=7; DeviceOption device_detail=8; "
    "*double double_data=9 packed; *int64 int64_data=10 packed; Segment segment=11; bytes raw_data=13; "
    "uint32 data_format=15 =0",
    "TensorProto.Segment": "int64 begin=1; int64 end=2",
    "QTensorProto": "*int64 dims=1; int32 precision=2; double scale=3; double bias=4; bool is_signed=5; "
    "*int32 data=6 packed; string name=7; TensorProto.DataType data_type=8 =INT32; *double scales=9; "
    "*double biases=10; int32 axis=11; bool is_multiparam=12 =false",
    "TensorProtos": "*TensorProto protos=1",
    "QTensorProtos": "*QTensorProto protos=1",
    "TensorShape": "*int64 dims=1; TensorProto.DataType data_type=2 =FLOAT; *int32 unknown_dims=3; "
    "bool unknown_shape=4 =false; string name=5",
    "TensorShapes": "*TensorShape shapes=1",
    "TensorBoundShape": "TensorShape shape=1; *DimType dim_type=2; string name=3; bool shape_is_final=4",
    "TensorBoundShapes": "*TensorBoundShape shapes=1; int64 max_batch_size=2; int64 max_feature_len=3",
    "AOTConfig": "int64 max_batch_size=1; int64 max_seq_size=2; bool in_batch_broadcast=3; "
    "string onnxifi_blacklist_ops=4; int32 onnxifi_min_ops=5",
    "Argument": "string name=1; float f=2; int64 i=3; bytes s=4; *float floats=5; *int64 ints=6; *bytes strings=7; "
    "NetDef n=8; *NetDef nets=9; TensorProto t=10; *TensorProto tensors=11; *QTensorProto qtensors=12",
    "DeviceOption": "int32 device_type=1 =0; int32 device_id=2; uint32 random_seed=3; string node_name=4; "
    "int32 numa_node_id=5; *string extra_info=6",
    "OperatorDef": "*string input=1; *string output=2; string name=3; string type=4; *Argument arg=5; "
    "DeviceOption device_option=6; string engine=7; *string control_input=8; bool is_gradient_op=9 =false; "
    "string debug_info=10; string domain=11; int64 op_version=12",
    "MapFieldEntry": "string key=1; string val=2",
    "BackendOptions": "string backend_name=1; *MapFieldEntry option=2",
    "PartitionInfo": "string name=1; *int32 device_id=2; string extra_info=3; *BackendOptions backend_options=4",
    "NetDef": "string name=1; *OperatorDef op=2; string type=3; int32 num_workers=4; DeviceOption device_option=5; "
    "*Argument arg=6; *string external_input=7; *string external_output=8; *PartitionInfo partition_info=9",
    "ExecutionStep": "string name=1; *ExecutionStep substep=2; *string network=3; int64 num_iter=4; "
    "string criteria_network=5; bool concurrent_substeps=6; string report_net=7; int32 report_interval=8; "
    "string should_stop_blob=9; bool only_once=10; int64 run_every_ms=11; bool create_workspace=12; "
    "int32 num_concurrent_instances=13",
    "PlanDef": "string name=1; *NetDef network=2; *ExecutionStep execution_step=3",
    "BlobProto": "string name=1; string type=2; TensorProto tensor=3; bytes content=4; QTensorProto qtensor=5; "
    "int32 content_num_chunks=6; int32 content_chunk_id=7",
    "BlobSerializationOptions": "string blob_name_regex=1; int64 chunk_size=2; FloatFormat float_format=3",
    "SerializationOptions": "*BlobSerializationOptions options=1",
    "DBReaderProto": "string name=1; string source=2; string db_type=3; string key=4",
    "ModelInfo": "string project=1; string modelClass=2; string version=3; string predictorType=4 =SINGLE_PREDICTOR; "
    "string modelId=5",
    "BlobsMap": "string key=1; *string value=2",
    "NetsMap": "string key=1; NetDef value=2",
    "PlansMap": "string key=1; PlanDef value=2",
    "StringMap": "string key=1; string value=2",
    "MetaNetDef": "*BlobsMap blobs=1; *NetsMap nets=2; ModelInfo modelInfo=3; *PlansMap plans=4; "
    "*StringMap applicationSpecificInfo=5; *string blobsOrder=6; *string preLoadBlobs=7; "
    "TensorBoundShapes tensorBoundShapes=8; *string requestOnlyEmbeddings=9; AOTConfig aotConfig=10",
    "PredictorConsts": "string META_NET_DEF=1 =!!META_NET_DEF; string PREDICTOR_DBREADER=2 =!!PREDICTOR_DBREADER; "
    "string PARAMETERS_BLOB_TYPE=3 =PARAMETERS_BLOB_TYPE; string INPUTS_BLOB_TYPE=4 =INPUTS_BLOB_TYPE; "
    "string OUTPUTS_BLOB_TYPE=5 =OUTPUTS_BLOB_TYPE; string GLOBAL_INIT_NET_TYPE=6 =GLOBAL_INIT_NET_TYPE; "
    "string PREDICT_INIT_NET_TYPE=7 =PREDICT_INIT_NET_TYPE; string PREDICT_NET_TYPE=8 =PREDICT_NET_TYPE; "
    "string SINGLE_PREDICTOR=9 =SINGLE_PREDICTOR; string MULTI_PREDICTOR=10 =MULTI_PREDICTOR; "
    "string TRAIN_INIT_PLAN_TYPE=11 =TRAIN_INIT_PLAN_TYPE; string TRAIN_PLAN_TYPE=12 =TRAIN_PLAN_TYPE; "
    "string SHAPE_INFO_BLOB=13 =SHAPE_INFO_BLOB; string DEFERRED_BLOB_READER=14 =__DEFERRED_BLOB_READER__",
    "TwoNumberStatsProto": "float mean=1; float stddev=2; int64 count=3",
    "BlobProfile": "string name=1; TwoNumberStatsProto bytes_used=3",
    "ProfDAGProto": "string name=1; float mean=2; float stddev=3; TwoNumberStatsProto execution_time=4; "
    "*BlobProfile output_profile=5; *string extra_info=7",
    "ProfDAGProtos": "*ProfDAGProto stats=1; string net_name=2; *OpProfile ops_stats=3",
    "OpProfile": "string idx=1; string net_name=2; string type=3; float exec_time_secs=4",
    "CaffeDatum": "int32 channels=1; int32 height=2; int32 width=3; bytes data=4; int32 label=5; *float float_data=6; "
    "bool encoded=7 =false",
}

_TABLE = MessageTable("caffe2", _MESSAGES, _ENUMS)


class Dialect(enum.Enum):
    """Which names the fields have in text."""

    MODERN = "modern"
    LEGACY = "2018"


@functools.cache
def message_class(name: str, dialect: Dialect = Dialect.MODERN, raw: bool = False) -> Message:
    """The message class ``caffe2.<name>``; with ``raw`` its strings are bytes. ``KeyError`` for an unknown name."""
    return message_factory.GetMessageClass(_pool(dialect, raw).FindMessageTypeByName(f"caffe2.{name}"))


@functools.cache
def _pool(dialect: Dialect, raw: bool) -> descriptor_pool.DescriptorPool:
    return _TABLE.pool(raw, _legacy_name) if dialect is Dialect.LEGACY else _TABLE.pool(raw)


def _legacy_name(message: str, field: str) -> str:
    return "cuda_gpu_id" if (message, field) == ("DeviceOption", "device_id") else field
