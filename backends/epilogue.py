"""Epilogues as kernels see them: the pointwise graph that a node applies to its bare result before it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.opdef import Call


@dataclass(frozen=True)
class Operands:
    """The text of an epilogue and the kinds of its operands ``x1``, ``x2`` and on: ``same`` ones have the result's
    shape and layout, ``channel`` ones are dense vectors, ``scalar`` ones a single number.
    """

    text: str
    kinds: tuple[str, ...]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the operands, from 1 on."""
        return list(range(1, len(self.kinds) + 1))

    @property
    def same(self) -> list[int]:
        """Numbers of the operands of kind ``same``."""
        return [k for k, kind in zip(self.numbers, self.kinds) if kind == "same"]

    def dense_operands(self, call: Call) -> frozenset[int]:
        """Operand slots of the node that must be dense: the channel vectors."""
        return frozenset(call.n_inputs + i for i, kind in enumerate(self.kinds) if kind == "channel")
