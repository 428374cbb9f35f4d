"""How to quantise: what a user may choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir import GraphcError
from graphc.passes.quantize import RULES
from graphc.passes.quantize.fused_rows import BITS


@dataclass(frozen=True)
class Method:
    """How to quantise: the arguments of ``quantize`` of these names."""

    ranges: str = "min-max"
    equalize: bool | None = None
    correct_bias: bool = True
    refine: bool = True
    in_float: Sequence[str] = ()
    max_loss: float | None = None
    attribute: bool = False
    native: bool = False
    embeddings: int | None = 8
    tables_only: bool = False
    target: str = "native"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.ranges not in RULES:
            raise GraphcError(f"there is no range rule '{self.ranges}'", f"rules: {', '.join(RULES)}")
        if self.embeddings not in (*BITS, None):
            raise GraphcError(f"embeddings is {self.embeddings!r}", "give 8 or 4 bits, or None for float")
        if self.tables_only and self.embeddings is None:
            raise GraphcError("nothing is left to quantise: tables alone, and these in float", "give embeddings=8 or 4")
        if self.max_loss is not None and not self.max_loss > 0:
            raise GraphcError(f"max_loss is {self.max_loss}", "give a positive relative error, such as 0.02")
