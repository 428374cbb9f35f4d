"""``graphc bench``: latency in all and per step, against what the machine could do."""

from __future__ import annotations

import json

import click

from graphc.benchmark import Timing, measure
from graphc.cli.options import json_option, plan_argument, threads_option
from graphc.plan import load


@click.command()
@plan_argument
@threads_option
@click.option("--seconds", type=click.FloatRange(0.01, 600), default=2.0, show_default=True, help="Time to spend.")
@click.option("--rows", type=click.IntRange(0), default=0, help="Print only the slowest steps (default: all).")
@click.option("--allow-native", is_flag=True, help="Use the machine code in the plan; only for plans that you trust.")
@json_option
def bench(plan: str, threads: int | None, seconds: float, rows: int, allow_native: bool, as_json: bool) -> None:
    """Time a plan on random inputs.

    The FMA bound of a step is its FLOPs at the measured peak of the cores used, the memory bound its traffic at the
    measured bandwidth; Winograd convolutions may beat the FMA bound, which counts a direct convolution. On a card steps
    are kernels, timed by its own clock, and a run is timed with the copies of its inputs and outputs.

    \b
    graphc bench plan.pkl --threads 1 --rows 10
    """
    timing = measure(load(plan, threads, allow_native), seconds)
    click.echo(json.dumps(timing.to_dict(), indent=1) if as_json else _table(timing, rows))


def _table(t: Timing, rows: int) -> str:
    lines = [f"{'step':>4} {'us':>9} {'FMA us':>9} {'mem us':>9} {'GFLOP/s':>8}  what"]
    steps = sorted(t.steps, key=lambda s: -s.seconds)[:rows] if rows else t.steps
    for s in steps:
        speed = s.flops / s.seconds / 1e9 if s.seconds else 0.0
        products = f"{s.flops / t.peak_flops * 1e6:9.1f}" if t.peak_flops else " " * 9
        bounds = f"{products} {s.nbytes / t.bandwidth * 1e6:9.1f}"
        lines.append(f"{s.index:4d} {s.seconds * 1e6:9.1f} {bounds} {speed:8.1f}  {s.label}")
    total = sum(s.seconds for s in t.steps)
    lines.append(
        f"one run: median {t.median * 1e3:.3f} ms, fastest {t.fastest * 1e3:.3f} ms, {t.runs} runs, {t.threads} threads"
    )
    peak = f"peak {t.peak_flops / 1e9:.0f} GFLOP/s, " if t.peak_flops else ""
    lines.append(f"sum of steps {total * 1e3:.3f} ms; {peak}{t.bandwidth / 1e9:.0f} GB/s")
    return "\n".join(lines)
