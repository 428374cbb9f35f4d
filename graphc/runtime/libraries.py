"""The libraries that a plan for a card may call. Each is imported when a plan first asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from graphc.ir.library_call import CONVOLUTION, PRODUCT, LibraryCall
from graphc.runtime.cublaslt import CublasLt
from graphc.runtime.cudnn import Cudnn
from graphc.runtime.library_use import Enqueue


class CardLibrary(Protocol):
    """A library on the current card; what it holds there goes with it and with the calls that it prepares."""

    def prepare(self, call: LibraryCall, label: str) -> Enqueue:
        """Decide how to do a call whose places are addresses of the card's memory; raises ``RunError``.

        label: what it computes, for messages.
        """


LIBRARIES: dict[str, Callable[[], CardLibrary]] = {CONVOLUTION: Cudnn, PRODUCT: CublasLt}
