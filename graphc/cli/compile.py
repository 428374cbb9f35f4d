"""``graphc compile``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from graphc.cli.options import (
    init_option,
    input_option,
    level_options,
    net_argument,
    parse_inputs,
    target_option,
    threads_option,
)
from graphc.compiler import Progress as Report
from graphc.compiler import compile as compile_net


@click.command("compile")
@net_argument
@init_option
@input_option
@target_option
@threads_option
@level_options
@click.option("--pipeline", help="Passes instead of a level, e.g. infer_types,canonicalize,fold_constants.")
@click.option("--keep", multiple=True, metavar="BLOB", help="A further blob that the plan returns. Repeatable.")
@click.option("--native", is_flag=True, help="Store machine code in the plan too.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The plan file to write.")
def compile_command(
    net: str,
    init_net: str | None,
    inputs: tuple[str, ...],
    target: str,
    threads: int | None,
    level: int,
    pipeline: str | None,
    keep: tuple[str, ...],
    native: bool,
    output: str,
) -> None:
    """Compile a NetDef (binary or text) to a plan.

    \b
    graphc compile predict_net.pb --init init_net.pb -o plan.pkl
    graphc compile predict_net.pb --init init_net.pb --input data=1,3,227,227 --target avx2 -o plan.pkl
    """
    start = time.perf_counter()
    with _progress() as report:
        plan = compile_net(
            net,
            init_net,
            inputs=parse_inputs(inputs),
            outputs=keep,
            pipeline=pipeline,
            level=level,
            target=target,
            threads=threads,
            progress=report,
        )
    plan.save(output, native=native)
    for note in plan.graph.notes:
        click.echo(f"note: {note}", err=True)
    s = plan.schedule
    weights = sum(c.nbytes for c in s.constants)
    click.echo(
        f"{output}: target {plan.target}, {len(s.steps)} steps, {len(s.kernels)} kernels, "
        f"{weights / 1e6:.1f} MB of weights, {s.arena_bytes / 1e6:.1f} MB of memory, "
        f"{time.perf_counter() - start:.1f} s",
        err=True,
    )


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar on a terminal's standard error, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
