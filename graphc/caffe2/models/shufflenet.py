"""``caffe2.python.models.shufflenet``: ShuffleNet V2 as layers of a model.

Ma et al. 2018, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design". Blobs have Caffe2's names.
"""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import brew

OUTPUT_CHANNELS = {
    "0.5x": [24, 48, 96, 192, 1024],
    "1.0x": [24, 116, 232, 464, 1024],
    "1.5x": [24, 176, 352, 704, 1024],
    "2.0x": [24, 244, 488, 976, 2048],
}
"""Channels after the first convolution, the three stages and the last convolution, by width."""
MSRA: tuple[str, dict[str, Any]] = ("MSRAFill", {})


class ShuffleNetV2Builder:
    """Appends the net to a model behind ``data``; ``create`` sets ``last_conv``, ``avg_pool`` and ``last_out``."""

    def __init__(
        self,
        model: Any,
        data: Any,
        num_input_channels: int,
        num_labels: int,
        num_groups: int = 2,
        width: str = "1.0x",
        is_test: bool = False,
        detection: bool = False,
        bn_epsilon: float = 1e-5,
    ) -> None:
        """width: a key of ``OUTPUT_CHANNELS``. detection: a depthwise 3x3 convolution more before each 1x1."""
        self.model, self.prev_blob = model, data
        self.num_input_channels, self.num_labels, self.num_groups = num_input_channels, num_labels, num_groups
        self.output_channels = OUTPUT_CHANNELS[width]
        self.stage_repeats = [3, 7, 3]
        self.is_test, self.detection, self.bn_epsilon = is_test, detection, bn_epsilon

    def create(self) -> None:
        """Append everything."""
        channels, last = self.output_channels[0], self.output_channels[-1]
        first = brew.conv(
            self.model,
            self.prev_blob,
            "stage1_conv",
            self.num_input_channels,
            channels,
            weight_init=MSRA,
            kernel=3,
            stride=2,
        )
        self.prev_blob = brew.max_pool(self.model, first, "stage1_pool", kernel=3, stride=2)
        stages = zip(self.output_channels[1:4], self.stage_repeats, strict=True)
        for stage, (out_channels, repeats) in enumerate(stages, start=2):
            self.add_spatial_ds_unit(f"stage{stage}_stride2", channels, out_channels)
            channels = out_channels
            for i in range(repeats):
                self.add_basic_unit(f"stage{stage}_stride1_repeat{i + 1}", channels)
        self.last_conv = brew.conv(self.model, self.prev_blob, "conv5", channels, last, kernel=1)
        self.avg_pool = self.model.AveragePool(self.last_conv, "avg_pool", kernel=7)
        self.last_out = brew.fc(self.model, self.avg_pool, f"last_out_L{self.num_labels}", last, self.num_labels)

    def add_spatial_ds_unit(self, prefix: str, in_channels: int, out_channels: int, stride: int = 2) -> None:
        """The unit that begins a stage: both branches see all channels, and halve rows and columns."""
        left = right = self.prev_blob
        if self.detection:
            left = self.add_detection_unit(left, f"{prefix}_left_detection", in_channels, in_channels)
        left = self.add_dwconv3x3_bn(left, f"{prefix}left_dwconv", in_channels, stride)
        left = self.add_conv1x1_bn(left, f"{prefix}_left_conv1", in_channels, out_channels // 2)
        self._join(prefix, left, self._right_branch(right, prefix, in_channels, out_channels // 2, stride))

    def add_basic_unit(self, prefix: str, in_channels: int, stride: int = 1) -> None:
        """One of the others: half of the channels pass, the other half goes through three convolutions."""
        left, right = f"{prefix}_left", f"{prefix}_right"
        self.model.net.Split(self.prev_blob, [left, right])
        self._join(prefix, left, self._right_branch(right, prefix, in_channels // 2, in_channels // 2, stride))

    def _right_branch(self, blob: Any, prefix: str, in_channels: int, channels: int, stride: int) -> Any:
        if self.detection:
            blob = self.add_detection_unit(blob, f"{prefix}_right_detection", in_channels, in_channels)
        blob = self.add_conv1x1_bn(blob, f"{prefix}_right_conv1", in_channels, channels)
        blob = self.add_dwconv3x3_bn(blob, f"{prefix}_right_dwconv", channels, stride)
        return self.add_conv1x1_bn(blob, f"{prefix}_right_conv2", channels, channels)

    def _join(self, prefix: str, left: Any, right: Any) -> None:
        both = brew.concat(self.model, [right, left], f"{prefix}_concat")
        self.prev_blob = self.model.net.ChannelShuffle(both, f"{prefix}_ch_shuffle", group=self.num_groups, kernel=1)

    def add_detection_unit(
        self, prev_blob: Any, prefix: str, in_channels: int, out_channels: int, kernel: int = 3, pad: int = 1
    ) -> Any:
        """A depthwise convolution and its normalisation; gives its blob."""
        window = {"kernel": kernel, "pad": pad, "group": in_channels}
        blob = brew.conv(self.model, prev_blob, f"{prefix}_conv", in_channels, out_channels, weight_init=MSRA, **window)
        return self._norm(blob, f"{prefix}_bn", out_channels)

    def add_conv1x1_bn(self, prev_blob: Any, blob: str, in_channels: int, out_channels: int) -> Any:
        """A 1x1 convolution, normalised and rectified; gives its blob."""
        out = brew.conv(self.model, prev_blob, blob, in_channels, out_channels, kernel=1, weight_init=MSRA)
        out = self._norm(out, out + "_bn", out_channels)
        return brew.relu(self.model, out, out)

    def add_dwconv3x3_bn(self, prev_blob: Any, blob: str, channels: int, stride: int) -> Any:
        """A depthwise 3x3 convolution, normalised; gives its blob."""
        window = {"kernel": 3, "stride": stride, "pad": 1, "group": channels}
        out = brew.conv(self.model, prev_blob, blob, channels, channels, weight_init=MSRA, **window)
        return self._norm(out, out + "_bn", channels)

    def _norm(self, blob: Any, name: Any, channels: int) -> Any:
        return brew.spatial_bn(self.model, blob, name, channels, epsilon=self.bn_epsilon, is_test=self.is_test)


def create_shufflenet(
    model: Any,
    data: Any,
    num_input_channels: int,
    num_labels: int,
    label: Any = None,
    is_test: bool = False,
    no_loss: bool = False,
) -> Any:
    """Append a ShuffleNet V2 of width 1.0x; gives (softmax, loss) with a label, else None, scores with ``no_loss``."""
    builder = ShuffleNetV2Builder(model, data, num_input_channels, num_labels, is_test=is_test)
    builder.create()
    if no_loss:
        return builder.last_out
    if label is None:
        return None
    return model.SoftmaxWithLoss([builder.last_out, label], ["softmax", "loss"])
