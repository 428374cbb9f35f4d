"""Immediate mode: operators run when they are created, in a workspace of their own."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from graphc.caffe2.workspace.current import WorkspaceGuard, current, reset_current
from graphc.frontends.netdef.schema import Message

_NAME = "_CAFFE2_IMMEDIATE"
_FOLDER: list[str] = []
"""The root folder of the immediate workspace while the mode is on."""


def IsImmediate() -> bool:
    """Operators run when they are created."""
    return bool(_FOLDER)


def StartImmediate(i_know: bool = False) -> None:
    """Let operators run when they are created, from now on; a mode that is on begins anew."""
    StopImmediate()
    _FOLDER.append(tempfile.mkdtemp())
    with WorkspaceGuard(_NAME):
        reset_current(_FOLDER[0])
    if not i_know:
        print(
            "Immediate mode: every operator runs at once, in a workspace that StopImmediate empties.\n"
            "Create what an operator reads before the operator; use the mode for debugging only."
        )


def StopImmediate() -> None:
    """End immediate mode and forget its blobs."""
    if not _FOLDER:
        return
    with WorkspaceGuard(_NAME):
        reset_current()
    shutil.rmtree(_FOLDER.pop(), ignore_errors=True)


def ImmediateBlobs() -> list[str]:
    """The blobs of immediate mode."""
    with WorkspaceGuard(_NAME):
        return current().names()


def RunOperatorImmediate(op: Message) -> None:
    """Run an operator in the immediate workspace."""
    with WorkspaceGuard(_NAME):
        current().run_operator(op.SerializeToString())


def FetchImmediate(name: Any) -> Any:
    """A blob of the immediate workspace."""
    with WorkspaceGuard(_NAME):
        return current().fetch(str(name))


def FeedImmediate(name: Any, arr: Any, device_option: Message | None = None) -> bool:
    """Feed a blob of the immediate workspace."""
    with WorkspaceGuard(_NAME):
        current().feed(str(name), arr)
    return True
