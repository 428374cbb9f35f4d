"""FTRL-Proximal: follow the regularised leader."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.modeling.parameter_info import ParameterInfo
from graphc.caffe2.optimizer.base import Optimizer, is_sparse


class FtrlOptimizer(Optimizer):
    """FTRL with penalties ``lambda1 |w|`` and ``lambda2 w^2``; its learning rate has no policy."""

    def __init__(
        self,
        alpha: float = 0.01,
        beta: float = 1e-4,
        lambda1: float = 0,
        lambda2: float = 0,
        sparse_dedup_aggregator: str | None = None,
        engine: str | None = "",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.lambda1 = lambda1
        self.lambda2 = lambda2
        self.sparse_dedup_aggregator = sparse_dedup_aggregator
        self.engine = engine

    def _arguments(self) -> dict[str, Any]:
        numbers = {"alpha": self.alpha, "beta": self.beta, "lambda1": self.lambda1, "lambda2": self.lambda2}
        return {"engine": self.engine, **{name: float(value) for name, value in numbers.items()}}

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        param, grad = param_info.blob, param_info.grad
        state = param_init_net.ConstantFill([param], f"{param}_ftrl_nz", extra_shape=[2], value=0.0)
        self._keep(state)
        if is_sparse(grad):
            grad = self.dedup(net, self.sparse_dedup_aggregator, grad)
            net.SparseFtrl([param, state, grad.indices, grad.values], [param, state], **self._arguments())
        else:
            net.Ftrl([param, state, grad], [param, state], **self._arguments())

    def scale_learning_rate(self, scale: float) -> None:
        """Multiply the learning rate."""
        self.alpha *= scale


class GFtrlOptimizer(FtrlOptimizer):
    """FTRL whose penalty ``lambda1`` is for the norm of columns (group lasso).

    Raises ``AssertionError`` for a sparse gradient.
    """

    def _run(self, net: core.Net, param_init_net: core.Net, param_info: ParameterInfo) -> None:
        if self.alpha <= 0:
            return
        if is_sparse(param_info.grad):
            raise AssertionError("GFtrl does not support sparse gradients")
        param = param_info.blob
        state = param_init_net.ConstantFill([param], f"{param}_gftrl_nz", extra_shape=[2], value=0.0)
        self._keep(state)
        net.GFtrl([param, state, param_info.grad], [param, state], **self._arguments())
