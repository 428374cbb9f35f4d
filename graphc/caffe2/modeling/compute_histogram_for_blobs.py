"""``caffe2.python.modeling.compute_histogram_for_blobs``: how the elements of blobs are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core
from graphc.caffe2.modeling.net_modifier import BlobReport


class ComputeHistogramForBlobs(BlobReport):
    """Adds, for each blob, what part of its elements lies in each of ``num_buckets`` equal buckets between two bounds.

    ``x_curr_normalized_hist`` is of this run, ``x_acc_normalized_hist`` (``accumulate``) of all runs so far. The first
    and the last of its ``num_buckets + 2`` numbers are of the elements below and above.
    """

    def __init__(
        self,
        blobs: Sequence[Any],
        logging_frequency: int,
        num_buckets: int = 30,
        lower_bound: float = 0.0,
        upper_bound: float = 1.0,
        accumulate: bool = False,
    ) -> None:
        """Raises ``AssertionError`` for less than one bucket."""
        super().__init__(blobs, logging_frequency)
        self._accumulate = accumulate
        self._field_name_suffix = f"_{'acc' if accumulate else 'curr'}_normalized_hist"
        self._num_buckets = int(num_buckets)
        if self._num_buckets <= 0:
            raise AssertionError(f"num_buckets need to be greater than 0, got {num_buckets}")
        self._lower_bound, self._upper_bound = float(lower_bound), float(upper_bound)

    def _add(self, net: core.Net, blob: core.BlobReference) -> tuple[Any, Any]:
        def named(suffix: str) -> Any:
            return net.NextScopedBlob(prefix=str(blob + suffix))

        numbers = net.Cast(blob, named("_float"), to=core.DataType.FLOAT)
        histograms = net.AccumulateHistogram(
            [numbers],
            [named("_curr_hist"), named("_acc_hist")],
            num_buckets=self._num_buckets,
            lower_bound=self._lower_bound,
            upper_bound=self._upper_bound,
        )
        counts = net.Cast(histograms[int(self._accumulate)], named("_cast_hist"), to=core.DataType.FLOAT)
        parts = net.NormalizeL1(counts, named(self._field_name_suffix))
        return parts, (np.float32, (self._num_buckets + 2,))
