"""The messages of Caffe 1 that describe and hold networks, with Caffe's field numbers.

What a prototxt says of layers that ``caffe_translator`` knows is read, of others only what all layers have. Parameters
of layers that forks of Caffe added have the number of the best-known fork (SSD: Permute, Normalize; Fast R-CNN:
ROIPooling); those that were never agreed on have one above nine million, which serves text alone.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from graphc.frontends.message_table import MessageTable

_ENUMS = {
    "Phase": "TRAIN=0 TEST=1",
    "DimCheckMode": "STRICT=0 PERMISSIVE=1",
    "Engine": "DEFAULT=0 CAFFE=1 CUDNN=2",
    "DB": "LEVELDB=0 LMDB=1",
    "NormalizationMode": "FULL=0 VALID=1 BATCH_SIZE=2 NONE=3",
    "VarianceNorm": "FAN_IN=0 FAN_OUT=1 AVERAGE=2",
    "PoolingParameter.PoolMethod": "MAX=0 AVE=1 STOCHASTIC=2",
    "PoolingParameter.RoundMode": "CEIL=0 FLOOR=1",
    "LRNParameter.NormRegion": "ACROSS_CHANNELS=0 WITHIN_CHANNEL=1",
    "EltwiseParameter.EltwiseOp": "PROD=0 SUM=1 MAX=2",
    "ReductionParameter.ReductionOp": "SUM=1 ASUM=2 SUMSQ=3 MEAN=4",
    "V1LayerParameter.LayerType": "NONE=0 ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT=3 CONTRASTIVE_LOSS=37 "
    "CONVOLUTION=4 DATA=5 DECONVOLUTION=39 DROPOUT=6 DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25 EXP=38 FLATTEN=8 "
    "HDF5_DATA=9 HDF5_OUTPUT=10 HINGE_LOSS=28 IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15 "
    "MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16 MVN=34 POOLING=17 POWER=26 RELU=18 SIGMOID=19 "
    "SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 SOFTMAX_LOSS=21 SPLIT=22 SLICE=33 TANH=23 WINDOW_DATA=24 "
    "THRESHOLD=31",
}

_SHARED_FIELDS = {
    "accuracy_param": (102, 27),
    "concat_param": (104, 9),
    "convolution_param": (106, 10),
    "data_param": (107, 11),
    "dropout_param": (108, 12),
    "eltwise_param": (110, 24),
    "exp_param": (111, 41),
    "image_data_param": (115, 15),
    "inner_product_param": (117, 17),
    "loss_param": (101, 42),
    "lrn_param": (118, 18),
    "memory_data_param": (119, 22),
    "pooling_param": (121, 19),
    "power_param": (122, 21),
    "relu_param": (123, 30),
    "sigmoid_param": (124, 38),
    "slice_param": (126, 31),
    "softmax_param": (125, 39),
    "tanh_param": (127, 37),
    "transform_param": (100, 36),
}
"""Parameters that layers of both generations have: numbers in ``LayerParameter`` and in ``V1LayerParameter``."""
_TYPES = {
    "accuracy_param": "AccuracyParameter",
    "concat_param": "ConcatParameter",
    "convolution_param": "ConvolutionParameter",
    "data_param": "DataParameter",
    "dropout_param": "DropoutParameter",
    "eltwise_param": "EltwiseParameter",
    "exp_param": "ExpParameter",
    "image_data_param": "ImageDataParameter",
    "inner_product_param": "InnerProductParameter",
    "loss_param": "LossParameter",
    "lrn_param": "LRNParameter",
    "memory_data_param": "MemoryDataParameter",
    "pooling_param": "PoolingParameter",
    "power_param": "PowerParameter",
    "relu_param": "ReLUParameter",
    "sigmoid_param": "SigmoidParameter",
    "slice_param": "SliceParameter",
    "softmax_param": "SoftmaxParameter",
    "tanh_param": "TanHParameter",
    "transform_param": "TransformationParameter",
}


def _shared(generation: int) -> str:
    return "; ".join(f"{_TYPES[name]} {name}={numbers[generation]}" for name, numbers in _SHARED_FIELDS.items())


_MESSAGES = {
    "BlobShape": "*int64 dim=1 packed",
    "BlobProto": "BlobShape shape=7; *float data=5 packed; *float diff=6 packed; *double double_data=8 packed; "
    "*double double_diff=9 packed; int32 num=1 =0; int32 channels=2 =0; int32 height=3 =0; int32 width=4 =0",
    "FillerParameter": "string type=1 =constant; float value=2 =0; float min=3 =0; float max=4 =1; float mean=5 =0; "
    "float std=6 =1; int32 sparse=7 =-1; VarianceNorm variance_norm=8 =FAN_IN",
    "NetParameter": "string name=1; *string input=3; *BlobShape input_shape=8; *int32 input_dim=4; "
    "bool force_backward=5 =false; NetState state=6; bool debug_info=7 =false; *LayerParameter layer=100; "
    "*V1LayerParameter layers=2",
    "NetState": "Phase phase=1 =TEST; int32 level=2 =0; *string stage=3",
    "NetStateRule": "Phase phase=1; int32 min_level=2; int32 max_level=3; *string stage=4; *string not_stage=5",
    "ParamSpec": "string name=1; DimCheckMode share_mode=2; float lr_mult=3 =1; float decay_mult=4 =1",
    "LayerParameter": "string name=1; string type=2; *string bottom=3; *string top=4; Phase phase=10; "
    "*float loss_weight=5; *ParamSpec param=6; *BlobProto blobs=7; *bool propagate_down=11; *NetStateRule include=8; "
    "*NetStateRule exclude=9; BatchNormParameter batch_norm_param=139; BiasParameter bias_param=141; "
    "CropParameter crop_param=144; ELUParameter elu_param=140; FlattenParameter flatten_param=135; "
    "InputParameter input_param=143; LogParameter log_param=134; NormalizeParameter norm_param=206; "
    "PermuteParameter permute_param=202; PReLUParameter prelu_param=131; ReductionParameter reduction_param=136; "
    "ReshapeParameter reshape_param=133; ROIPoolingParameter roi_pooling_param=8266711; ScaleParameter scale_param=142;"
    "TileParameter tile_param=138; Pooling3DParameter pooling3d_param=9000001; "
    "ShuffleChannelParameter shuffle_channel_param=9000002; " + _shared(0),
    "V1LayerParameter": "*string bottom=2; *string top=3; string name=4; *NetStateRule include=32; "
    "*NetStateRule exclude=33; LayerType type=5; *BlobProto blobs=6; *string param=1001; "
    "*DimCheckMode blob_share_mode=1002; *float blobs_lr=7; *float weight_decay=8; *float loss_weight=35; "
    "V0LayerParameter layer=1; " + _shared(1),
    "V0LayerParameter": "string name=1; string type=2; *BlobProto blobs=50",
    "AccuracyParameter": "uint32 top_k=1 =1; int32 axis=2 =1; int32 ignore_label=3",
    "BatchNormParameter": "bool use_global_stats=1; float moving_average_fraction=2 =0.999; float eps=3 =1e-5",
    "BiasParameter": "int32 axis=1 =1; int32 num_axes=2 =1; FillerParameter filler=3",
    "ConcatParameter": "int32 axis=2 =1; uint32 concat_dim=1 =1",
    "ConvolutionParameter": "uint32 num_output=1; bool bias_term=2 =true; *uint32 pad=3; *uint32 kernel_size=4; "
    "*uint32 stride=6; *uint32 dilation=18; uint32 pad_h=9 =0; uint32 pad_w=10 =0; uint32 kernel_h=11; "
    "uint32 kernel_w=12; uint32 stride_h=13; uint32 stride_w=14; uint32 group=5 =1; FillerParameter weight_filler=7; "
    "FillerParameter bias_filler=8; Engine engine=15 =DEFAULT; int32 axis=16 =1; bool force_nd_im2col=17 =false",
    "CropParameter": "int32 axis=1 =2; *uint32 offset=2",
    "DataParameter": "string source=1; uint32 batch_size=4; uint32 rand_skip=7 =0; DB backend=8 =LEVELDB; "
    "float scale=2 =1; string mean_file=3; uint32 crop_size=5 =0; bool mirror=6 =false; "
    "bool force_encoded_color=9 =false; uint32 prefetch=10 =4",
    "DropoutParameter": "float dropout_ratio=1 =0.5",
    "EltwiseParameter": "EltwiseOp operation=1 =SUM; *float coeff=2; bool stable_prod_grad=3 =true",
    "ELUParameter": "float alpha=1 =1",
    "ExpParameter": "float base=1 =-1; float scale=2 =1; float shift=3 =0",
    "FlattenParameter": "int32 axis=1 =1; int32 end_axis=2 =-1",
    "ImageDataParameter": "string source=1; uint32 batch_size=4 =1; uint32 rand_skip=7 =0; bool shuffle=8 =false; "
    "uint32 new_height=9 =0; uint32 new_width=10 =0; bool is_color=11 =true; float scale=2 =1; string mean_file=3; "
    "uint32 crop_size=5 =0; bool mirror=6 =false; string root_folder=12",
    "InnerProductParameter": "uint32 num_output=1; bool bias_term=2 =true; FillerParameter weight_filler=3; "
    "FillerParameter bias_filler=4; int32 axis=5 =1; bool transpose=6 =false",
    "InputParameter": "*BlobShape shape=1",
    "LogParameter": "float base=1 =-1; float scale=2 =1; float shift=3 =0",
    "LossParameter": "int32 ignore_label=1; NormalizationMode normalization=3 =VALID; bool normalize=2",
    "LRNParameter": "uint32 local_size=1 =5; float alpha=2 =1; float beta=3 =0.75; "
    "NormRegion norm_region=4 =ACROSS_CHANNELS; float k=5 =1; Engine engine=6 =DEFAULT",
    "MemoryDataParameter": "uint32 batch_size=1; uint32 channels=2; uint32 height=3; uint32 width=4",
    "NormalizeParameter": "bool across_spatial=1 =true; FillerParameter scale_filler=2; bool channel_shared=3 =true; "
    "float eps=4 =1e-10",
    "PermuteParameter": "*uint32 order=1",
    "PoolingParameter": "PoolMethod pool=1 =MAX; uint32 pad=4 =0; uint32 pad_h=9 =0; uint32 pad_w=10 =0; "
    "uint32 kernel_size=2; uint32 kernel_h=5; uint32 kernel_w=6; uint32 stride=3 =1; uint32 stride_h=7; "
    "uint32 stride_w=8; Engine engine=11 =DEFAULT; bool global_pooling=12 =false; RoundMode round_mode=13 =CEIL; "
    "bool torch_pooling=9000001 =false; bool ceil_mode=9000002 =true",
    "Pooling3DParameter": "PoolingParameter.PoolMethod pool=1 =MAX; uint32 kernel_size=2; uint32 stride=3 =1; "
    "uint32 pad=4 =0; uint32 kernel_depth=6; uint32 temporal_stride=7 =1; uint32 temporal_pad=9 =0",
    "PowerParameter": "float power=1 =1; float scale=2 =1; float shift=3 =0",
    "PReLUParameter": "FillerParameter filler=1; bool channel_shared=2 =false",
    "ReductionParameter": "ReductionOp operation=1 =SUM; int32 axis=2 =0; float coeff=3 =1",
    "ReLUParameter": "float negative_slope=1 =0; Engine engine=2 =DEFAULT",
    "ReshapeParameter": "BlobShape shape=1; int32 axis=2 =0; int32 num_axes=3 =-1",
    "ROIPoolingParameter": "uint32 pooled_h=1 =0; uint32 pooled_w=2 =0; float spatial_scale=3 =1",
    "ScaleParameter": "int32 axis=1 =1; int32 num_axes=2 =1; FillerParameter filler=3; bool bias_term=4 =false; "
    "FillerParameter bias_filler=5",
    "ShuffleChannelParameter": "uint32 group=1 =1",
    "SigmoidParameter": "Engine engine=1 =DEFAULT",
    "SliceParameter": "int32 axis=3 =1; *uint32 slice_point=2; uint32 slice_dim=1 =1",
    "SoftmaxParameter": "Engine engine=1 =DEFAULT; int32 axis=2 =1",
    "TanHParameter": "Engine engine=1 =DEFAULT",
    "TileParameter": "int32 axis=1 =1; int32 tiles=2",
    "TransformationParameter": "float scale=1 =1; bool mirror=2 =false; uint32 crop_size=3 =0; string mean_file=4; "
    "*float mean_value=5; bool force_color=6 =false; bool force_gray=7 =false",
}

_POOL = MessageTable("caffe", _MESSAGES, _ENUMS).pool()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"caffe.{name}"))


BlobShape = _class("BlobShape")
BlobProto = _class("BlobProto")
NetParameter = _class("NetParameter")
NetState = _class("NetState")
NetStateRule = _class("NetStateRule")
LayerParameter = _class("LayerParameter")
V1LayerParameter = _class("V1LayerParameter")
ConvolutionParameter = _class("ConvolutionParameter")
PoolingParameter = _class("PoolingParameter")
LRNParameter = _class("LRNParameter")
EltwiseParameter = _class("EltwiseParameter")
ReductionParameter = _class("ReductionParameter")

DESCRIPTOR = NetParameter.DESCRIPTOR.file
Phase = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["Phase"])
TRAIN: int = Phase.Value("TRAIN")
TEST: int = Phase.Value("TEST")
