"""Comparing two forms of one net: what they compute for the same inputs, blob by blob.

>>> a, b = graphc.compile("predict_net.pb", "init_net.pb"), graphc.load("plan.pkl")
>>> graphc.compare(a, b, {"data": batch}).worst.relative
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from graphc.comparison_sides import Answer, Side, side_of
from graphc.ir import GraphcError, RunError
from graphc.tables import aligned

Model = Side | object


@dataclass(frozen=True)
class BlobError:
    """How far a blob of b is from that of a; figures of elements that are equal, infinities included, are 0.

    max_abs: largest absolute difference. relative: it by the largest finite magnitude in a. sqnr, psnr: decibels of a's
    mean square, and of the square of a's span, over the mean square difference; infinite where nothing differs.
    same_top: rows in which the largest element of an output is at the same place, same_top_k: by how much the k largest
    overlap, both from 0 to 1; None for what is no output of rows. A NaN on one side alone is an infinite difference.
    """

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, str]
    is_output: bool
    max_abs: float
    relative: float
    sqnr: float
    psnr: float
    same_top: float | None = None
    same_top_k: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Blobs that a and b both have, in a's order of execution.

    left_out: blobs that both have under different shapes (an optimised net may keep images in another order).
    tolerance: of ``relative``, None where none was stated.
    """

    a: str
    b: str
    blobs: tuple[BlobError, ...]
    left_out: tuple[str, ...]
    tolerance: float | None
    top: int

    @property
    def worst(self) -> BlobError:
        """The blob with the largest relative error."""
        return max(self.blobs, key=lambda e: e.relative)

    @property
    def first(self) -> BlobError | None:
        """The first blob beyond the tolerance, None where there is none, or no tolerance."""
        limit = math.inf if self.tolerance is None else self.tolerance
        return next((e for e in self.blobs if e.relative > limit), None)

    @property
    def ok(self) -> bool:
        """Every blob keeps to the tolerance."""
        return self.first is None

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON; infinite figures are None."""
        plain = asdict(self) | {"ok": self.ok, "first": self.first.name if self.first else None}
        plain["blobs"] = [{k: _finite(v) for k, v in asdict(e).items()} for e in self.blobs]
        return plain

    def __str__(self) -> str:
        """A table with a row for each blob, then what follows from it."""
        rows = [("blob", "shape", "types", "max error", "relative", "SQNR dB", "PSNR dB", "top 1", f"top {self.top}")]
        lines = [f"a: {self.a}", f"b: {self.b}", *aligned([*rows, *map(_row, self.blobs)])]
        if self.left_out:
            lines.append(f"not compared, because their shapes differ: {', '.join(self.left_out)}")
        lines.append(f"largest relative error: {self.worst.relative:.3g}, of {self.worst.name}")
        if self.tolerance is not None:
            at = f"first exceeded by {self.first.name}" if self.first else "kept"
            lines.append(f"tolerance {self.tolerance:g}: {at}")
        return "\n".join(lines)


def compare(
    a: Model,
    b: Model,
    inputs: Mapping[str, np.ndarray],
    *,
    blobs: Sequence[str] | None = None,
    tolerance: float | None = None,
    top: int = 5,
) -> Comparison:
    """Compute two forms of a net on the same inputs and compare the blobs that both have.

    a, b: plans, graphs, ``Side`` objects, or texts such as ``net.pb@reference`` (see ``comparison_sides.parse_side``).
    inputs: arrays by blob name. blobs: those to compare (default: all that both have). tolerance: of the largest
    difference by the largest magnitude. Raises ``GraphcError`` for sides that have different inputs, no blob in common
    or outputs of different shapes, and ``RunError`` for inputs that do not fit.
    """
    if tolerance is not None and not tolerance >= 0:
        raise GraphcError(f"the tolerance is {tolerance}", "give a number from 0 on, such as 0.01")
    if top < 1:
        raise GraphcError(f"top is {top}", "give the number of classes to look at, from 1 on")
    left, right = side_of(a, inputs), side_of(b, inputs)
    _require_inputs(left, right)
    names = _common(left, right, blobs)
    found, other = left.answers(inputs, names), right.answers(inputs, names)
    outputs = set(left.outputs) & set(right.outputs)
    errors, left_out = [], []
    for name in names:
        x, y = found[name], other[name]
        if x.array.shape == y.array.shape:
            errors.append(blob_error(name, x, y, name in outputs, top))
        elif name in outputs or blobs:
            raise RunError(
                f"blob '{name}' has the shape {list(x.array.shape)} in a and {list(y.array.shape)} in b",
                "compare two forms of one net, for inputs of the same sizes",
            )
        else:
            left_out.append(name)
    if not errors:
        raise GraphcError(f"{left.text} and {right.text} have no blob of the same shape in common")
    return Comparison(left.text, right.text, tuple(errors), tuple(left_out), tolerance, top)


def _require_inputs(a: Side, b: Side) -> None:
    if set(a.inputs) != set(b.inputs):
        raise GraphcError(
            f"the inputs differ: a has {', '.join(a.inputs) or 'none'}; b has {', '.join(b.inputs) or 'none'}",
            "compare two forms of one net",
        )


def _common(a: Side, b: Side, wanted: Sequence[str] | None) -> list[str]:
    """Blobs that both have, in a's order."""
    theirs = set(b.blobs)
    names = [n for n in a.blobs if n in theirs]
    if wanted is not None:
        missing = [n for n in wanted if n not in names]
        if missing:
            side = "a" if missing[0] not in a.blobs else "b"
            raise GraphcError(
                f"{side} has no blob '{missing[0]}': it was fused away, folded, or never was",
                f"both have: {', '.join(names[:20])}" + (" ..." if len(names) > 20 else ""),
            )
        names = [n for n in names if n in set(wanted)]
    if not names:
        raise GraphcError(
            f"{a.text} and {b.text} have no blob in common",
            f"outputs of a: {', '.join(a.outputs)}; of b: {', '.join(b.outputs)}",
        )
    return names


