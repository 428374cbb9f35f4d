"""Report: what each layer of an int8 net loses, as a table, JSON, CSV and a picture."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from graphc.tables import aligned, printable


@dataclass(frozen=True)
class LayerReport:
    """A layer or a table. low, high: what calibration saw of its result. scale, zero: of its result in 8 bits.

    sqnr: decibels of the result against the float net's, all errors from before included; weight_sqnr: of its weights.
    alone: relative error of the net's outputs with only this layer in 8 bits. float_bytes, int8_bytes: of its weights.
    Of a table low, high and both ratios are of its numbers. None: in float, part of a sum behind it, not measured, no
    weights.
    """

    name: str
    operator: str
    precision: str
    low: float
    high: float
    scale: float | None = None
    zero: int | None = None
    sqnr: float | None = None
    weight_sqnr: float | None = None
    alone: float | None = None
    float_bytes: int | None = None
    int8_bytes: int | None = None


@dataclass(frozen=True)
class Report:
    """loss: relative error (root mean square) of the output with the largest, on the calibration data; all_int8: the
    same before layers went back to float; None without data. Bytes: of the weights in the graph."""

    layers: Sequence[LayerReport]
    loss: float | None
    all_int8: float | None
    samples: int
    float_bytes: int
    int8_bytes: int
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """The table for a terminal, then the totals."""
        head = ("layer", "operator", "in", "range", "SQNR dB", "weights dB", "alone %", "kB")
        rows = [head, *(_row(layer) for layer in self.layers)]
        kept = sum(layer.precision == "float" for layer in self.layers)
        total = (
            f"{_losses(self.loss, self.all_int8)}, {kept} of {len(self.layers)} layers in float, "
            f"{self.samples} samples, weights {self.float_bytes / 1e6:.2f} MB -> {self.int8_bytes / 1e6:.2f} MB"
        )
        return "\n".join([*map(printable, aligned(rows)), total, *(f"note: {n}" for n in self.notes)])

    def to_json(self) -> str:
        """Everything, for programs; infinite ratios are null."""
        return json.dumps(_finite(asdict(self)), indent=1)

    def to_csv(self) -> str:
        """A row for each layer."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(LayerReport)], lineterminator="\n")
        writer.writeheader()
        writer.writerows([asdict(layer) for layer in self.layers])
        return text.getvalue()


def _row(layer: LayerReport) -> tuple[str, ...]:
    return (
        layer.name,
        layer.operator,
        layer.precision,
        f"{layer.low:.4g} ... {layer.high:.4g}",
        _decibels(layer.sqnr),
        _decibels(layer.weight_sqnr),
        "" if layer.alone is None else f"{100 * layer.alone:.3g}",
        _sizes(layer),
    )


def _losses(loss: float | None, all_int8: float | None) -> str:
    if loss is None or all_int8 is None:
        return "loss not measured (no data)"
    return f"loss {100 * loss:.3g} % ({100 * all_int8:.3g} % with all layers in int8)"


def _sizes(layer: LayerReport) -> str:
    sizes = [layer.float_bytes, layer.int8_bytes]
    return " -> ".join(f"{size / 1e3:.4g}" for size in sizes if size is not None)


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
