"""Do with workspaces that outlive it: a gradient finds in them what the net computed, the last run's first.

Rules from Caffe2's ``do_op.h`` and ``create_scope_op.h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.frontends.netdef.net import Net
from graphc.frontends.netdef.scopes import bindings


class Scopes:
    """What CreateScope makes: the workspaces that runs of a Do left, the last one at the end."""

    def __init__(self) -> None:
        self.workspaces: list[Any] = []


@host_operator("CreateScope")
def create_scope(call: HostCall) -> None:
    """Make a scope without workspaces."""
    call.write(0, Scopes())


@host_operator("HasScope")
def has_scope(call: HostCall) -> None:
    """Say whether a scope has workspaces left."""
    call.write(0, np.array([bool(call.object(0, Scopes).workspaces)]))


def _workspaces(call: HostCall) -> list[Any]:
    """The workspaces of a Do's scope. A plan that makes scopes leaves a stand-in: then no gradient is in the net, and
    the workspace of a run is forgotten with it."""
    held = call.read(call.n_inputs - 1)
    if isinstance(held, np.ndarray) and held.dtype == np.bool_:
        return []
    found: list[Any] = call.object(call.n_inputs - 1, Scopes).workspaces
    return found


@host_operator("Do")
def run_do(call: HostCall) -> None:
    """Run a net in a new workspace of the scope; a gradient runs in the last one, which is gone afterwards.

    With ``copy_external_blobs`` the workspace keeps what the blobs around held when the net had run.
    """
    net = call.op.args.get("net")
    if not isinstance(net, Net):
        call.fail("argument 'net' is missing", "give the operator a net")
    left, names = _workspaces(call), bindings(call.op)
    if call.op.is_gradient and not left:
        call.fail(
            "its scope has no workspaces left", "run the operator whose gradient this is before, once for each run"
        )
    if call.op.is_gradient:
        scope = left.pop()
        scope.bind(call.blobs, names)
    elif call.arg("reuse_workspace", 0) and left:
        scope = left[-1]
        for name in names:
            dict.pop(scope.raw, name, None)
        scope.bind(call.blobs, names)
    else:
        scope = call.blobs.scope(names)
        left.append(scope)
    call.run_net(net, scope)
    if call.arg("copy_external_blobs", 0) and not call.op.is_gradient:
        scope.release()
