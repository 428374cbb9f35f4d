"""The errors that graphc raises. Each says where, what, why and what would help; the command line exits 2 on them."""

from __future__ import annotations


class GraphcError(Exception):
    """Base of every error that is the input's or the user's, not a defect of graphc.

    message: one paragraph naming operator and blob. help: what the user can do. excerpt: text around the place.
    """

    def __init__(self, message: str, help: str = "", excerpt: str = "") -> None:
        super().__init__(message)
        self.message, self.help, self.excerpt = message, help, excerpt

    def __str__(self) -> str:
        parts = [self.message]
        if self.help:
            parts.append(f"help: {self.help}")
        if self.excerpt:
            parts.append(self.excerpt)
        return "\n".join(parts)


class FileError(GraphcError):
    """A file cannot be read or written, or is not what it should be."""


class NetError(GraphcError):
    """A NetDef cannot be turned into a graph."""


class UnsupportedError(NetError):
    """Operators or arguments that graphc does not have; ``problems`` lists every one."""

    def __init__(self, message: str, problems: tuple[str, ...] = (), help: str = "") -> None:
        super().__init__(message, help, "\n".join(problems))
        self.problems = problems


class ParseError(GraphcError):
    """Text is not in graphc's text format; the excerpt has line and caret."""


class VerifyError(GraphcError):
    """A graph, operator call or type breaks a rule of its stage."""


class LoweringError(GraphcError):
    """No kernel of the target serves an operator as called; names operator, reason and remedy."""


class PlanError(GraphcError):
    """A plan file is truncated, altered, of another version, or does not fit this machine."""


class RunError(GraphcError):
    """Inputs of a run do not fit the plan, or a kernel met data that it has to refuse."""
