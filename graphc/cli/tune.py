"""``graphc tune``: measure which tiles a card's kernels should have for a net."""

from __future__ import annotations

import click

from graphc.cli.compile import progress_bars
from graphc.cli.options import (
    engine_option,
    init_option,
    input_option,
    json_option,
    level_options,
    net_argument,
    parse_engines,
    parse_inputs,
    parse_precisions,
    pipeline_option,
    precision_flags,
    precision_option,
    seconds_option,
)
from graphc.compiler import compile_graph, import_model
from graphc.runtime.atomic import require_place
from graphc.tuning import tuning_of
from graphc.tuning_file import write_tuning
from graphc.tuning_text import gains


@click.command("tune")
@net_argument
@init_option
@input_option
@click.option("--target", required=True, help="The card: cuda:sm_80, cuda:sm_90a.")
@level_options
@pipeline_option
@precision_flags
@precision_option
@engine_option
@seconds_option
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The table to write, as JSON.")
@json_option
def tune_command(
    net: str,
    init_net: str | None,
    inputs: tuple[str, ...],
    target: str,
    level: int,
    pipeline: str | None,
    precision: str,
    requests: tuple[str, ...],
    engines: tuple[str, ...],
    tune_seconds: float | None,
    output: str,
    as_json: bool,
) -> None:
    """Measure on this machine's card which tiles, stages and parts of sums are fastest for a net's products.

    The table is for "graphc compile --tuning", on any machine. Other options have to be those of that command, since a
    product of another size or precision is another one. What was measured is kept in the kernel cache: a command that
    was ended goes on where it was.

    \b
    graphc tune predict_net.pb --init init_net.pb --half --target cuda:sm_90a -o tuning.json
    graphc compile predict_net.pb --init init_net.pb --half --target cuda:sm_90a --tuning tuning.json -o plan.pkl
    """
    require_place(output)
    with progress_bars() as report:
        plan = compile_graph(
            import_model(net, init_net, parse_inputs(inputs)),
            level=level,
            pipeline=pipeline,
            target=target,
            precision={"*": precision, **parse_precisions(requests)},
            engine=parse_engines(engines),
            tune=True if tune_seconds is None else tune_seconds,
            progress=report,
            prepare=False,
        )
    tuning = tuning_of(plan)
    write_tuning(output, tuning)
    for note in plan.graph.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(str(tuning) if as_json else gains(tuning))
