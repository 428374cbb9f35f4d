"""The workspaces of the process by name, and the one that functions without an argument work on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from graphc.caffe2.workspace.errors import EnforceError
from graphc.caffe2.workspace.store import Workspace

_WORKSPACES: dict[str, Workspace] = {"default": Workspace()}
_CURRENT = ["default"]
_LOCK = threading.RLock()


def current() -> Workspace:
    """The current workspace of the process."""
    return _WORKSPACES[_CURRENT[0]]


class _Current:
    """``Workspace.current``: always the current workspace of the process."""

    def __get__(self, instance: object, owner: type) -> Workspace:
        return current()


Workspace.current = _Current()


def CurrentWorkspace() -> str:
    """The name of the current workspace."""
    return _CURRENT[0]


def Workspaces() -> list[str]:
    """The names of all workspaces."""
    return list(_WORKSPACES)


def SwitchWorkspace(name: str, create_if_missing: bool = False) -> None:
    """Make another workspace the current one; raises ``RuntimeError`` for one that does not exist."""
    with _LOCK:
        if name not in _WORKSPACES and not create_if_missing:
            raise EnforceError(
                f"Workspace of the specified name does not exist: {name}",
                f"SwitchWorkspace({name!r}, True) makes it; there are {', '.join(_WORKSPACES)}",
            )
        _WORKSPACES.setdefault(name, Workspace())
        _CURRENT[0] = name


@contextmanager
def WorkspaceGuard(workspace_name: str) -> Iterator[None]:
    """Another workspace, made if need be, is the current one within the block; an exception ends that too."""
    before = CurrentWorkspace()
    SwitchWorkspace(workspace_name, True)
    try:
        yield
    finally:
        SwitchWorkspace(before)


def reset_current(root_folder: str | None = None) -> None:
    """Empty the current workspace."""
    current().reset(root_folder)
