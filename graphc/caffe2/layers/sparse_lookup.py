"""``caffe2.python.layers.sparse_lookup``: rows of a table, looked up by identifiers and summed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.helpers.arg_scope import get_current_scope
from graphc.caffe2.layers._rules import Fill, uniform
from graphc.caffe2.layers.layers import (
    IdList,
    IdListWithEvicted,
    IdScoreListWithEvicted,
    LayerPsParam,
    ModelLayer,
    almost_equal_schemas,
    get_categorical_limit,
    get_key,
    require,
)
from graphc.caffe2.optimizer import Optimizer
from graphc.caffe2.optimizer.adagrad import FP16_ENGINES

_SUFFIXES = {
    "fp32": "",
    "fp16": "",
    "uint8rowwise": "8BitsRowwise",
    "fused_uint8rowwise": "Fused8BitRowwise",
    "fused_uint4rowwise": "Fused4BitRowwise",
}
"""What follows the name of an operator that sums, by the version of the table."""
_DECODERS = {
    "fp16": "HalfToFloat",
    "fused_uint8rowwise": "Fused8BitRowwiseQuantizedToFloat",
    "fused_uint4rowwise": "Fused4BitRowwiseQuantizedToFloat",
}
"""What makes float32 of rows, by the version of the table."""


def get_trainer_version_based_on_optim(optim_def: Any) -> str:
    """fp16 for an optimizer with an engine of float16, fp32 for any other."""
    is_half = isinstance(optim_def, Optimizer) and getattr(optim_def, "engine", None) in FP16_ENGINES
    return "fp16" if is_half else "fp32"


def get_sparse_lookup_predictor_version(
    version: str,
    blob_size: int | None = None,
    min_blob_size_4bits: int | None = None,
    embedding_dim: int | None = None,
    sparse_feature_name: str | None = None,
) -> str:
    """The version of a table in nets of prediction: 8 bits instead of 4 for small tables and odd rows.

    Raises ``AssertionError`` for an unknown version, ``ValueError`` for 4 bits without the three sizes.
    """
    require(version in _SUFFIXES, f"Unexpected version of sparse_lookup layer {version}")
    if version != "fused_uint4rowwise":
        return version
    if blob_size is None or min_blob_size_4bits is None or embedding_dim is None:
        raise ValueError(
            f"4 bits for {sparse_feature_name} need blob_size ({blob_size}), min_blob_size_4bits "
            f"({min_blob_size_4bits}) and embedding_dim ({embedding_dim})"
        )
    is_small = blob_size < min_blob_size_4bits or embedding_dim % 2 == 1
    return "fused_uint8rowwise" if is_small else version


def get_sparse_lookup_trainer_version(version: str) -> str:
    """fp32 or fp16; raises ``AssertionError`` for another one."""
    require(version in ("fp32", "fp16"), f"Unexpected version of sparse_lookup layer {version}")
    return version


class FusedWeight(NamedTuple):
    """A table whose rows hold their scales."""

    w: Any


class RowwiseWeight(NamedTuple):
    """A table and the scales of its rows."""

    w: Any
    scale_bias: Any


class SparseLookup(ModelLayer):
    """A row of a table for each identifier of an ``IdList`` or ``IdScoreList``, and one row of them for each list.

    reducer: Sum, Mean, Sqrt (the sum over the root of the length), Max, LogSumExp, LogMeanExp, or None for all rows.
    Scores are weights under WeightedSum, WeightedMean, PositionWeighted, RecencyWeighted, and ``use_external_weights``
    with Sum; the last three hand gradients on to them.
    """

    _weighted_sums = ["Mean", "Sum", "WeightedSum", "WeightedMean", "None"]
    _id_list_supported_reducers = [*_weighted_sums, "LogMeanExp", "LogSumExp", "Max", "Sqrt"]
    _id_score_list_supported_reducers = [*_weighted_sums, "PositionWeighted", "RecencyWeighted"]
    _fp16_compatible_init_op_types = ["Float16UniformFill"]
    _fp16_compatible_reducers = ["Sum", "Mean", "Sqrt", "PositionWeighted", "RecencyWeighted"]

    def __init__(
        self,
        model: Any,
        input_record: Any,
        inner_shape: Any,
        reducer: str,
        weight_init: Fill | None = None,
        weight_optim: Any = None,
        name: str = "sparse_lookup",
        regularizer: Any = None,
        use_external_weights: bool = False,
        uniform_weight_init_scale_numerator: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """inner_shape: of a row. The number of rows is what is known of the identifiers.

        Raises ``AssertionError`` for reducers that the record, or a table of float16, does not have.
        """
        super().__init__(model, name, input_record, **kwargs)
        self.sparse_key = get_key(input_record)()
        inner_shape = [inner_shape] if isinstance(inner_shape, int) else inner_shape
        require(isinstance(inner_shape, list | tuple), f"the shape of a row is a list, not {inner_shape}")
        self.reducer, self.use_external_weights = reducer, use_external_weights
        self._has_scores = not almost_equal_schemas(input_record, IdList)
        self._check_reducer()
        self.input_dim = get_categorical_limit(input_record)
        require(self.input_dim > 0, f"{self.sparse_key} should have categorical limit > 0, but got {self.input_dim}")
        self.shape = [self.input_dim, *inner_shape]
        self.trainer_version = get_trainer_version_based_on_optim(weight_optim)
        self.uniform_weight_init_scale_numerator = uniform_weight_init_scale_numerator
        self.weight_init = weight_init or uniform(self.input_dim, uniform_weight_init_scale_numerator)
        if self.trainer_version == "fp16":
            self._become_half(regularizer)
        self._create_params(weight_optim, regularizer)
        blob = self.get_next_blob_reference("output")
        self.output_schema = schema.Scalar((np.float32, inner_shape), blob)

    def _check_reducer(self) -> None:
        known = self._id_score_list_supported_reducers if self._has_scores else self._id_list_supported_reducers
        kind = "ID_SCORE_LIST" if self._has_scores else "ID_LIST"
        require(self.reducer in known, f"Unsupported reducer: {self.reducer} for {kind} {self.sparse_key}: {known}")
        if not self.use_external_weights:
            return
        require(self._has_scores, f"weights of {self.sparse_key} are in an IdScoreList, which it is not")
        require(self.reducer in ("Sum", "WeightedSum"), f"external weights are summed (Sum), not {self.reducer}")

    def _become_half(self, regularizer: Any) -> None:
        half = self.reducer in self._fp16_compatible_reducers or self.use_external_weights
        require(half, f"float16 has no reducer {self.reducer}, only {self._fp16_compatible_reducers}")
        if self.weight_init[0] == "UniformFill":
            self.weight_init = ("Float16UniformFill", self.weight_init[1])
        known = self._fp16_compatible_init_op_types
        require(self.weight_init[0] in known, f"{self.weight_init[0]} does not fill with float16; known are {known}")
        require(regularizer is None, "Regularizer is not compatible with fp16")

    def _create_params(self, weight_optim: Any, regularizer: Any) -> None:
        """The table; what evicted rows are filled with; scales of rows."""
        record, none = self.input_record, self.model.NoOptim
        known = record.lengths.metadata
        ps_param = LayerPsParam(self.sparse_key, known.expected_value if known else None)
        self.w = self.create_param("w", self.shape, self.weight_init, weight_optim, ps_param, regularizer)
        kinds = ((IdListWithEvicted, True), (IdScoreListWithEvicted, False))
        evicts = any(schema.equal_schemas(record, kind, check_field_types=types) for kind, types in kinds)
        self.evicted_values = record._evicted_values if evicts else None
        if evicts:
            self.reinit_vec = self.create_param("reinit_vec", self.shape[1:], self.weight_init, none)
        self.scale_bias = self.create_param("scale_bias", [], ("ConstantFill", {"value": 0.0}), none)

    # ---- sizes -------------------------------------------------------------------------------------------------------

    def get_memory_usage(self) -> int:
        """Bytes of the table."""
        return int(math.prod(self.shape)) * 4

    def get_fp16_compatible_parameters(self) -> list[Any]:
        """The table."""
        return [self.w]

    def support_8bit(self) -> bool:
        """Rows are long enough for a scale of each to pay."""
        return len(self.shape) == 2 and self.shape[1] >= 8

    def get_8bits_compatible_parameters(self, fused: bool = True) -> list[Any]:
        """The table, and unless ``fused`` its scales; none where rows are short."""
        if not self.support_8bit():
            return []
        return [FusedWeight(self.w) if fused else RowwiseWeight(self.w, self.scale_bias)]

    # ---- operators ---------------------------------------------------------------------------------------------------

    def _gather_wrapper(self, net: Any, version: str, in_indices: Any, out: Any) -> Any:
        """Add the look-up of rows, as float32."""
        if version == "fp32":
            return net.Gather([self.w, in_indices], out)
        rows = net.Gather([self.w, in_indices], "gathered_w")
        if version == "uint8rowwise":
            scales = net.Gather([self.scale_bias, in_indices], "gathered_scale_bias")
            return net.Rowwise8BitQuantizedToFloat([rows, scales], out)
        return getattr(net, _DECODERS[version])(rows, out)

    def _add_sum(
        self, net: Any, version: str, reducer: str, keys: Any, weights: Any = None, **arguments: Any
    ) -> None:  # fmt: skip
        """Add ``SparseLengths...``; arguments are for tables of floats, others have no gradient."""
        inputs = [self.w, *([] if weights is None else [weights]), keys, self.input_record.lengths()]
        if version == "uint8rowwise":
            inputs.append(self.scale_bias)
        if _SUFFIXES[version]:
            arguments = {}
        elif version == "fp16" and reducer == "WeightedSum":
            arguments["engine"] = "FP16"
        operator = getattr(net, f"SparseLengths{reducer}{_SUFFIXES[version]}")
        operator(inputs, self.output_schema.field_blobs(), **arguments)

    def _add_ops_id_list(self, net: Any, version: str) -> None:
        items, lengths = self.input_record.items(), self.input_record.lengths()
        if self.reducer in ("Sum", "Mean", "WeightedSum", "WeightedMean"):
            self._add_sum(net, version, self.reducer.removeprefix("Weighted"), items)
        elif self.reducer == "Sqrt":
            weights = net.LengthsToWeights([lengths], [net.NextScopedBlob("lengths_sqrt")], power=0.5)
            self._add_sum(net, version, "WeightedSum", items, weights, grad_on_weights=0)
        elif self.reducer == "None":
            self._gather_wrapper(net, version, items, self.output_schema.field_blobs())
        else:
            rows = self._gather_wrapper(net, version, items, "table_rows")
            segments = net.LengthsToSegmentIds(lengths, net.NextScopedBlob(lengths + "_sid"))
            operator = getattr(net, f"SortedSegmentRange{self.reducer}")
            operator([rows, segments], self.output_schema.field_blobs())

    def _add_ops_id_score_list(self, net: Any, version: str) -> None:
        keys, scores = self.input_record.keys(), self.input_record.values()
        if self.reducer in ("WeightedSum", "WeightedMean"):
            self._add_sum(net, version, self.reducer, keys, scores, grad_on_weights=0)
        elif self.reducer in ("PositionWeighted", "RecencyWeighted") or self.use_external_weights:
            self._add_sum(net, version, "WeightedSum", keys, scores, grad_on_weights=1)
        elif self.reducer == "None":
            self._gather_wrapper(net, version, keys, self.output_schema.field_blobs())
        else:
            self._add_sum(net, version, self.reducer, keys)

    def _add_ops(self, net: Any, version: str = "fp32", is_train: bool = True) -> None:
        if self.evicted_values is not None and is_train:
            net.CopyRowsToTensor([self.w, self.evicted_values.get(), self.reinit_vec], [self.w])
        (self._add_ops_id_score_list if self._has_scores else self._add_ops_id_list)(net, version)

    def add_train_ops(self, net: Any) -> None:
        """Add the look-up, and before it what fills the rows of evicted identifiers anew."""
        self._add_ops(net, self.trainer_version)

    def add_ops(self, net: Any) -> None:
        """Add the look-up, of the version that ``arg_scope`` sets; float16 for 8 bits where rows are short."""
        chosen = get_current_scope().get(get_sparse_lookup_predictor_version.__name__, {"version": "fp32"})
        version = get_sparse_lookup_predictor_version(
            chosen["version"],
            blob_size=self.shape[0] * self.shape[1],
            min_blob_size_4bits=chosen.get("min_blob_size_4bits"),
            embedding_dim=self.shape[1],
            sparse_feature_name=self.sparse_key,
        )
        if _SUFFIXES[version] and not self.support_8bit():
            version = "fp16"
        self._add_ops(net, version, is_train=False)
