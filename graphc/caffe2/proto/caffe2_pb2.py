"""The messages and constants of ``caffe2.proto``, as scripts know them from Caffe2's generated module.

The classes are those of ``graphc.frontends.netdef``, in a descriptor pool of their own: what a frontend function reads
or gives is an instance of them, and an installed PyTorch's ``caffe2_pb2`` does not clash.
"""

from __future__ import annotations

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from graphc.frontends.netdef.schema import message_class

TensorProto = message_class("TensorProto")
QTensorProto = message_class("QTensorProto")
TensorProtos = message_class("TensorProtos")
QTensorProtos = message_class("QTensorProtos")
TensorShape = message_class("TensorShape")
TensorShapes = message_class("TensorShapes")
TensorBoundShape = message_class("TensorBoundShape")
TensorBoundShapes = message_class("TensorBoundShapes")
AOTConfig = message_class("AOTConfig")
Argument = message_class("Argument")
DeviceOption = message_class("DeviceOption")
OperatorDef = message_class("OperatorDef")
MapFieldEntry = message_class("MapFieldEntry")
BackendOptions = message_class("BackendOptions")
PartitionInfo = message_class("PartitionInfo")
NetDef = message_class("NetDef")
ExecutionStep = message_class("ExecutionStep")
PlanDef = message_class("PlanDef")
BlobProto = message_class("BlobProto")
DBReaderProto = message_class("DBReaderProto")
BlobSerializationOptions = message_class("BlobSerializationOptions")
SerializationOptions = message_class("SerializationOptions")

DESCRIPTOR = NetDef.DESCRIPTOR.file

DeviceTypeProto = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["DeviceTypeProto"])
PROTO_CPU: int = DeviceTypeProto.Value("PROTO_CPU")
PROTO_CUDA: int = DeviceTypeProto.Value("PROTO_CUDA")
PROTO_MKLDNN: int = DeviceTypeProto.Value("PROTO_MKLDNN")
PROTO_OPENGL: int = DeviceTypeProto.Value("PROTO_OPENGL")
PROTO_OPENCL: int = DeviceTypeProto.Value("PROTO_OPENCL")
PROTO_IDEEP: int = DeviceTypeProto.Value("PROTO_IDEEP")
PROTO_HIP: int = DeviceTypeProto.Value("PROTO_HIP")
PROTO_FPGA: int = DeviceTypeProto.Value("PROTO_FPGA")
PROTO_MAIA: int = DeviceTypeProto.Value("PROTO_MAIA")
PROTO_XLA: int = DeviceTypeProto.Value("PROTO_XLA")
PROTO_MPS: int = DeviceTypeProto.Value("PROTO_MPS")

CPU = PROTO_CPU
"""These short names are those of 2017's ``caffe2.proto``; scripts of every year use them."""
CUDA = PROTO_CUDA
MKLDNN = PROTO_MKLDNN
OPENGL = PROTO_OPENGL
OPENCL = PROTO_OPENCL
IDEEP = PROTO_IDEEP
HIP = PROTO_HIP
FPGA = PROTO_FPGA

LegacyPadding = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["LegacyPadding"])
NOTSET: int = LegacyPadding.Value("NOTSET")
VALID: int = LegacyPadding.Value("VALID")
SAME: int = LegacyPadding.Value("SAME")
CAFFE_LEGACY_POOLING: int = LegacyPadding.Value("CAFFE_LEGACY_POOLING")
