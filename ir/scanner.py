"""Scanner: a position in a text, the tokens that the text formats share, and errors that show the place."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn, TypeVar

from graphc.ir.attrs import unquote
from graphc.ir.errors import ParseError
from graphc.ir.types import TensorType

T = TypeVar("T")
_WIDTH = 110
STRING = r'"((?:[^"\\\n]|\\.)*)"'
INT = re.compile(r"-?\d+")
_SPACE = re.compile(r"(?:\s+|//[^\n]*)*")
QUOTED = re.compile(STRING)
_WORD = re.compile(rf"(?:([A-Za-z_][A-Za-z0-9_.]*)|{STRING})")
_TYPE = re.compile(r"(?:\w+|\?)\[[^\]\n]*\](?:\{[^}\n]*\})?")


@lru_cache(4096)
def _type(text: str) -> TensorType:
    return TensorType.parse(text)


class Scanner:
    """Reads a text from left to right; white space and ``// comments`` separate tokens."""

    def __init__(self, text: str) -> None:
        self.text, self.pos = text, 0

    def skip(self) -> None:
        """Go on to the next token."""
        m = _SPACE.match(self.text, self.pos)
        self.pos = m.end() if m else self.pos

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The token, if the pattern fits it."""
        self.skip()
        m = pattern.match(self.text, self.pos)
        if m:
            self.pos = m.end()
        return m

    def need(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        """The token; an error that says what was expected if the pattern does not fit."""
        return self.match(pattern) or self.fail(f"expected {what}")

    def eat(self, token: str) -> bool:
        """Go past a token of fixed text, if it is that."""
        self.skip()
        found = self.text.startswith(token, self.pos)
        if found:
            self.pos += len(token)
        return found

    def expect(self, token: str) -> None:
        """Go past a token of fixed text."""
        if not self.eat(token):
            self.fail(f"expected '{token}'")

    def fail(self, message: str, at: int | None = None, help: str = "") -> NoReturn:
        """Raise ``ParseError`` for a place in the text (default: where the parser stands)."""
        at = self.pos if at is None else at
        line = self.text.count("\n", 0, at) + 1
        start = self.text.rfind("\n", 0, at) + 1
        content = self.text[start:].split("\n", 1)[0]
        left = max(0, at - start - 2 * _WIDTH // 3)
        gutter = f"{line} | " + "..." * (left > 0)
        excerpt = gutter + content[left : left + _WIDTH] + "\n" + " " * (len(gutter) + at - start - left) + "^"
        found = "" if at < len(self.text) else " at the end of the text"
        raise ParseError(f"line {line}, column {at - start + 1}: {message}{found}", help, excerpt)

    def convert(self, function: Callable[..., T], *args: object, at: int) -> T:
        """The result of a conversion, its ``ValueError`` turned into a ``ParseError``."""
        try:
            return function(*args)
        except (ValueError, KeyError, OverflowError) as e:
            self.fail(f"{e.args[0] if e.args else e}", at)

    def string(self, what: str) -> str:
        """The text of a quoted string."""
        m = self.need(QUOTED, what)
        return self.convert(unquote, m.group(1), at=m.start())

    def word(self, what: str) -> str:
        """An identifier, or a quoted string in its place."""
        m = self.need(_WORD, what)
        return m.group(1) or self.convert(unquote, m.group(2) or "", at=m.start())

    def items(self, item: Callable[[], T], end: str) -> list[T]:
        """``item, item, ... end``, one at least."""
        found = [item()]
        while not self.eat(end):
            if not self.eat(","):
                self.fail(f"expected ',' or '{end}'")
            found.append(item())
        return found

    def type(self) -> TensorType:
        """A type, e.g. ``float[1,3]``."""
        m = self.need(_TYPE, "a type such as float[1,3]")
        return self.convert(_type, m.group(), at=m.start())

    def end(self) -> None:
        """Refuse text after the end."""
        self.skip()
        if self.pos < len(self.text):
            self.fail("text after the end")
