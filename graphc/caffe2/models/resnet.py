"""``caffe2.python.models.resnet``: residual nets as layers of a model.

He et al. 2015, "Deep Residual Learning for Image Recognition"; Xie et al. 2016, "Aggregated Residual Transformations
for Deep Neural Networks". Blobs have Caffe2's names.
"""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import brew

RESNEXT_BLOCK_CONFIG = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Blocks of each stage, by the number of layers."""
RESNEXT_STRIDES = [1, 2, 2, 2]
MSRA: tuple[str, dict[str, Any]] = ("MSRAFill", {})


class ResNetBuilder:
    """Appends blocks to a model behind ``prev_blob``; blobs of block n are called ``comp_n_...``."""

    def __init__(
        self,
        model: Any,
        prev_blob: Any,
        no_bias: bool | int,
        is_test: bool,
        bn_epsilon: float = 1e-5,
        bn_momentum: float = 0.9,
    ) -> None:
        self.model, self.prev_blob, self.is_test = model, prev_blob, is_test
        self.comp_count, self.comp_idx = 0, 0
        self.bn_epsilon, self.bn_momentum = bn_epsilon, bn_momentum
        self.no_bias = 1 if no_bias else 0

    def add_conv(
        self, in_filters: int, out_filters: int, kernel: int, stride: int = 1, group: int = 1, pad: int = 0
    ) -> Any:
        """A square convolution; gives its blob."""
        self.comp_idx += 1
        name = f"comp_{self.comp_count}_conv_{self.comp_idx}"
        shape = {"kernel": kernel, "stride": stride, "group": group, "pad": pad}
        self.prev_blob = brew.conv(
            self.model, self.prev_blob, name, in_filters, out_filters, weight_init=MSRA, **shape, no_bias=self.no_bias
        )
        return self.prev_blob

    def add_relu(self) -> Any:
        """A rectifier in place; gives its blob."""
        self.prev_blob = brew.relu(self.model, self.prev_blob, self.prev_blob)
        return self.prev_blob

    def add_spatial_bn(self, num_filters: int) -> Any:
        """Normalisation over the batch; gives its blob."""
        self.prev_blob = self._norm(
            self.prev_blob,
            f"comp_{self.comp_count}_spatbn_{self.comp_idx}",
            num_filters,
            epsilon=self.bn_epsilon,
            momentum=self.bn_momentum,
        )
        return self.prev_blob

    def _norm(self, blob: Any, name: str, num_filters: int, **options: float) -> Any:
        return brew.spatial_bn(self.model, blob, name, num_filters, is_test=self.is_test, **options)

    def add_bottleneck(
        self,
        input_filters: int,
        base_filters: int,
        output_filters: int,
        stride: int = 1,
        group: int = 1,
        spatial_batch_norm: bool = True,
    ) -> int:
        """A block of three convolutions, 1x1, 3x3 and 1x1, beside a shortcut; gives ``output_filters``."""
        self.comp_idx = 0
        shortcut = self.prev_blob
        self._conv_norm(spatial_batch_norm, input_filters, base_filters, kernel=1)
        self.add_relu()
        self._conv_norm(spatial_batch_norm, base_filters, base_filters, kernel=3, stride=stride, group=group, pad=1)
        self.add_relu()
        self._conv_norm(spatial_batch_norm, base_filters, output_filters, kernel=1)
        norm = {"epsilon": self.bn_epsilon, "momentum": self.bn_momentum} if spatial_batch_norm else None
        self._join(shortcut, input_filters, output_filters, stride, norm)
        return output_filters

    def add_simple_block(
        self, input_filters: int, num_filters: int, down_sampling: bool = False, spatial_batch_norm: bool = True
    ) -> None:
        """A block of two 3x3 convolutions beside a shortcut; down_sampling: with half as many rows and columns."""
        self.comp_idx = 0
        shortcut, stride = self.prev_blob, 2 if down_sampling else 1
        self._conv_norm(spatial_batch_norm, input_filters, num_filters, kernel=3, stride=stride, pad=1)
        self.add_relu()
        self._conv_norm(spatial_batch_norm, num_filters, num_filters, kernel=3, pad=1)
        self._join(shortcut, input_filters, num_filters, stride, {"epsilon": 1e-3} if spatial_batch_norm else None)

    def _conv_norm(self, normalised: bool, in_filters: int, out_filters: int, **options: int) -> None:
        self.add_conv(in_filters, out_filters, **options)
        if normalised:
            self.add_spatial_bn(out_filters)

    def _join(self, shortcut: Any, before: int, after: int, stride: int, norm: dict[str, float] | None) -> None:
        """Add the shortcut, through a 1x1 convolution where the number of channels changes, and rectify."""
        last = self.prev_blob
        if before != after:
            name = f"shortcut_projection_{self.comp_count}"
            shortcut = brew.conv(
                self.model,
                shortcut,
                name,
                before,
                after,
                weight_init=MSRA,
                kernel=1,
                stride=stride,
                no_bias=self.no_bias,
            )
            if norm is not None:
                shortcut = self._norm(shortcut, f"{name}_spatbn", after, **norm)
        self.prev_blob = brew.sum(self.model, [shortcut, last], f"comp_{self.comp_count}_sum_{self.comp_idx}")
        self.comp_idx += 1
        self.add_relu()
        self.comp_count += 1


def create_resnet_32x32(
    model: Any, data: Any, num_input_channels: int, num_groups: int, num_labels: int, is_test: bool = False
) -> Any:
    """The net for pictures of 32 x 32 (He et al., section 4.2; num_groups is n there); gives the softmax."""
    brew.conv(model, data, "conv1", num_input_channels, 16, kernel=3, stride=1)
    brew.spatial_bn(model, "conv1", "conv1_spatbn", 16, epsilon=1e-3, is_test=is_test)
    brew.relu(model, "conv1_spatbn", "relu1")
    builder, before = ResNetBuilder(model, "relu1", no_bias=0, is_test=is_test), 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(2 * num_groups):
            builder.add_simple_block(before, filters, down_sampling=block == 0 and stage > 0)
            before = filters
    brew.average_pool(model, builder.prev_blob, "final_avg", kernel=8, stride=1)
    brew.fc(model, "final_avg", "last_out", 64, num_labels)
    return brew.softmax(model, "last_out", "softmax")


def create_resnext(
    model: Any,
    data: Any,
    num_input_channels: int,
    num_labels: int,
    num_layers: int,
    num_groups: int,
    num_width_per_group: int,
    label: Any = None,
    is_test: bool = False,
    no_loss: bool = False,
    no_bias: bool | int = 1,
    conv1_kernel: int = 7,
    conv1_stride: int = 2,
    final_avg_kernel: int = 7,
    log: Any = None,
    bn_epsilon: float = 1e-5,
    bn_momentum: float = 0.9,
) -> Any:
    """A ResNeXt; with ``no_loss`` gives the scores, with a label blob (softmax, loss), else the softmax.

    num_layers: a key of ``RESNEXT_BLOCK_CONFIG``, else raises ``ValueError``.
    """
    if num_layers not in RESNEXT_BLOCK_CONFIG:
        raise ValueError(f"{num_layers}-layer is invalid for resnext config; help: {list(RESNEXT_BLOCK_CONFIG)}")
    filters = [64, 64, 128, 256, 512] if num_layers in (18, 34) else [64, 256, 512, 1024, 2048]
    blob = brew.conv(
        model,
        data,
        "conv1",
        num_input_channels,
        filters[0],
        weight_init=MSRA,
        kernel=conv1_kernel,
        stride=conv1_stride,
        pad=3,
        no_bias=no_bias,
    )
    norm = {"epsilon": bn_epsilon, "momentum": bn_momentum}
    blob = brew.spatial_bn(model, blob, "conv1_spatbn_relu", filters[0], **norm, is_test=is_test)
    blob = brew.max_pool(model, brew.relu(model, blob, blob), "pool1", kernel=3, stride=2, pad=1)
    builder = ResNetBuilder(model, blob, no_bias, is_test, bn_epsilon, bn_momentum)
    for stage, blocks in enumerate(RESNEXT_BLOCK_CONFIG[num_layers]):
        before, inner = filters[stage], (num_groups * num_width_per_group) << stage
        for block in range(blocks):
            stride = 1 if block else RESNEXT_STRIDES[stage]
            before = builder.add_bottleneck(before, inner, filters[stage + 1], stride, num_groups)
    pooled = brew.average_pool(
        model, builder.prev_blob, "final_avg", kernel=final_avg_kernel, stride=1, global_pooling=True
    )
    scores = brew.fc(model, pooled, f"last_out_L{num_labels}", filters[-1], num_labels)
    if no_loss:
        return scores
    if label is not None:
        return model.SoftmaxWithLoss([scores, label], ["softmax", "loss"])
    return brew.softmax(model, scores, "softmax")


def create_resnet50(
    model: Any,
    data: Any,
    num_input_channels: int,
    num_labels: int,
    label: Any = None,
    is_test: bool = False,
    no_loss: bool = False,
    no_bias: bool | int = 0,
    conv1_kernel: int = 7,
    conv1_stride: int = 2,
    final_avg_kernel: int = 7,
) -> Any:
    """ResNet-50, the ResNeXt of one group of width 64; gives what ``create_resnext`` gives."""
    return create_resnext(
        model,
        data,
        num_input_channels,
        num_labels,
        num_layers=50,
        num_groups=1,
        num_width_per_group=64,
        label=label,
        is_test=is_test,
        no_loss=no_loss,
        no_bias=no_bias,
        conv1_kernel=conv1_kernel,
        conv1_stride=conv1_stride,
        final_avg_kernel=final_avg_kernel,
    )
