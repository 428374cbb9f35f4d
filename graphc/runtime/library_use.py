"""What calls of every library need: where a workspace begins, how to install one, when what it holds is destroyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import finalize

from graphc.ir.library_call import ALIGNMENT

Enqueue = Callable[[int], None]
"""Hands a call to a stream, given by CUDA's handle; it may be recorded. With it go the descriptions that it uses."""

INSTALL = "pip install 'graphc[cudnn]', or compile the net without this engine: --engine default"


def rounded_up(place: Any) -> int:
    """The first address from ``place`` on that a workspace may begin at."""
    return -(-int(place) // ALIGNMENT) * ALIGNMENT


def goes_with(owner: Any, destroy: Callable[..., object], *things: Any) -> None:
    """Have ``destroy(*things)`` called when nobody has ``owner`` any more; the things stay until then, in whichever
    order the garbage collector finds what nobody has.

    Not at the end of the process, which may be behind that of the driver, and frees everything.
    """
    finalize(owner, destroy, *things).atexit = False
