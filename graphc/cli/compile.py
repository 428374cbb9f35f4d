"""``graphc compile``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from graphc.backends.cuda.target import is_cuda
from graphc.cli.options import (
    engine_option,
    init_option,
    input_option,
    json_option,
    level_options,
    max_memory_option,
    net_argument,
    parse_engines,
    parse_inputs,
    parse_precisions,
    pipeline_option,
    precision_flags,
    precision_option,
    target_option,
    threads_option,
    tune_request,
    tuning_options,
)
from graphc.compiler import Progress as Report
from graphc.compiler import compile as compile_net
from graphc.plan import Plan
from graphc.runtime.atomic import require_place


@click.command("compile")
@net_argument
@init_option
@input_option
@target_option
@threads_option
@level_options
@pipeline_option
@precision_flags
@precision_option
@engine_option
@tuning_options
@click.option("--keep", multiple=True, metavar="BLOB", help="A further blob that the plan returns. Repeatable.")
@click.option("--native", is_flag=True, help="Store machine code in the plan too.")
@max_memory_option
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The plan file to write.")
@json_option
def compile_command(
    net: str,
    init_net: str | None,
    inputs: tuple[str, ...],
    target: str,
    threads: int | None,
    level: int,
    pipeline: str | None,
    precision: str,
    requests: tuple[str, ...],
    engines: tuple[str, ...],
    tuning: str | None,
    tune: bool,
    tune_seconds: float | None,
    keep: tuple[str, ...],
    native: bool,
    max_memory: str | None,
    output: str,
    as_json: bool,
) -> None:
    """Compile a NetDef (binary or text) to a plan.

    \b
    graphc compile predict_net.pb --init init_net.pb -o plan.pkl
    graphc compile predict_net.pb --init init_net.pb --input data=1,3,227,227 --target avx2 -o plan.pkl
    graphc compile predict_net.pb --init init_net.pb --bf16 --precision conv1=float -o plan.pkl
    graphc compile predict_net.pb --init init_net.pb --half --target cuda:sm_90a --tune -o plan.pkl
    graphc compile predict_net.pb --init init_net.pb --tf32 --precision conv2=float --target cuda:sm_90a -o plan.pkl
    """
    measure = tune_request(tune, tune_seconds)
    require_place(output)
    start = time.perf_counter()
    with progress_bars() as report:
        plan = compile_net(
            net,
            init_net,
            inputs=parse_inputs(inputs),
            outputs=keep,
            pipeline=pipeline,
            level=level,
            target=target,
            threads=threads,
            max_memory=max_memory,
            precision={"*": precision, **parse_precisions(requests)},
            engine=parse_engines(engines),
            tuning=tuning,
            tune=measure,
            progress=report,
        )
    plan.save(output, native=native)
    facts = _facts(plan, output, time.perf_counter() - start)
    click.echo(json.dumps(facts, indent=1) if as_json else _sentence(facts), err=not as_json)


def _facts(plan: Plan, output: str, seconds: float) -> dict[str, Any]:
    schedules = plan.schedules
    return {
        "plan": output,
        "target": plan.target,
        "threads": plan.threads,
        "inputs": plan.inputs,
        "outputs": plan.outputs,
        "segments": len(plan.segments),
        "on_cpu": sum(len(part.graph.nodes) for part in plan.cut.parts if part.beside or part.host),
        "steps": sum(len(s.steps) for s in schedules),
        "kernels": len(plan.kernels),
        "weight_bytes": sum(a.nbytes for a in plan.weights),
        "arena_bytes": sum(s.arena_bytes for s in schedules),
        "arena_lower_bound": sum(s.memory.lower_bound for s in schedules),
        "recomputed": [name for s in schedules for name in s.memory.recomputed],
        "recomputed_flops": sum(s.memory.recomputed_flops for s in schedules),
        "recomputed_bytes": sum(s.memory.recomputed_bytes for s in schedules),
        "seconds": round(seconds, 3),
        "notes": plan.graph.notes,
    }


def _sentence(facts: dict[str, Any]) -> str:
    notes = "".join(f"note: {n}\n" for n in facts["notes"])
    if facts["recomputed"]:
        notes += (
            f"note: values computed twice to save memory: {len(facts['recomputed'])}, for "
            f"{facts['recomputed_flops'] / 1e9:.3g} GFLOP and {facts['recomputed_bytes'] / 1e6:.3g} MB more\n"
        )
    if is_cuda(facts["target"]) and facts["on_cpu"]:
        notes += f"note: operators on the CPU: {facts['on_cpu']}; graphc check says which and why\n"
    return (
        f"{notes}{facts['plan']}: target {facts['target']}, {facts['steps']} steps, {facts['kernels']} kernels, "
        f"{facts['weight_bytes'] / 1e6:.1f} MB of weights, {facts['arena_bytes'] / 1e6:.1f} MB of memory, "
        f"{facts['seconds']:.1f} s"
    )


@contextmanager
def progress_bars() -> Iterator[Report]:
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
