"""``caffe2.python.regularizer``: penalties for parameters, and bounds that updates keep.

``regularizer(net, param_init_net, param, grad, by=RegularizationBy.ON_LOSS)`` adds a penalty to a net and gives its
blob, of one element, to be added to the loss; ``by=RegularizationBy.AFTER_OPTIMIZER`` changes the parameter in place
after its update and gives None. A regularizer that has nothing to do for one of both adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core, utils


class RegularizationBy:
    """When a regularizer acts."""

    AFTER_OPTIMIZER = "after_optimizer"
    ON_LOSS = "on_loss"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


class Regularizer:
    """A subclass has ``_run_on_loss`` or ``_run_after_optimizer``, or both."""

    def __init__(self) -> None:
        self.kEpsilon = 1e-9

    def __call__(
        self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None, by: str | None = None
    ) -> Any:
        """Add the operators; raises ``AssertionError`` for a parameter that is no blob, and for another ``by``."""
        _require(isinstance(param, core.BlobReference), f"a parameter is a BlobReference, not {type(param).__name__}")
        known = utils.EnumClassKeyVals(RegularizationBy).values()
        _require(by in known, f"{type(self).__name__} is called with invalid by={by}, not in {sorted(known)}")
        run = self._run_on_loss if by == RegularizationBy.ON_LOSS else self._run_after_optimizer
        return run(net, param_init_net, param, grad)

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        return None

    def _run_after_optimizer(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any) -> Any:
        return None

    def _feature_grouping(self, param: Any, net: core.Net) -> Any:
        """The Euclidean norm of each column of a matrix."""
        squares = net.Mul([param, param], [net.NextScopedBlob("param_mul")])
        sums = net.ReduceFrontSum([squares], [net.NextScopedBlob("param_reduced")])
        return net.Pow([sums], [net.NextScopedBlob("grouped_feature_weight_vec")], exponent=0.5)

    def _ensure_clipped(
        self,
        net: core.Net,
        param: Any,
        grad: Any = None,
        min: float | None = None,
        max: float | None = None,
        open_range: bool = False,
        left_open: bool = False,
        right_open: bool = False,
    ) -> None:
        """Keep the elements, of the rows with a gradient if it is sparse, within bounds."""
        low = min + self.kEpsilon if min is not None and (open_range or left_open) else min
        high = max - self.kEpsilon if max is not None and (open_range or right_open) else max
        rows = [grad.indices, grad.values] if isinstance(grad, core.GradientSlice) else []
        net.EnsureClipped([param, *rows], [param], min=low, max=high)


def _scaled_norm(net: core.Net, param: Any, p: int, scale: float, name: str) -> Any:
    """``scale * sum |w|`` or ``scale * sum w^2``."""
    blob = net.NextScopedBlob(name)
    net.LpNorm([param], [blob], p=p)
    return net.Scale([blob], [blob], scale=scale)


def _scaled_small(net: core.Net, param: Any, k: int, scale: float, name: str) -> Any:
    """``scale`` times the sum of the absolute values but the ``k`` largest of each row."""
    blob = net.NextScopedBlob(name)
    absolute = net.Abs([param], [net.NextScopedBlob("abs")])
    total = net.SumElements([absolute], [net.NextScopedBlob("sum_abs")], average=False)
    outputs = [net.NextScopedBlob(part) for part in ("topk", "id", "flat_id")]
    largest = net.TopK([absolute], outputs, k=k)[0]
    large = net.SumElements([largest], [net.NextScopedBlob("topk_sum")], average=False)
    net.Sub([total, large], [blob])
    return net.Scale([blob], [blob], scale=scale)


class L1Norm(Regularizer):
    """``reg_lambda * sum |w|``."""

    def __init__(self, reg_lambda: float) -> None:
        super().__init__()
        _require(reg_lambda >= 0, "factor ahead of regularization should be 0 or positive")
        self.reg_lambda = reg_lambda

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        return _scaled_norm(net, param, 1, self.reg_lambda, param + "_l1_regularization")


class L2Norm(Regularizer):
    """``reg_lambda * sum w^2``."""

    def __init__(self, reg_lambda: float) -> None:
        super().__init__()
        _require(reg_lambda >= 0, "factor ahead of regularization should be 0 or positive")
        self.reg_lambda = reg_lambda

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        return _scaled_norm(net, param, 2, self.reg_lambda, param + "_l2_regularization")


class LpNorm(Regularizer):
    """``reg_lambda`` times the p-norm of the columns' Euclidean norms."""

    def __init__(self, reg_lambda: float, p_value: float = 0.5) -> None:
        super().__init__()
        _require(reg_lambda > 0, "factor ahead of regularization should be greater than 0")
        _require(p_value > 0, "p_value factor should be greater than 0")
        self.p_value = p_value
        self.reg_lambda = reg_lambda

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        blob = net.NextScopedBlob(param + "_dense_feature_regularization")
        norms = self._feature_grouping(param, net)
        powers = net.Pow([norms], [net.NextScopedBlob("lp_vec_raised")], exponent=float(self.p_value))
        total = net.ReduceFrontSum([powers], [net.NextScopedBlob("lp_vec_summed")])
        norm = net.Pow([total], [net.NextScopedBlob("lp_vec")], exponent=1 / self.p_value)
        return net.Scale([norm], [blob], scale=self.reg_lambda)


