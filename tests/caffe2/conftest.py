"""Every test begins with an empty default workspace."""

from __future__ import annotations

import pytest

from graphc.caffe2 import workspace


@pytest.fixture(autouse=True)
def empty_workspace() -> None:
    """Remove all blobs and nets."""
    workspace.SwitchWorkspace("default")
    workspace.ResetWorkspace()
