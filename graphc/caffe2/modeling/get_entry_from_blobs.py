"""``caffe2.python.modeling.get_entry_from_blobs``: one element, or one row, of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core
from graphc.caffe2.modeling.net_modifier import BlobReport


class GetEntryFromBlobs(BlobReport):
    """Adds ``x_2_3``, element (2, 3) of each matrix ``x``, or ``x_2_all``, row 2, where ``i2`` is -1."""

    def __init__(self, blobs: Sequence[Any], logging_frequency: int, i1: int = 0, i2: int = 0) -> None:
        """i1, i2: row and column."""
        super().__init__(blobs, logging_frequency)
        self._i1, self._i2 = i1, i2
        self._field_name_suffix = f"_{i1}_{i2}" if i2 >= 0 else f"_{i1}_all"

    def modify_net(
        self,
        net: core.Net,
        init_net: core.Net | None = None,
        grad_map: Mapping[Any, Any] | None = None,
        blob_to_device: Mapping[Any, Any] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Add the operators of all blobs; raises ``ValueError`` for a negative row."""
        if self._i1 < 0:
            raise ValueError(f"row {self._i1} is out of range")
        super().modify_net(net, init_net, grad_map, blob_to_device, modify_output_record)

    def _add(self, net: core.Net, blob: core.BlobReference) -> tuple[Any, Any]:
        row = net.Slice([blob], starts=[self._i1, 0], ends=[self._i1 + 1, -1])
        if self._i2 == -1:
            return net.Copy([row], [net.NextScopedBlob(prefix=str(blob + f"_{self._i1}_all"))]), np.float64
        name = net.NextScopedBlob(prefix=str(blob + f"_{self._i1}_{self._i2}"))
        return net.Slice([row], name, starts=[0, self._i2], ends=[-1, self._i2 + 1]), np.float64
