"""Tilings for people and programs: which one each operator has, and what measuring them was good for."""

from __future__ import annotations

from graphc.backends.cuda.tuning import Tuning
from graphc.native_segment import NativeSegment
from graphc.plan import Plan
from graphc.tables import aligned, printable
from graphc.tuning import Layer, layers


def tiling_lines(plan: Plan) -> list[str]:
    """A table of the operators whose kernels have a tiling, and who chose it; nothing where there are none."""
    rows = [_row(layer) for layer in layers(plan)]
    return aligned([("result", "tiling", "chosen by"), *rows]) if rows else []


def tilings(plan: Plan) -> list[list[dict[str, str]]]:
    """The same as plain data: a list for each of the plan's schedules, in their order."""
    graphs = [s.graph for s in plan.segments if isinstance(s, NativeSegment) and s.bound]
    found, names = layers(plan), ("result", "tiling", "chosen_by")
    return [[dict(zip(names, _row(layer))) for layer in found if layer.graph is graph] for graph in graphs]


def _row(layer: Layer) -> tuple[str, str, str]:
    return layer.blob, str(layer.tiling), "measured" if layer.tuned else "model"


def gains(tuning: Tuning) -> str:
    """A table of what was measured: the fastest tiling, its time and that of the model's choice; then the totals."""
    rows = [("us", "model us", "tiling", "product")]
    for problem, found in tuning.entries.items():
        rows.append((f"{found.seconds * 1e6:.1f}", f"{found.model_seconds * 1e6:.1f}", found.tiling, problem))
    before, behind = (sum(getattr(e, n) for e in tuning.entries.values()) for n in ("model_seconds", "seconds"))
    saved = f": {100 * (1 - behind / before):.0f} % less" if before else ""
    times = f"{behind * 1e6:.1f} us, the model's choices {before * 1e6:.1f} us{saved}"
    total = f"{len(tuning.entries)} products on {tuning.card}: {times}"
    return "\n".join(map(printable, [*(aligned(rows) if tuning.entries else []), total]))
