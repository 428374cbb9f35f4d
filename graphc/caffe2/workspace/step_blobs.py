"""The host operator that copies the blobs of a recurrent network's time steps into the workspace.

Rules from Caffe2's ``recurrent_network_blob_fetcher_op.h``.
"""

from __future__ import annotations

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.ir.ops.recurrent.network import StepWorkspaces


@host_operator("RecurrentNetworkBlobFetcher")
def recurrent_network_blob_fetcher(call: HostCall) -> None:
    """Every blob of every step as ``PREFIX_NAMEt``, of step t; their names as a tensor of strings."""
    prefix, spaces = call.arg("prefix", "rnn"), call.object(0, StepWorkspaces)
    names = []
    for t, blobs in enumerate(spaces.steps):
        for name, array in blobs.items():
            if name not in spaces.outer:
                names.append(f"{prefix}_{name}{t}".encode("utf-8", "surrogateescape"))
                call.blobs.put(names[-1].decode("utf-8", "surrogateescape"), np.array(array))
    found = np.empty(len(names), object)
    found[:] = names
    call.write(0, found)
