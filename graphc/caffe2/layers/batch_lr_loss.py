"""``caffe2.python.layers.batch_lr_loss``: logistic regression, with many variations."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import constant, require_fields, weighted
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.tags import Tags

FLOAT = core.DataType.FLOAT


class BatchLRLoss(ModelLayer):
    """The mean, or the sum, of the cross entropy of the fields logit and label; weight and log_variance may be there.

    jsd_weight: how much the Jensen-Shannon divergence of prediction and label counts; it grows with the steps under
    ``homotopy_weighting``. pos_label_target, neg_label_target: what labels 1 and 0 stand for. focal_gamma: the power
    of the error by which a row counts (Lin et al. 2017). task_gamma: by which the loss shrinks every step, down to
    ``task_gamma_lb``. log_variance: the loss is ``(e^-s loss + uncertainty_penalty s) / 2``. As in Caffe2 the error and
    the variance are columns and the loss is not, so that every one of them meets the losses of all rows.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "batch_lr_loss",
        average_loss: bool = True,
        jsd_weight: float = 0.0,
        pos_label_target: float = 1.0,
        neg_label_target: float = 0.0,
        homotopy_weighting: bool = False,
        log_D_trick: bool = False,
        unjoined_lr_loss: bool = False,
        uncertainty_penalty: float = 1.0,
        focal_gamma: float = 0.0,
        stop_grad_in_focal_factor: bool = False,
        task_gamma: float = 1.0,
        task_gamma_lb: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for values out of their range and fields that are missing."""
        super().__init__(model, name, input_record, **kwargs)
        require_fields(input_record, "label", "logit")
        require(0 <= jsd_weight <= 1, f"jsd_weight is from 0 to 1, not {jsd_weight}")
        targets = 0 <= neg_label_target <= pos_label_target <= 1
        require(targets, f"targets {neg_label_target} and {pos_label_target} are not in order between 0 and 1")
        require(not (log_D_trick and unjoined_lr_loss), "log_D_trick and unjoined_lr_loss exclude each other")
        require(uncertainty_penalty >= 0, f"uncertainty_penalty is not below 0, as {uncertainty_penalty} is")
        self.average_loss, self.homotopy_weighting = average_loss, homotopy_weighting
        self.pos_label_target, self.neg_label_target = pos_label_target, neg_label_target
        self.log_D_trick, self.unjoined_lr_loss = log_D_trick, unjoined_lr_loss
        self.uncertainty_penalty = uncertainty_penalty
        self.focal_gamma, self.stop_grad_in_focal_factor = focal_gamma, stop_grad_in_focal_factor
        self.jsd_fuse = jsd_weight > 0 or homotopy_weighting
        if self.jsd_fuse:
            require("prediction" in input_record, "the divergence needs the field prediction")
            self.init_weight(jsd_weight, homotopy_weighting)
        self.tags.add(Tags.EXCLUDE_FROM_PREDICTION)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("output"))
        self.apply_exp_decay = task_gamma < 1.0
        if self.apply_exp_decay:
            self.task_gamma_cur = self._create("task_gamma_cur", constant(1.0, FLOAT))
            self.task_gamma = self._create("task_gamma", constant(task_gamma, FLOAT))
            self.task_gamma_lb = self._create("task_gamma_lb", constant(task_gamma_lb, FLOAT))

    def _create(self, name: str, fill: Any, shape: Any = (1,)) -> Any:
        """A parameter that is not learned."""
        dims = None if shape is None else list(shape)
        return self.create_param(f"{self.name}_{name}", dims, fill, self.model.NoOptim)

    def init_weight(self, jsd_weight: float, homotopy_weighting: bool) -> None:
        """Make the weights of both losses: constants, or what a counter of steps sets."""
        if homotopy_weighting:
            self.mutex = self._create("mutex", ("CreateMutex",), None)
            self.counter = self._create("counter", constant(0, core.DataType.INT64))
            self.xent_weight = self._create("xent_weight", constant(1.0, FLOAT))
            self.jsd_weight = self._create("jsd_weight", constant(0.0, FLOAT))
        else:
            self.jsd_weight = self.model.add_global_constant(f"{self.name}_jsd_weight", jsd_weight)
            self.xent_weight = self.model.add_global_constant(f"{self.name}_xent_weight", 1.0 - jsd_weight)

    def update_weight(self, net: Any) -> tuple[Any, Any]:
        """Add the weights of this step: 1 at first, 0.93 after a million, 0.5 after a thousand million steps."""
        net.AtomicIter([self.mutex, self.counter], [self.counter])
        net.LearningRate([self.counter], [self.xent_weight], base_lr=1.0, policy="inv", gamma=1e-6, power=0.1)
        net.Sub([self.model.global_constants["ONE"], self.xent_weight], [self.jsd_weight])
        return self.xent_weight, self.jsd_weight

    def add_ops(self, net: Any) -> None:
        """Add the loss."""
        record = self.input_record
        label = self._label(net)
        loss = net.SigmoidCrossEntropyWithLogits(
            [record.logit(), label],
            net.NextScopedBlob("cross_entropy"),
            log_D_trick=self.log_D_trick,
            unjoined_lr_loss=self.unjoined_lr_loss,
        )
        if self.focal_gamma != 0:
            label = net.StopGradient([label], [net.NextScopedBlob("label_stop_gradient")])
            loss = net.Mul([loss, self._focal_factor(net, label)], net.NextScopedBlob("focallossxent"))
        if self.apply_exp_decay:
            loss = self._decayed(net, loss)
        if self.jsd_fuse:
            divergence = net.BernoulliJSD([record.prediction(), label], net.NextScopedBlob("jsd"))
            if self.homotopy_weighting:
                self.update_weight(net)
            parts = [loss, self.xent_weight, divergence, self.jsd_weight]
            loss = net.WeightedSum(parts, net.NextScopedBlob("loss"))
        if "log_variance" in record.fields:
            loss = self._with_variance(net, loss)
        loss = weighted(net, record, loss, "weighted_cross_entropy")
        reduce = net.AveragedLoss if self.average_loss else net.ReduceFrontSum
        reduce(loss, self.output_schema.field_blobs())

    def _label(self, net: Any) -> Any:
        """The targets, a column of float32."""
        label = net.Cast(self.input_record.label(), net.NextScopedBlob("label_float32"), to=FLOAT)
        label = net.ExpandDims(label, net.NextScopedBlob("expanded_label"), dims=[1])
        if self.pos_label_target == 1.0 and self.neg_label_target == 0.0:
            return label
        return net.StumpFunc(
            label,
            net.NextScopedBlob("smoothed_label"),
            threshold=0.5,
            low_value=self.neg_label_target,
            high_value=self.pos_label_target,
        )

    def _focal_factor(self, net: Any, label: Any) -> Any:
        """``(y + p - 2 y p)^gamma``: how wrong the prediction is, to the power."""
        prediction = self.input_record.prediction()
        total = net.Add([prediction, label], net.NextScopedBlob("y_plus_p"))
        product = net.Mul([prediction, label], net.NextScopedBlob("yp"))
        twice = net.Scale(product, net.NextScopedBlob("two_yp"), scale=2.0)
        error = net.Sub([total, twice], net.NextScopedBlob("y_plus_p_sub_two_yp"))
        name = net.NextScopedBlob("y_plus_p_sub_two_yp_power")
        factor = net.Pow(error, name, exponent=float(self.focal_gamma))
        if self.stop_grad_in_focal_factor:
            factor = net.StopGradient([factor], [net.NextScopedBlob("focal_factor_stop_gradient")])
        return factor

    def _decayed(self, net: Any, loss: Any) -> Any:
        net.Mul([self.task_gamma_cur, self.task_gamma], self.task_gamma_cur)
        name = net.NextScopedBlob("task_gamma_cur_multiplier")
        factor = net.Max([self.task_gamma_cur, self.task_gamma_lb], name)
        return net.Mul([loss, factor], net.NextScopedBlob("expdecayxent"))

    def _with_variance(self, net: Any, loss: Any) -> Any:
        """``(e^-s loss + penalty s) / 2``; -s is at most 88, above which float32 has no power of e."""
        variance = self.input_record.log_variance()
        variance = net.ExpandDims(variance, net.NextScopedBlob("expanded_log_variance"), dims=[1])
        negative = net.Negative([variance], net.NextScopedBlob("neg_log_variance"))
        negative = net.Clip([negative], net.NextScopedBlob("clipped_neg_log_variance"), max=88.0)
        factor = net.Exp([negative], net.NextScopedBlob("exp_neg_log_variance"))
        product = net.Mul([factor, loss], net.NextScopedBlob("exp_neg_log_variance_loss"))
        name = net.NextScopedBlob("penalized_unceratinty")
        penalty = net.Scale(variance, name, scale=float(self.uncertainty_penalty))
        total = net.Add([product, penalty], net.NextScopedBlob("loss"))
        return net.Scale(total, net.NextScopedBlob("loss"), scale=0.5)
