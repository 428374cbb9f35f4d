"""``caffe2.python.layers.bpr_loss``: Bayesian personalised ranking (Rendle et al. 2009)."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers.layers import ModelLayer, require
from graphc.caffe2.layers.tags import Tags


def require_ranking(record: Any) -> None:
    """Raise ``AssertionError`` unless a record has ``pos_prediction`` and a list ``neg_prediction``."""
    wanted = schema.Struct(("pos_prediction", schema.Scalar()), ("neg_prediction", schema.List(np.float32)))
    require(schema.is_schema_subset(wanted, record), f"pos_prediction and neg_prediction are needed, not {record}")


class BPRLoss(ModelLayer):
    """The sum of ``log(1 + e^(negative - positive))`` over the negatives of each row."""

    def __init__(self, model: Any, input_record: Any, name: str = "bpr_loss", **kwargs: Any) -> None:
        """Raises ``AssertionError`` for a record without the fields."""
        super().__init__(model, name, input_record, **kwargs)
        require_ranking(input_record)
        self.tags.add(Tags.EXCLUDE_FROM_PREDICTION)
        self.output_schema = schema.Scalar(np.float32, self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the loss."""
        negatives = self.input_record.neg_prediction
        positives = net.LengthsTile(
            [self.input_record.pos_prediction(), negatives["lengths"]()], net.NextScopedBlob("pos_score_repeated")
        )
        difference = net.Sub([negatives["values"](), positives])
        net.ReduceFrontSum(net.Softplus([difference]), self.output_schema.field_blobs())
