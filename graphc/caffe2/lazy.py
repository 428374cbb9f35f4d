"""``caffe2.python.lazy``: what is done before operators are asked for the first time."""

from __future__ import annotations

from collections.abc import Callable

_import_lazy_calls: list[Callable[[], None]] = []


def RegisterLazyImport(lazy: Callable[[], None]) -> None:
    """Have a function called whenever operators are asked for."""
    _import_lazy_calls.append(lazy)


def TriggerLazyImport() -> None:
    """Call the functions that were registered."""
    for lazy in _import_lazy_calls:
        lazy()
