"""``caffe2.python.layers.select_record_by_context``: another record in each kind of net."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import schema
from graphc.caffe2.layers.layers import InstantiationContext, ModelLayer, require


class SelectRecordByContext(ModelLayer):
    """The field named for the kind of net, ``training``, ``eval``, ``prediction`` or ``accumulate_pred``, or a default.

    The fields are of one schema; their blobs get other names, by ``Alias`` or by ``Copy``.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        name: str = "select_record_by_context",
        check_field_metas: bool = True,
        use_copy: bool = False,
        default_output_record_field: str | None = None,
        **kwargs: Any,
    ) -> None:
        """default_output_record_field: the name of the default."""
        super().__init__(model, name, input_record, **kwargs)
        several = isinstance(input_record, schema.Struct) and len(input_record) > 1
        require(several, f"a Struct of several fields is needed, not {input_record}")
        self.use_copy = use_copy
        default = default_output_record_field
        self.default_output_record = None if default is None else input_record[default]
        for record in input_record:
            same = schema.equal_schemas(record, input_record[0], check_field_metas=check_field_metas)
            require(same, "the fields are of different schemas")
        self.output_schema = schema.NewRecord(model.net, input_record[0])

    def _set_output_blobs(self, net: Any, context: str) -> None:
        record = self.input_record.get(context, self.default_output_record)
        require(record is not None, f"{context} context is not in input record without providing default output")
        for blob, output in zip(record.field_blobs(), self.output_schema.field_blobs(), strict=True):
            (net.Copy if self.use_copy else net.Alias)(blob, output)

    def add_ops(self, net: Any) -> None:
        """Hand on the record for prediction."""
        self._set_output_blobs(net, InstantiationContext.PREDICTION)

    def add_eval_ops(self, net: Any) -> None:
        """Hand on the record for evaluation."""
        self._set_output_blobs(net, InstantiationContext.EVAL)

    def add_train_ops(self, net: Any) -> None:
        """Hand on the record for training."""
        self._set_output_blobs(net, InstantiationContext.TRAINING)

    def add_ops_to_accumulate_pred(self, net: Any) -> None:
        """Hand on the record for collecting predictions."""
        self._set_output_blobs(net, InstantiationContext.ACCUMULATE_PRED)
