"""``caffe2.python.cnn``: models with the layers of ``brew`` as methods, the older way to write them."""

from __future__ import annotations

import logging
from typing import Any

from graphc.caffe2 import brew
from graphc.caffe2.model_helper import ModelHelper
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace import GpuDeviceType
from graphc.frontends.netdef.schema import Message


class CNNModelHelper(ModelHelper):
    """A model whose layers are methods: ``model.Conv("data", "conv1", 3, 64, kernel=3)``.

    order: "NCHW" or "NHWC", for every layer; raises ``ValueError`` for another one.
    """

    def __init__(
        self,
        order: str = "NCHW",
        name: str | None = None,
        use_cudnn: bool = True,
        cudnn_exhaustive_search: bool = False,
        ws_nbytes_limit: int | None = None,
        init_params: bool = True,
        skip_sparse_optim: bool = False,
        param_model: ModelHelper | None = None,
    ) -> None:
        logging.warning("CNNModelHelper is deprecated: use ModelHelper and brew")
        if order not in ("NHWC", "NCHW"):
            raise ValueError(f"Cannot understand the CNN storage order {order}.")
        arguments = {"order": order, "use_cudnn": use_cudnn, "cudnn_exhaustive_search": cudnn_exhaustive_search}
        if ws_nbytes_limit:
            arguments["ws_nbytes_limit"] = ws_nbytes_limit
        super().__init__(
            name=name or "CNN",
            init_params=init_params,
            skip_sparse_optim=skip_sparse_optim,
            param_model=param_model,
            arg_scope=arguments,
        )
        self.order = order
        self.use_cudnn = use_cudnn
        self.cudnn_exhaustive_search = cudnn_exhaustive_search
        self.ws_nbytes_limit = ws_nbytes_limit

    def _engine(self) -> dict[str, Any]:
        """Arguments of convolutions."""
        return {
            "use_cudnn": self.use_cudnn,
            "order": self.order,
            "cudnn_exhaustive_search": self.cudnn_exhaustive_search,
            "ws_nbytes_limit": self.ws_nbytes_limit,
        }

    # ---- input -------------------------------------------------------------------------------------------------------

    def ImageInput(self, blob_in: Any, blob_out: Any, use_gpu_transform: bool = False, **kwargs: Any) -> Any:
        """``brew.image_input``."""
        return brew.image_input(
            self, blob_in, blob_out, order=self.order, use_gpu_transform=use_gpu_transform, **kwargs
        )  # fmt: skip

    def VideoInput(self, blob_in: Any, blob_out: Any, **kwargs: Any) -> Any:
        """``brew.video_input``."""
        return brew.video_input(self, blob_in, blob_out, **kwargs)

    def PadImage(self, blob_in: Any, blob_out: Any, **kwargs: Any) -> Any:
        """The operator PadImage."""
        return self.net.PadImage(blob_in, blob_out, **kwargs)

    # ---- layers ------------------------------------------------------------------------------------------------------

    def ConvNd(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.conv_nd``."""
        return brew.conv_nd(self, *args, **self._engine(), **kwargs)

    def Conv(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.conv``."""
        return brew.conv(self, *args, **self._engine(), **kwargs)

    def ConvTranspose(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.conv_transpose``."""
        return brew.conv_transpose(self, *args, **self._engine(), **kwargs)

    def GroupConv(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.group_conv``."""
        return brew.group_conv(self, *args, **self._engine(), **kwargs)

    def GroupConv_Deprecated(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.group_conv_deprecated``."""
        return brew.group_conv_deprecated(self, *args, **self._engine(), **kwargs)

    def FC(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.fc``."""
        return brew.fc(self, *args, **kwargs)

    def PackedFC(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.packed_fc``."""
        return brew.packed_fc(self, *args, **kwargs)

    def FC_Prune(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.fc_prune``."""
        return brew.fc_prune(self, *args, **kwargs)

    def FC_Decomp(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.fc_decomp``."""
        return brew.fc_decomp(self, *args, **kwargs)

    def FC_Sparse(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.fc_sparse``."""
        return brew.fc_sparse(self, *args, **kwargs)

    def Dropout(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.dropout``."""
        return brew.dropout(self, *args, order=self.order, use_cudnn=self.use_cudnn, **kwargs)

    def LRN(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.lrn``."""
        return brew.lrn(self, *args, order=self.order, use_cudnn=self.use_cudnn, **kwargs)

    def Softmax(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.softmax``."""
        return brew.softmax(self, *args, use_cudnn=self.use_cudnn, **kwargs)

    def SpatialBN(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.spatial_bn``."""
        return brew.spatial_bn(self, *args, order=self.order, **kwargs)

    def SpatialGN(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.spatial_gn``."""
        return brew.spatial_gn(self, *args, order=self.order, **kwargs)

    def InstanceNorm(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.instance_norm``."""
        return brew.instance_norm(self, *args, order=self.order, **kwargs)

    def Relu(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.relu``."""
        return brew.relu(self, *args, order=self.order, use_cudnn=self.use_cudnn, **kwargs)

    def PRelu(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.prelu``."""
        return brew.prelu(self, *args, **kwargs)

    def MaxPool(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.max_pool``."""
        return brew.max_pool(self, *args, use_cudnn=self.use_cudnn, order=self.order, **kwargs)

    def MaxPoolWithIndex(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.max_pool_with_index``."""
        return brew.max_pool_with_index(self, *args, order=self.order, **kwargs)

    def AveragePool(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.average_pool``."""
        return brew.average_pool(self, *args, use_cudnn=self.use_cudnn, order=self.order, **kwargs)

    def Concat(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.concat``."""
        return brew.concat(self, *args, order=self.order, **kwargs)

    def DepthConcat(self, *args: Any, **kwargs: Any) -> Any:
        """``Concat``, under its old name."""
        print("DepthConcat is deprecated. use Concat instead.")
        return self.Concat(*args, **kwargs)

    def Sum(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.sum``."""
        return brew.sum(self, *args, **kwargs)

    def Transpose(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.transpose``."""
        return brew.transpose(self, *args, use_cudnn=self.use_cudnn, **kwargs)

    # ---- training ----------------------------------------------------------------------------------------------------

    def Iter(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.iter``."""
        return brew.iter(self, *args, **kwargs)

    def Accuracy(self, *args: Any, **kwargs: Any) -> Any:
        """``brew.accuracy``."""
        return brew.accuracy(self, *args, **kwargs)

    def AddWeightDecay(self, weight_decay: float) -> Any:
        """``brew.add_weight_decay``."""
        return brew.add_weight_decay(self, weight_decay)

    # ---- fills and devices -------------------------------------------------------------------------------------------

    @property
    def XavierInit(self) -> tuple[str, dict[str, Any]]:
        """The fill for weights of ``sqrt(3 / inputs)``."""
        return ("XavierFill", {})

    def ConstantInit(self, value: Any) -> tuple[str, dict[str, Any]]:
        """The fill for a constant."""
        return ("ConstantFill", {"value": value})

    @property
    def MSRAInit(self) -> tuple[str, dict[str, Any]]:
        """The fill for weights before ReLUs."""
        return ("MSRAFill", {})

    @property
    def ZeroInit(self) -> tuple[str, dict[str, Any]]:
        """The fill for zeros."""
        return ("ConstantFill", {})

    @property
    def CPU(self) -> Message:
        """The CPU as a device."""
        return _device(caffe2_pb2.CPU)

    @property
    def GPU(self) -> Message:
        """The first GPU as a device, which graphc keeps in the net and does not use."""
        return _device(GpuDeviceType)


def _device(device_type: int) -> Message:
    option = caffe2_pb2.DeviceOption()
    option.device_type = device_type
    return option
