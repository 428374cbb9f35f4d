"""``graphc allocate``: offsets for buffers that a CSV file lists."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import click

from graphc.allocation_file import read_problem, write_offsets
from graphc.cli.options import json_option
from graphc.passes.memory.allocate import allocate
from graphc.passes.memory.allocation import Allocation

NODES = 10**12
"""More than any budget lasts for: here the clock ends a search."""

RESERVE = 1.25
"""Seconds of the budget that are left for starting Python, for writing the answer and for ending."""

LEAST = 0.1
"""Seconds for a greedy answer, where the budget is shorter than the start."""


@click.command("allocate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--capacity", type=click.IntRange(0), help="Bytes to stay within. Default: N of a file name X.N.csv.")
@click.option(
    "--budget", type=click.FloatRange(0, 1e6), default=30.0, show_default=True, help="Seconds for all, start included."
)
@click.option(
    "--alignment", type=click.IntRange(1, 2**30), default=1, show_default=True, help="Offsets are multiples of this."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the rows with a column 'offset' here.")
@json_option
def allocate_command(
    file: str, capacity: int | None, budget: float, alignment: int, output: str | None, as_json: bool
) -> None:
    """Place the buffers of FILE in one arena, as low as possible.

    FILE has a row for each buffer, with the columns id, lower, upper (exclusive) and size. The search ends at a proven
    optimum, at the budget, or a while after it met the capacity. Exit code 1: the capacity is not met.

    \b
    graphc allocate net.1048576.csv
    graphc allocate net.csv --capacity 1048576 --budget 60 -o placed.csv
    """
    start = time.monotonic()
    if math.isnan(budget):
        raise click.BadParameter("nan is no number of seconds", param_hint="'--budget'")
    problem = read_problem(file)
    wanted = problem.capacity if capacity is None else capacity
    found = allocate(
        problem.lifetimes,
        alignment=alignment,
        capacity=wanted,
        nodes=NODES,
        seconds=max(start + budget - RESERVE - time.monotonic(), LEAST),
        report=_report if sys.stderr.isatty() else None,
    )
    if output:
        write_offsets(output, problem, found.offsets)
    facts = _facts(file, len(problem.rows), wanted, found, time.monotonic() - start)
    click.echo(json.dumps(facts, indent=1) if as_json else _sentence(facts))
    sys.exit(0 if wanted is None or found.height <= wanted else 1)


def _report(height: int, bound: int) -> None:
    click.echo(f"height {height}, lower bound {bound}", err=True)


def _facts(file: str, buffers: int, wanted: int | None, found: Allocation, seconds: float) -> dict[str, Any]:
    return {
        "file": file,
        "buffers": buffers,
        "capacity": wanted,
        "met": wanted is None or found.height <= wanted,
        "height": found.height,
        "lower_bound": found.lower_bound,
        "optimal": found.optimal,
        "method": found.method,
        "nodes": found.nodes,
        "seconds": round(seconds, 3),
    }


def _sentence(facts: dict[str, Any]) -> str:
    height, bound = facts["height"], facts["lower_bound"]
    proof = "proven optimal" if facts["optimal"] else f"not proven optimal, gap {(height - bound) / bound:.2%}"
    limit = ""
    if facts["capacity"] is not None:
        limit = f"; capacity {facts['capacity']}: {'met' if facts['met'] else 'NOT met'}"
    return f"{facts['file']}: {facts['buffers']} buffers, height {height}, lower bound {bound}, {proof}{limit}; " + (
        f"{facts['method']}, {facts['seconds']:.2f} s"
    )
