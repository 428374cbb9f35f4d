"""``caffe2.python.onnx.workspace``: a workspace as an object."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

from graphc.caffe2 import workspace


class Workspace:
    """Has every function of ``caffe2.python.workspace``; they work on blobs and nets of this object alone."""

    def __init__(self) -> None:
        self._name = f"onnx-{uuid.uuid4()}"

    def __getattr__(self, function: str) -> Callable[..., Any]:
        """The function of this name, in this workspace."""
        found = getattr(workspace, function)

        @functools.wraps(found)
        def run(*args: Any, **kwargs: Any) -> Any:
            with workspace.WorkspaceGuard(self._name):
                return found(*args, **kwargs)

        return run