class L0ApproxNorm(Regularizer):
    """``reg_lambda`` times the number of columns that count, about: ``sum min(norm, alpha) / alpha``.

    budget: so many columns cost nothing; 0 for none.
    """

    def __init__(self, reg_lambda: float, alpha: float = 0.01, budget: float = 0) -> None:
        super().__init__()
        _require(reg_lambda > 0, "factor ahead of regularization should be greater than 0")
        _require(alpha > 0, "alpha factor must be a positive value greater than 0")
        _require(budget >= 0, "budget factor must be greater than or equal to 0")
        self.reg_lambda = reg_lambda
        self.alpha = alpha
        self.budget = float(budget)

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        blob = net.NextScopedBlob(param + "_dense_feature_regularization")
        norms = net.Abs([self._feature_grouping(param, net)], [net.NextScopedBlob("l0_abs")])
        small = net.Clip([norms], [net.NextScopedBlob("l0_min")], max=self.alpha)
        total = net.ReduceFrontSum([small], [net.NextScopedBlob("l0_summed")])
        count = net.Scale([total], [net.NextScopedBlob("l0_norm")], scale=1 / self.alpha)
        if self.budget:
            free = net.ConstantFill([], "budget", shape=[1], value=self.budget)
            rest = net.Sub([count, free], [net.NextScopedBlob("l0_budget")])
            count = net.Relu([rest], [net.NextScopedBlob("relu_l0_sub_budget")])
        return net.Scale([count], [blob], scale=self.reg_lambda)


class L1NormTrimmed(Regularizer):
    """``reg_lambda`` times the sum of the absolute values but the ``k`` largest of each row (trimmed lasso)."""

    def __init__(self, reg_lambda: float, k: int) -> None:
        super().__init__()
        _require(reg_lambda >= 0, "factor ahead of regularization should be 0 or positive")
        _require(isinstance(k, int) and k >= 1, "k should be an integer of at least 1")
        self.reg_lambda = reg_lambda
        self.k = k

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        return _scaled_small(net, param, self.k, self.reg_lambda, param + "_l1_trimmed_regularization")


class ElasticNet(Regularizer):
    """``l1 * sum |w| + l2 * sum w^2``."""

    def __init__(self, l1: float, l2: float) -> None:
        super().__init__()
        self.l1, self.l2 = l1, l2

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        blob = net.NextScopedBlob(param + "_elastic_net_regularization")
        squares = _scaled_norm(net, param, 2, self.l2, param + "_l2_blob")
        absolute = _scaled_norm(net, param, 1, self.l1, param + "_l1_blob")
        return net.Add([absolute, squares], [blob])


class ElasticNetL1NormTrimmed(Regularizer):
    """``ElasticNet`` in which the ``k`` largest absolute values of each row cost nothing."""

    def __init__(self, l1: float, l2: float, k: int) -> None:
        super().__init__()
        self.l1, self.l2, self.k = l1, l2, k

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        blob = net.NextScopedBlob(param + "_elastic_net_l1_trimmed_regularization")
        squares = _scaled_norm(net, param, 2, self.l2, param + "_l2_blob")
        small = _scaled_small(net, param, self.k, self.l1, param + "_l1_blob")
        return net.Add([small, squares], [blob])


class _RowNorm(Regularizer):
    """Rows with a gradient get a norm; raises ``NotImplementedError`` for a dense gradient."""

    use_max_norm = False

    def __init__(self, norm: float = 1.0) -> None:
        super().__init__()
        self.norm = norm

    def _operator(self, net: core.Net) -> Any:
        return net.SparseNormalize

    def _run_after_optimizer(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any) -> Any:
        _require(self.norm > 0, "norm should be bigger than 0.")
        if not isinstance(grad, core.GradientSlice):
            raise NotImplementedError(f"{type(self).__name__} is not supported for dense parameters")
        self._operator(net)([param, grad.indices], [param], use_max_norm=self.use_max_norm, norm=self.norm)


class MaxNorm(_RowNorm):
    """Rows with a gradient have a Euclidean norm of at most ``norm``. dtype: "fp16" for half precision."""

    use_max_norm = True

    def __init__(self, norm: float = 1.0, dtype: str | None = None) -> None:
        super().__init__(norm)
        self.dtype = dtype

    def _operator(self, net: core.Net) -> Any:
        return net.Float16SparseNormalize if self.dtype == "fp16" else net.SparseNormalize


class ConstantNorm(_RowNorm):
    """Rows with a gradient have the Euclidean norm ``norm``."""


