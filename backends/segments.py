"""Operators that reduce runs of rows of a table to a row each, as kernels need them."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.types import DType

BAD_RUNS, BAD_INDEX, BAD_THIRD = 1, 2, 3
"""The numbers of these errors in the records of all these operators; the third: too few weights, a bad mapping."""
INDEX: dict[DType | None, str] = {DType.INT32: "i4", DType.INT64: "i8"}
"""How indices are loaded."""


@dataclass(frozen=True)
class Form:
    """An operator. tables: codes of the tables that it takes: f4, f2: floats; u1, q4, q2: rows of numbers of 8, 4 or 2
    bits with scale and bias behind them; r1: of 8 bits, the scales in a tensor of their own. how: sum, mean, each (a
    sum with a weight a row), weighted mean (by their number), place (a weight a position in the run), max. runs:
    lengths, sorted, unsorted (ids of runs), single (rows). indexed: rows are chosen. mapped: indices are mapped.
    """

    tables: tuple[str, ...]
    how: str
    runs: str = "lengths"
    indexed: bool = True
    mapped: bool = False

    @property
    def weighted(self) -> bool:
        """Rows have weights."""
        return self.how in ("each", "weighted mean", "place")

    def ports(self) -> dict[str, int]:
        """The inputs' numbers."""
        names = ["data", *(["weights"] * self.weighted), *(["indices"] * self.indexed)]
        names += ["runs"] * (self.runs != "single") + ["mapping"] * self.mapped + ["scales"] * ("r1" in self.tables)
        return {name: i for i, name in enumerate(names)}


def _forms() -> dict[str, Form]:
    hows = {"Sum": "sum", "Mean": "mean", "WeightedSum": "each"}
    found = {}
    for name, how in {**hows, "Max": "max"}.items():
        found[f"Lengths{name}"] = Form(("f4",), how, indexed=False)
        found[f"SparseLengths{name}"] = Form(("f4", "f2"), how)
    found["SparseLengthsPositionalWeightedSum"] = Form(("f4", "f2"), "place")
    found["SparseLengthsWeightedMean8BitsRowwise"] = Form(("r1",), "weighted mean")
    found["GatherFused8BitRowwise"] = Form(("u1",), "sum", "single")
    for name, how in hows.items():
        for table, bits in (("u1", 8), ("q4", 4), ("q2", 2)):
            found[f"SparseLengths{name}Fused{bits}BitRowwise"] = Form((table,), how)
            found[f"SparseLengths{name}{bits}BitRowwiseSparse"] = Form((table,), how, mapped=True)
        found[f"SparseLengths{name}8BitsRowwise"] = Form(("r1",), how)
        for runs in ("Sorted", "Unsorted"):
            for prefix in ("", "Sparse"):
                form = Form(("f4",), how, runs.lower(), indexed=bool(prefix))
                found[f"{prefix}{runs}Segment{name}"] = form
                found[f"g.fill.{prefix}{runs}Segment{name}"] = form
    return found


OPERATORS = _forms()
