"""A builder of Python source: lines with indentation kept by ``with``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LOWEST = "f4(-3.4028234663852886e38)"
"""The least finite float32, with which a maximum begins."""


class Lines:
    """Collects lines; ``text()`` joins them.

    >>> s = Lines()
    >>> with s.block("for i in range(n):"):
    ...     s("x = i")
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def __call__(self, line: str) -> None:
        """Append one line at the current depth."""
        self._lines.append(" " * (4 * self._depth) + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Append ``head`` and indent what follows inside the ``with``."""
        self(head)
        self._depth += 1
        yield
        self._depth -= 1

    def text(self) -> str:
        """The source so far."""
        return "\n".join(self._lines) + "\n"