class SparseLpNorm(Regularizer):
    """Rows with a gradient shrink: by ``reg_lambda`` towards zero (p = 1), or by the factor ``1 - reg_lambda`` (p = 2).

    Raises ``NotImplementedError`` for a dense gradient.
    """

    def __init__(self, p: float, reg_lambda: float) -> None:
        super().__init__()
        _require(p in (1.0, 2.0), "Sparse Lp regularization only implemented for p = 1.0 and p = 2.0.")
        _require(reg_lambda > 0, "factor ahead of regularization should be greater than 0.")
        self.p = p
        self.reg_lambda = reg_lambda

    def _run_after_optimizer(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any) -> Any:
        if not isinstance(grad, core.GradientSlice):
            raise NotImplementedError("SparseLpNorm is not supported for dense parameters")
        net.SparseLpRegularizer([param, grad.indices], [param], p=self.p, reg_lambda=self.reg_lambda)


class SparseL1Norm(SparseLpNorm):
    """``SparseLpNorm`` with p = 1."""

    def __init__(self, reg_lambda: float) -> None:
        super().__init__(p=1.0, reg_lambda=reg_lambda)


class SparseL2Norm(SparseLpNorm):
    """``SparseLpNorm`` with p = 2."""

    def __init__(self, reg_lambda: float) -> None:
        super().__init__(p=2.0, reg_lambda=reg_lambda)


class LogBarrier(Regularizer):
    """``-reg_lambda * discount * sum log w``, which keeps elements positive; updates clip them.

    discount_policy, discount_options: as those of a learning rate.
    """

    def __init__(
        self, reg_lambda: float, discount_policy: str = "inv", discount_options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        _require(reg_lambda > 0, "factor ahead of regularization should be 0 or positive")
        self.reg_lambda = reg_lambda
        self.discount_policy = discount_policy
        self.discount_options = discount_options or {"gamma": 1.0, "power": 1.0}

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        iteration = utils.BuildUniqueMutexIter(param_init_net, net)
        discount = net.NextScopedBlob(param + "_log_barrier_discount")
        net.LearningRate(
            [iteration], [discount], base_lr=-self.reg_lambda, policy=self.discount_policy, **self.discount_options
        )
        positive = net.Clip([param], [net.NextScopedBlob(param + "_non_neg")], min=self.kEpsilon)
        logarithm = net.Log([positive], [net.NextScopedBlob(param + "_log")])
        total = net.SumElements([logarithm], [net.NextScopedBlob(param + "_log_sum")])
        return net.Mul([total, discount], [net.NextScopedBlob(param + "_log_barrier")], broadcast=1)

    def _run_after_optimizer(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any) -> Any:
        self._ensure_clipped(net, param, grad, min=0, open_range=True)


class BoundedGradientProjection(Regularizer):
    """Updates keep elements between ``lb`` and ``ub``; open ends by ``epsilon``."""

    def __init__(
        self,
        lb: float | None = None,
        ub: float | None = None,
        left_open: bool = False,
        right_open: bool = False,
        epsilon: float | None = None,
    ) -> None:
        super().__init__()
        margin = float(epsilon) if epsilon is not None else self.kEpsilon
        _require(margin > 0, f"Bounded Gradient Projection with invalid eps={margin}")
        low = None if lb is None else float(lb)
        high = None if ub is None else float(ub)
        if low is not None and high is not None:
            room = low + (margin if left_open else 0.0) <= high - (margin if right_open else 0.0)
            _require(room, f"Bounded Gradient Projection with invalid lb={low}, ub={high}, eps={margin}")
        self.left_open = left_open
        self.right_open = right_open
        self.kEpsilon = margin
        self.lb = low
        self.ub = high

    def _run_after_optimizer(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any) -> Any:
        self._ensure_clipped(
            net, param, grad, min=self.lb, max=self.ub, left_open=self.left_open, right_open=self.right_open
        )


class GroupL1Norm(Regularizer):
    """``reg_lambda`` times the sum of the norms of groups of columns, each times the root of the group's size.

    groups: the sizes, a list. stabilizing_val: is added to the squares of the norms, for the gradient at zero.
    """

    def __init__(self, reg_lambda: float, groups: Sequence[int], stabilizing_val: float = 0) -> None:
        super().__init__()
        _require(reg_lambda >= 0, "regularization weight should be 0 or positive")
        _require(isinstance(groups, list), "groups needs to be a list")
        self.reg_lambda = reg_lambda
        self.groups = groups
        self.stabilizing_val = stabilizing_val

    def _run_on_loss(self, net: core.Net, param_init_net: core.Net, param: Any, grad: Any = None) -> Any:
        shape = [len(self.groups)]
        columns = net.ReduceSum(net.Sqr(param), axes=[0], keepdims=0)
        sums = net.LengthsSum([columns, net.GivenTensorIntFill([], 1, shape=shape, values=list(self.groups))])
        if self.stabilizing_val:
            net.Add([sums, net.ConstantFill([], 1, value=float(self.stabilizing_val))], [sums], broadcast=1)
        factors = net.GivenTensorFill([], 1, shape=shape, values=np.sqrt(self.groups) * self.reg_lambda)
        norms = net.Mul([net.Sqrt(sums), factors], ["normalized_l2_norm_scaled"])
        return net.LpNorm(norms, ["group_l1_nrom"], p=1)
