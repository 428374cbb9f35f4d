"""The blobs of a scope: some are blobs of the workspace around, under other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphc.caffe2.workspace.nested_blobs import NestedBlobs
from graphc.caffe2.workspace.values import Value


class BoundBlobs(NestedBlobs):
    """Blobs of a scope's own, and bound ones, which are those of another mapping. A blob of its own hides a bound one;
    blobs around that are not bound are out of sight."""

    def __init__(self) -> None:
        super().__init__()
        self._outer: dict[str, Value] = {}
        self._names: Mapping[str, str] = {}

    def bind(self, outer: dict[str, Value], names: Mapping[str, str]) -> None:
        """Bind blobs of ``outer``, in the place of those that were bound before. names: inner name -> outer name."""
        self._outer, self._names = outer, names

    def release(self) -> Mapping[str, str]:
        """Bind nothing any more; what was bound."""
        names, self._names = self._names, {}
        return names

    def outer_name(self, name: str) -> str | None:
        """The blob around that a name stands for; None where it is one of the scope's own, or none at all."""
        return None if dict.__contains__(self, name) else self._names.get(name)

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or self._names.get(str(name), None) in self._outer

    def __missing__(self, name: str) -> Value:
        return self._outer[self._names[name]]

    def __setitem__(self, name: str, value: Value) -> None:
        outer = self.outer_name(name)
        if outer is None:
            super().__setitem__(name, value)
        else:
            self._outer[outer] = value

    def __iter__(self) -> Iterator[str]:
        bound = [name for name, outer in self._names.items() if outer in self._outer]
        return iter(dict.fromkeys([*dict.keys(self), *bound]))
