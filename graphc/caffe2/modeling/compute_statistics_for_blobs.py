"""``caffe2.python.modeling.compute_statistics_for_blobs``: minimum, maximum, mean and standard deviation of blobs."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core
from graphc.caffe2.modeling.net_modifier import BlobReport


class ComputeStatisticsForBlobs(BlobReport):
    """Adds ``x_summary`` for each blob ``x``: four numbers, the deviation with n - 1 in the denominator."""

    _field_name_suffix = "_summary"

    def _add(self, net: core.Net, blob: core.BlobReference) -> tuple[Any, Any]:
        numbers = net.Cast(blob, to=core.DataType.FLOAT)
        summary = net.NextScopedBlob(prefix=str(blob + self._field_name_suffix))
        return net.Summarize(numbers, summary, to_file=0), (np.float64, (1,))
