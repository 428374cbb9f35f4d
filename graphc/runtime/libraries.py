"""The libraries that a plan for a card may call. Each is imported when a plan first asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from graphc.ir.library_call import CONVOLUTION, PRODUCT, LibraryCall
from graphc.runtime.cublaslt import CublasLt
from graphc.runtime.cudnn import Cudnn

Enqueue = Callable[[int], None]
"""Hands a call to a stream, given by CUDA's handle; it may be recorded."""


class CardLibrary(Protocol):
    """A library on the current card."""

    def prepare(self, call: LibraryCall, label: str) -> Enqueue:
        """Decide how to do a call whose places are addresses of the card's memory; raises ``RunError``.

        label: what it computes, for messages.
        """


LIBRARIES: dict[str, Callable[[], CardLibrary]] = {CONVOLUTION: Cudnn, PRODUCT: CublasLt}
