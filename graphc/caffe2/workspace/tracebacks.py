"""Where in Python the operators of nets were created, for errors to say."""

from __future__ import annotations

from collections import defaultdict

Frame = tuple[str, int, str]
"""File, line, function."""

operator_tracebacks: defaultdict[str, dict[int, list[Frame]]] = defaultdict(dict)
"""Net name -> position of an operator -> the calls that led to its creation, the innermost first."""


def creation_text(net: str, position: int) -> str:
    """Where an operator was created, in words; empty where that is not known."""
    frames = operator_tracebacks.get(net, {}).get(position)
    return f"; created at {frames[0][0]}:{frames[0][1]} in {frames[0][2]}" if frames else ""
