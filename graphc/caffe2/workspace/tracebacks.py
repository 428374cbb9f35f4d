"""Where in Python the operators of nets were created, for errors to say."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])
"""The folder of the API, whose helpers create operators for scripts."""

Frame = tuple[str, int, str]
"""File, line, function."""

operator_tracebacks: defaultdict[str, dict[int, list[Frame]]] = defaultdict(dict)
"""Net name -> position of an operator -> the calls that led to its creation, the innermost first."""


def creation_text(net: str, position: int) -> str:
    """Where a script created an operator, itself or by a helper such as ``brew.fc``; empty where that is not known."""
    frames = operator_tracebacks.get(net, {}).get(position)
    if not frames:
        return ""
    file, line, function = next((frame for frame in frames if not frame[0].startswith(_PACKAGE)), frames[0])
    return f"; created at {file}:{line} in {function}"
