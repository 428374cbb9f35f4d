"""``caffe2.python.layers.dropout``: random zeros in training."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.layers._rules import require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class Dropout(ModelLayer):
    """The operator Dropout; in nets of other kinds it passes everything, unless ``dropout_for_eval``."""

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "dropout",
        ratio: float = 0.5,
        dropout_for_eval: bool = False,
        **kwargs: Any,
    ) -> None:
        """ratio: of the elements that become zero, below 1."""
        super().__init__(model, name, input_record, **kwargs)
        require_scalar(input_record)
        require(0 <= ratio < 1.0, f"Expected 0 <= ratio < 1, but got ratio of {ratio}")
        record = input_record.clone_schema()
        record.set_value(self.get_next_blob_reference("output"))
        self.output_schema = record
        self.dropout_for_eval = dropout_for_eval
        self.ratio = ratio

    def _add_ops(self, net: Any, is_test: bool) -> None:
        outputs = [*self.output_schema.field_blobs(), net.NextScopedBlob("d_mask")]
        net.Dropout(self.input_record.field_blobs(), outputs, ratio=self.ratio, is_test=is_test)

    def add_train_ops(self, net: Any) -> None:
        """Add the operator."""
        self._add_ops(net, is_test=False)

    def add_eval_ops(self, net: Any) -> None:
        """Add the operator, which passes everything unless asked."""
        self._add_ops(net, is_test=not self.dropout_for_eval)

    def add_ops(self, net: Any) -> None:
        """The same as for evaluation."""
        self.add_eval_ops(net)
