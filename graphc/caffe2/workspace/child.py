"""The blobs of a workspace inside another: it sees those around it, and keeps new ones to itself."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.caffe2.workspace.nested_blobs import NestedBlobs
from graphc.caffe2.workspace.values import Value


class ChildBlobs(NestedBlobs):
    """Blobs that fall back to those of the workspace around, where they exist there."""

    def __init__(self, outer: dict[str, Value]) -> None:
        super().__init__()
        self._outer = outer

    def _home(self, name: str) -> dict[str, Value]:
        return self._outer if not dict.__contains__(self, name) and name in self._outer else self

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in self._outer

    def __missing__(self, name: str) -> Value:
        return self._outer[name]

    def __setitem__(self, name: str, value: Value) -> None:
        home = self._home(name)
        if home is self:
            super().__setitem__(name, value)
        else:
            home[name] = value

    def own(self) -> list[str]:
        """Names of the blobs here."""
        return list(dict.keys(self))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._outer, *dict.keys(self)]))