def blob_error(name: str, a: Answer, b: Answer, is_output: bool, top: int = 5) -> BlobError:
    """The figures of one blob, of arrays of one shape."""
    x, y = a.numbers, b.numbers
    with np.errstate(all="ignore"):
        difference = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
    difference[np.isnan(difference)] = math.inf
    known = x[np.isfinite(x)]
    worst, most = float(difference.max(initial=0.0)), float(np.abs(known).max(initial=0.0))
    noise = float(np.mean(np.square(difference))) if difference.size else 0.0
    span = float(known.max() - known.min()) if known.size else 0.0
    power = float(np.mean(np.square(known))) if known.size else 0.0
    tops = _agreement(x, y, top) if is_output else (None, None)
    return BlobError(
        name,
        tuple(int(d) for d in a.array.shape),
        (a.dtype, b.dtype),
        is_output,
        worst,
        worst / most if most else (0.0 if not worst else math.inf),
        _decibels(power, noise),
        _decibels(span * span, noise),
        *tops,
    )


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf


def _agreement(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float | None, float | None]:
    """Top-1 and top-k agreement over the rows of a (N, classes, 1, ...) output; None where there are no such rows."""
    if x.ndim < 2 or x.shape[0] == 0 or x.shape[1] < 2 or x.size != x.shape[0] * x.shape[1]:
        return None, None
    rows, others = (np.argsort(-v.reshape(len(v), -1), axis=1, kind="stable")[:, :k] for v in (x, y))
    both = [len(set(p.tolist()) & set(q.tolist())) / len(p) for p, q in zip(rows, others)]
    return float(np.mean(rows[:, 0] == others[:, 0])), float(np.mean(both))


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(e: BlobError) -> tuple[str, ...]:
    mark = "*" if e.is_output else ""
    kinds = e.dtypes[0] if e.dtypes[0] == e.dtypes[1] else "/".join(e.dtypes)
    tops = ["" if t is None else f"{t:.1%}" for t in (e.same_top, e.same_top_k)]
    figures = (f"{e.max_abs:.3g}", f"{e.relative:.2e}", f"{e.sqnr:.1f}", f"{e.psnr:.1f}")
    return (e.name + mark, "x".join(map(str, e.shape)), kinds, *figures, *tops)
