"""Arguments that helpers get inside of a block: ``with brew.arg_scope([brew.conv], stride=2, pad=1): ...``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Arguments = dict[str, dict[str, Any]]
"""Arguments by the name of a helper."""


class _Scopes(threading.local):
    """The arguments of one thread."""

    def __init__(self) -> None:
        self.current: Arguments = {}


_CURRENT = _Scopes()


def get_current_scope() -> Arguments:
    """The arguments that helpers get, by the helper's name."""
    return _CURRENT.current


@contextmanager
def arg_scope(single_helper_or_list: Any, **kwargs: Any) -> Iterator[None]:
    """The helpers, one or a list, get these arguments in the block, unless a call says otherwise.

    Raises ``AssertionError`` for anything that is no function.
    """
    helpers: list[Callable[..., Any]] = (
        single_helper_or_list if isinstance(single_helper_or_list, list) else [single_helper_or_list]
    )
    if not all(map(callable, helpers)):
        raise AssertionError("arg_scope is only supporting single or a list of helper functions.")
    outer = _CURRENT.current
    names = [helper.__name__ for helper in helpers]
    _CURRENT.current = {**outer, **{name: {**outer.get(name, {}), **kwargs} for name in names}}
    try:
        yield
    finally:
        _CURRENT.current = outer
