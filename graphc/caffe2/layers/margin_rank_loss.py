"""``caffe2.python.layers.margin_rank_loss``: positives are to exceed negatives by a margin."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers.bpr_loss import require_ranking
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.tags import Tags


class MarginRankLoss(ModelLayer):
    """The sum, or the mean, of ``max(0, negative - positive + margin)`` over the negatives of each row."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "margin_rank_loss",
        margin: float = 0.1,
        average_loss: bool = False,
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for a negative margin, and a record without the fields."""
        super().__init__(model, name, input_record, **kwargs)
        require(margin >= 0, f"For hinge loss, margin should be no less than 0, as {margin} is")
        self._margin, self._average_loss = margin, average_loss
        require_ranking(input_record)
        self.tags.add(Tags.EXCLUDE_FROM_PREDICTION)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the loss."""
        record = self.input_record
        negatives = record.neg_prediction["values"]()
        inputs = [record.pos_prediction(), record.neg_prediction["lengths"]()]
        positives = net.LengthsTile(inputs, net.NextScopedBlob("pos_score_repeated"))
        ones = net.ConstantFill(negatives, net.NextScopedBlob("const_1"), value=1, dtype=core.DataType.INT32)
        name = net.NextScopedBlob("rank_loss")
        loss = net.MarginRankingCriterion([positives, negatives, ones], name, margin=self._margin)
        reduce = net.AveragedLoss if self._average_loss else net.ReduceFrontSum
        reduce(loss, self.output_schema.field_blobs())
