"""Blobs of which some are those of another mapping: what a ``dict`` does past its own methods goes through them."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.workspace.values import Value


class NestedBlobs(dict[str, Value]):
    """A dict whose subclass says what is there: ``__contains__``, ``__missing__``, ``__setitem__``, ``__iter__``."""

    def get(self, name: str, default: Any = None) -> Any:
        """What a blob holds, here or around."""
        try:
            return self[name]
        except KeyError:
            return default

    def setdefault(self, name: str, default: Any = None) -> Any:
        """What a blob holds; the default where there is none here or around."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, items: Any) -> None:  # type: ignore[override]
        """Set several blobs."""
        for name, value in items.items():
            self[name] = value

    def __len__(self) -> int:
        return len(list(iter(self)))

    def keys(self) -> Any:
        """Names of the blobs, those elsewhere among them."""
        return dict.fromkeys(self).keys()
