"""Names of nets: each is given once in a process, and begins with that of the builder in which the net is made."""

from __future__ import annotations

import threading


class _Prefixes(threading.local):
    """The names of the builders that are active in one thread, the innermost last."""

    def __init__(self) -> None:
        self.names: list[str] = []


_PREFIXES = _Prefixes()


def enter(prefix: str) -> None:
    """Let names of nets made in this thread begin with ``prefix/``."""
    _PREFIXES.names.append(prefix)


def leave() -> None:
    """End the last ``enter``."""
    _PREFIXES.names.pop()


def prefixed(name: str) -> str:
    """The name with the current prefix before it; ``net`` if that is empty."""
    prefix = _PREFIXES.names[-1] if _PREFIXES.names else ""
    return "/".join(part for part in (prefix, name) if part) or "net"
