"""``caffe2.python.layers.sparse_dropout_with_replacement``: lists of identifiers that are replaced at random."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import schema
from graphc.caffe2.layers.layers import IdList, ModelLayer, require


class SparseDropoutWithReplacement(ModelLayer):
    """Some lists become one identifier, ``replacement_value``; how likely that is depends on the kind of net."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        dropout_prob_train: float,
        dropout_prob_eval: float,
        dropout_prob_predict: float,
        replacement_value: int,
        name: str = "sparse_dropout",
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for what is no probability, and for three zeros."""
        super().__init__(model, name, input_record, **kwargs)
        require(schema.equal_schemas(input_record, IdList), f"an IdList is needed, not {input_record}")
        self.dropout_prob_train = float(dropout_prob_train)
        self.dropout_prob_eval = float(dropout_prob_eval)
        self.dropout_prob_predict = float(dropout_prob_predict)
        self.replacement_value = int(replacement_value)
        given = [self.dropout_prob_train, self.dropout_prob_eval, self.dropout_prob_predict]
        require(all(0 <= p <= 1 for p in given), f"probabilities are from 0 to 1, not {given}")
        require(any(given), "Ratios all set to 0.0 for train, eval and predict")
        self.output_schema = schema.NewRecord(model.net, IdList)
        for field, output in zip(input_record.all_scalars(), self.output_schema.all_scalars(), strict=True):
            if field.metadata:
                output.set_metadata(field.metadata)

    def _add_ops(self, net: Any, ratio: float) -> None:
        inputs = [self.input_record.items(), self.input_record.lengths()]
        outputs = [self.output_schema.items(), self.output_schema.lengths()]
        net.SparseDropoutWithReplacement(inputs, outputs, ratio=ratio, replacement_value=self.replacement_value)

    def add_train_ops(self, net: Any) -> None:
        """Add the operator with the ratio of training."""
        self._add_ops(net, self.dropout_prob_train)

    def add_eval_ops(self, net: Any) -> None:
        """Add the operator with the ratio of evaluation."""
        self._add_ops(net, self.dropout_prob_eval)

    def add_ops(self, net: Any) -> None:
        """Add the operator with the ratio of prediction."""
        self._add_ops(net, self.dropout_prob_predict)
