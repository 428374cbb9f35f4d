"""``caffe2.python.layers.bucket_weighted``: a learned weight for each bucket of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers._rules import constant
from graphc.caffe2.layers.layers import ModelLayer, get_categorical_limit, require
from graphc.caffe2.layers.tags import Tags


class BucketWeighted(ModelLayer):
    """The weight of the bucket of each score of a list.

    Buckets lie between boundaries, or are the scores as whole numbers; they are hashed unless ``hash_buckets`` is off.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        max_score: int = 0,
        bucket_boundaries: Sequence[float] | None = None,
        hash_buckets: bool = True,
        weight_optim: Any = None,
        name: str = "bucket_weighted",
    ) -> None:
        """max_score: how many weights there are without boundaries, else what is known of the identifiers."""
        super().__init__(model, name, input_record)
        require(isinstance(input_record, schema.List), f"a List is needed, not {input_record}")
        self.bucket_boundaries, self.hash_buckets = bucket_boundaries, hash_buckets
        if bucket_boundaries is not None:
            self.shape = len(bucket_boundaries) + 1
        else:
            self.shape = max_score if max_score > 0 else get_categorical_limit(input_record)
        self.bucket_w = self.create_param("bucket_w", [self.shape], constant(1.0), weight_optim)
        blob = self.get_next_blob_reference("bucket_w_gather")
        self.output_schema = schema.Struct(("bucket_weights", schema.Scalar((np.float32, self.shape), blob)))
        self.tags.add(Tags.HANDLE_AS_SPARSE_LAYER)

    def get_memory_usage(self) -> int:
        """The number of weights."""
        return int(self.shape)

    def add_ops(self, net: Any) -> None:
        """Add the look-up."""
        scores = self.input_record.values()
        if self.bucket_boundaries is not None:
            buckets = net.Bucketize(scores, "buckets_int", boundaries=self.bucket_boundaries)
        else:
            buckets = net.Cast(scores, "buckets_int", to=core.DataType.INT32)
        if self.hash_buckets:
            buckets = net.IndexHash(buckets, "hashed_buckets_int", seed=0, modulo=self.shape)
        net.Gather([self.bucket_w, buckets], self.output_schema.bucket_weights.field_blobs())
