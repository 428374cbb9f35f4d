"""``caffe2.python.modeling.gradient_clipping``: bounds for gradients, between the backward pass and the optimizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.modeling.net_modifier import NetModifier
from graphc.caffe2.optimizer import get_param_device
from graphc.caffe2.proto import caffe2_pb2


class GradientClipping(NetModifier):
    """Clips gradients in place, by the norm of each or element by element.

    ``by_norm`` scales a gradient whose norm exceeds ``clip_threshold``, times the norm of the parameter with
    ``use_parameter_norm``, down to it; ``by_value`` limits elements to [clip_min, clip_max]. Sparse gradients stay.
    ``compute_norm_ratio`` adds ``w_norm_ratio``, the gradient's norm over the parameter's.
    """

    L1_NORM = "l1_norm"
    L2_NORM = "l2_norm"
    BY_NORM = "by_norm"
    BY_VALUE = "by_value"
    GRAD_CLIP_METHODS = [BY_NORM, BY_VALUE]
    CLIP_GRADIENT_NORM_TYPES = [L2_NORM, L1_NORM]

    def __init__(
        self,
        grad_clip_method: str,
        clip_norm_type: str | None = "l2_norm",
        clip_threshold: float = 0.1,
        use_parameter_norm: bool = False,
        compute_norm_ratio: bool = False,
        clip_max: float = 1,
        clip_min: float = -1,
        blobs_to_include: Iterable[Any] | None = None,
        blobs_to_exclude: Iterable[Any] | None = None,
    ) -> None:
        """blobs_to_include, blobs_to_exclude: parameters, all of the gradient map without the former.

        Raises ``AssertionError`` for another method or norm.
        """
        norms: list[str | None] = [*self.CLIP_GRADIENT_NORM_TYPES]
        norms += [None] if grad_clip_method == self.BY_VALUE else []
        for given, known in ((grad_clip_method, self.GRAD_CLIP_METHODS), (clip_norm_type, norms)):
            if given not in known:
                raise AssertionError(f"no way of clipping is called {given}: known are {known}")
        self.grad_clip_method = grad_clip_method
        self.clip_norm_type = clip_norm_type
        self.clip_threshold = float(clip_threshold)
        self.use_parameter_norm = use_parameter_norm
        self.compute_norm_ratio = compute_norm_ratio
        self.clip_max, self.clip_min = float(clip_max), float(clip_min)
        self.blobs_to_include = blobs_to_include
        self.blobs_to_exclude = blobs_to_exclude

    def modify_net(
        self,
        net: core.Net,
        init_net: core.Net | None = None,
        grad_map: Mapping[Any, Any] | None = None,
        blob_to_device: Mapping[Any, Any] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Clip the dense gradients of ``grad_map``, which has to be given (``AssertionError``)."""
        if grad_map is None:
            raise AssertionError("gradients are clipped by their map: grad_map")
        cpu = core.DeviceOption(caffe2_pb2.CPU)
        for param, grad in self._chosen(net, grad_map).items():
            if isinstance(grad, core.GradientSlice):
                continue
            device = get_param_device(param, grad, param_to_device=blob_to_device, default_device=cpu)
            with core.DeviceScope(device):
                if self.grad_clip_method == self.BY_NORM:
                    self._clip_by_norm(net, param, grad)
                else:
                    net.Clip([grad], [grad], max=self.clip_max, min=self.clip_min)

    def _chosen(self, net: core.Net, grad_map: Mapping[Any, Any]) -> dict[Any, Any]:
        excluded = {str(blob) for blob in self.blobs_to_exclude or ()}
        if self.blobs_to_include is None:
            return {param: grad for param, grad in grad_map.items() if str(param) not in excluded}
        chosen = {}
        for blob in self.blobs_to_include:
            param = core.BlobReference(str(blob))
            if not net.BlobIsDefined(param):
                raise ValueError(f"param {param} is not defined in net {net.Name()}")
            chosen[param] = grad_map[param]
        return {param: grad for param, grad in chosen.items() if str(param) not in excluded}

    def _clip_by_norm(self, net: core.Net, param: Any, grad: Any) -> None:
        inputs = [grad, self._norm(net, grad)]
        if self.use_parameter_norm:
            inputs.append(self._norm(net, param))
            if self.compute_norm_ratio:
                net.Div(inputs[1:], [net.NextScopedBlob(prefix=f"{param}_norm_ratio")])
        net.ClipTensorByScaling(inputs, [grad], threshold=self.clip_threshold)

    def _norm(self, net: core.Net, blob: Any) -> Any:
        """The norm; LpNorm takes no root."""
        p = 1 if self.clip_norm_type == self.L1_NORM else 2
        norm = net.LpNorm([blob], net.NextScopedBlob(prefix=f"{blob}_l{p}_norm"), p=p)
        return net.Pow([norm], exponent=0.5) if p == 2 else norm
