"""``caffe2.python.modeling.compute_norm_for_blobs``: norms of blobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from graphc.caffe2 import core, muji
from graphc.caffe2.modeling.net_modifier import BlobReport


class ComputeNormForBlobs(BlobReport):
    """Adds ``x_l1_norm`` or ``x_l2_norm`` for each blob ``x``: ``sum |x|``, or ``sum x^2`` without a root.

    With ``compute_averaged_norm`` it is divided by the size and called ``x_averaged_l2_norm``. ``row_index`` takes one
    row of a matrix instead: ``x_row_1_l2_norm``; index 0 means the whole blob, as in Caffe2.
    """

    def __init__(
        self,
        blobs: Sequence[Any],
        logging_frequency: int,
        p: int = 2,
        compute_averaged_norm: bool = False,
        row_index: int | None = None,
    ) -> None:
        """Raises ``ValueError`` for a negative row."""
        super().__init__(blobs, logging_frequency)
        if row_index and row_index < 0:
            raise ValueError(f"{row_index} is not a valid row index, row_index should be >= 0")
        self._p = p
        self._compute_averaged_norm = compute_averaged_norm
        self._field_name_suffix = f"{'_averaged' if compute_averaged_norm else ''}_l{p}_norm"
        self.row_index = row_index

    def _device(self, blob: core.BlobReference, blob_to_device: Mapping[Any, Any]) -> AbstractContextManager[None]:
        """The device of the blob, the CPU where none is given."""
        return core.DeviceScope(blob_to_device.get(blob, muji.OnCPU()))

    def _add(self, net: core.Net, blob: core.BlobReference) -> tuple[Any, Any]:
        if self.row_index:
            name = net.NextScopedBlob(prefix=str(blob + f"_row_{self.row_index}"))
            blob = net.Slice([blob], name, starts=[self.row_index, 0], ends=[self.row_index + 1, -1])
        numbers = net.Cast(blob, net.NextScopedBlob(prefix=str(blob + "_float")), to=core.DataType.FLOAT)
        name = net.NextScopedBlob(prefix=str(blob + self._field_name_suffix))
        norm = net.LpNorm(numbers, name, p=self._p, average=self._compute_averaged_norm)
        net.StopGradient(norm, net.NextScopedBlob(f"{name}_stop_gradient"))
        return norm, (np.float64, (1,))
