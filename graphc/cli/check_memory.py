"""``graphc check-memory``: is the memory of a plan sound?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click
import numpy as np

from graphc.benchmark import random_inputs
from graphc.cli.options import input_option, json_option, load_arrays, parse_inputs, plan_argument
from graphc.memory import PlanMemory, PoisonResult, plan_memory, poison_plan
from graphc.memory_text import memory_lines, poison_lines
from graphc.plan import Plan, load
from graphc.tables import printable

THREADS = (1, 2)


@click.command("check-memory")
@plan_argument
@click.option("--run", is_flag=True, help="Run first, so that segments are proved whose sizes depend on data.")
@click.option("--poison", is_flag=True, help="Run in memory whose dead bytes hold patterns; outputs must not change.")
@click.option("--inputs", "file", type=click.Path(exists=True, dir_okay=False), help="An .npz file to run on.")
@input_option
@click.option("--fetch", multiple=True, metavar="BLOB", help="A blob to keep to the end of the run. Repeatable.")
@click.option("--threads", multiple=True, type=click.IntRange(1, 512), help="Of poisoned runs (default: 1 and 2).")
@json_option
def check_memory_command(
    plan: str,
    run: bool,
    poison: bool,
    file: str | None,
    inputs: tuple[str, ...],
    fetch: tuple[str, ...],
    threads: tuple[int, ...],
    as_json: bool,
) -> None:
    """Prove that no two values of a plan that live at one time share memory, and that nothing reads what is gone.

    The proof reads the plan, also for the sizes of --input, and runs nothing. --run and --poison run it on random
    inputs of these sizes, or on those of --inputs. Exit code 0: the memory is sound; 1: it is not; 2: bad input.

    \b
    graphc check-memory plan.pkl --input data=4,3,224,224
    graphc check-memory plan.pkl --poison --input data=4,3,224,224
    """
    if not (run or poison) and (file or fetch):
        raise click.UsageError("--inputs and --fetch are for a run: give --run or --poison, too")
    loaded = load(plan, max(threads or THREADS))
    memory, poisoned = plan_memory(loaded), list[PoisonResult]()
    if memory.ok and inputs and not (run or poison):
        loaded.bind(parse_inputs(inputs))
        memory = plan_memory(loaded)
    if memory.ok and (run or poison):
        arrays = _arrays(loaded, file, inputs)
        loaded.run(arrays, fetch)
        memory = plan_memory(loaded)
        if poison and memory.ok:
            poisoned = poison_plan(loaded, arrays, threads or THREADS, fetch)
    lines = map(printable, [*memory_lines(memory), *poison_lines(poisoned)])
    click.echo(_json(memory, poisoned) if as_json else "\n".join(lines))
    sys.exit(0 if memory.ok and not any(r.findings for r in poisoned) else 1)


def _arrays(plan: Plan, file: str | None, inputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    if file:
        return load_arrays(file)
    return random_inputs(plan, 0, parse_inputs(inputs))


def _json(memory: PlanMemory, poisoned: Sequence[PoisonResult]) -> str:
    plain = {
        "ok": memory.ok and not any(r.findings for r in poisoned),
        "schedules": [s.to_dict() for s in memory.schedules],
        "unbound": memory.unbound,
        "python": memory.python,
        "poison": [asdict(r) for r in poisoned],
    }
    return json.dumps(plain, indent=1)
