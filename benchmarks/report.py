"""Figures out of turns, and their tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean, median

from runtimes import FASTEST_OF
from turns import Turn


@dataclass(frozen=True)
class Measured:
    """One runtime with one net. loading: seconds and MB as the worker told them."""

    turns: Sequence[Turn]
    loading: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Median over the turns of the median call."""
        return median(t.median for t in self.turns)


@dataclass(frozen=True)
class Case:
    """One net at one number of threads. peak: FLOP/s of the cores used. failed: reason by runtime."""

    model: str
    threads: int
    macs: int
    peak: float
    quiet: float
    measured: Mapping[str, Measured]
    failed: Mapping[str, str] = field(default_factory=dict)
    compiling: Mapping[str, float] = field(default_factory=dict)

    def ratio(self, runtime: str, other: str) -> float:
        """Time of a runtime by that of another: the median of the rounds' ratios, of quiet rounds where there are any.

        Turns of one round follow each other within seconds, so their ratio is free of the machine's slow changes.
        """
        rounds = list(zip(self.measured[runtime].turns, self.measured[other].turns))
        quiet = [r for r in rounds if max(t.others for t in r) <= self.quiet]
        return median(a.median / b.median for a, b in quiet or rounds)

    def fastest(self, among: Iterable[str]) -> str | None:
        """The fastest of these that was measured."""
        return min((n for n in among if n in self.measured), key=lambda n: self.measured[n].seconds, default=None)

    def of_peak(self, runtime: str) -> float:
        """Share of the FMA peak, counting the multiplications of a direct convolution."""
        return 2 * self.macs / self.measured[runtime].seconds / self.peak


def _ratio_or_nan(case: Case, runtime: str, other: str | None) -> float:
    return case.ratio(runtime, other) if other in case.measured and runtime in case.measured else math.nan


COLUMNS = ("ms", "/ graphc", "/ fastest", "% peak", "max error", "RSS MB", "load s", "disturbed")


def _row(case: Case, name: str) -> tuple[str, ...]:
    m = case.measured[name]
    ratios = [_ratio_or_nan(case, name, other) for other in ("graphc", case.fastest(case.measured))]
    disturbed = sum(t.others > case.quiet for t in m.turns)
    return (
        name,
        f"{m.seconds * 1e3:.3f}",
        *(f"{r:.2f}" for r in ratios),
        f"{100 * case.of_peak(name):.0f}",
        f"{m.loading['error']:.0e}",
        f"{m.loading['memory']:.0f}",
        f"{m.loading['import'] + m.loading['load'] + m.loading['first']:.2f}",
        f"{disturbed}/{len(m.turns)}",
    )


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "| " + " | ".join([c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]) + " |"
        for line in (head, ["-" * widths[0], *["-" * (w - 1) + ":" for w in widths[1:]]], *rows)
    )


def table(case: Case) -> str:
    """The runtimes of one case, fastest first, as a Markdown table under a heading."""
    lines = [f"\n### {case.model}, {_threads(case.threads)}: {case.macs / 1e6:.1f} M multiply-adds\n"]
    order = sorted(case.measured, key=lambda n: case.measured[n].seconds)
    lines.append(_aligned(("runtime", *COLUMNS), [_row(case, n) for n in order]))
    if case.compiling and "graphc" in case.measured:
        lines.append(
            f"\ngraphc compiled it beforehand in {case.compiling['compile']:.2f} s (kernels from its cache where it had"
            f" them), peak memory {case.compiling['memory']:.0f} MB."
        )
    lines += [f"\n{name} failed: {reason}" for name, reason in case.failed.items()]
    return "\n".join(lines)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def summary(cases: Sequence[Case]) -> str:
    """Per thread count: graphc's time by onnxruntime's and by that of the fastest peer, and the geometric means."""
    return "\n".join(_summary([c for c in cases if c.threads == n]) for n in dict.fromkeys(c.threads for c in cases))


def _summary(cases: Sequence[Case]) -> str:
    rows, by_onnxruntime, by_fastest = [], [], []
    for case in cases:
        best = case.fastest(FASTEST_OF)
        ratios = _ratio_or_nan(case, "graphc", "onnxruntime"), _ratio_or_nan(case, "graphc", best)
        by_onnxruntime.append(ratios[0])
        by_fastest.append(ratios[1])
        rows.append((case.model, *(f"{r:.2f}" for r in ratios), best or "-"))
    rows.append(("geometric mean", f"{_mean(by_onnxruntime):.2f}", f"{_mean(by_fastest):.2f}", ""))
    head = (f"graphc, {_threads(cases[0].threads)}", "/ onnxruntime", "/ fastest peer", "fastest peer")
    return f"\n### Time of graphc by that of others, {_threads(cases[0].threads)} (below 1: graphc is faster)\n\n" + (
        _aligned(head, rows)
    )


def _mean(ratios: Sequence[float]) -> float:
    known = [r for r in ratios if not math.isnan(r)]
    return geometric_mean(known) if known else math.nan
