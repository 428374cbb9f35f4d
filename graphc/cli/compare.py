"""``graphc compare``: what two forms of a net compute for the same inputs."""

from __future__ import annotations

import json
import sys

import click

from graphc.cli.options import init_option, json_option, load_arrays
from graphc.comparison import compare
from graphc.comparison_sides import example_inputs, parse_side


@click.command("compare")
@click.argument("a")
@click.argument("b")
@init_option
@click.option("--inputs", type=click.Path(exists=True, dir_okay=False), help="An .npz file with arrays by blob name.")
@click.option("--random", "seed", type=int, is_flag=False, flag_value=0, help="Compare on random inputs [seed].")
@click.option("--blob", "blobs", multiple=True, help="Compare this blob only. Repeatable.")
@click.option("--tolerance", type=click.FloatRange(0), help="Largest error allowed, by the blob's largest magnitude.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes of an output to look at.")
@json_option
def compare_command(
    a: str,
    b: str,
    init_net: str | None,
    inputs: str | None,
    seed: int | None,
    blobs: tuple[str, ...],
    tolerance: float | None,
    top: int,
    as_json: bool,
) -> None:
    """Compute two forms of a net, A and B, on the same inputs, and compare every blob that both have.

    A and B are FILE or FILE@OPTION,...: a plan; a predict net, whose init net is --init or follows a plus sign; or a
    folder with predict_net.pb and init_net.pb. A net's options: reference (NumPy, operator by operator), a target
    (avx512, avx2, portable, cuda:sm_90a ...), O0, O1 or O2, half, bf16 or tf32. Outputs are marked with *. Exit code 0:
    compared; 1: the tolerance is exceeded; 2: bad input.

    \b
    graphc compare net.pb@reference net.pb --init init.pb --inputs in.npz --tolerance 1e-4
    graphc compare net.pb net.pb@bf16 --init init.pb --random --tolerance 0.02
    graphc compare net.pb@cuda:sm_90a net.pb@cuda:sm_90a,tf32 --init init.pb --random
    graphc compare net.pb+init.pb@avx2,O0 plan.pkl --inputs in.npz --json
    graphc compare squeezenet/ int8/ --inputs in.npz
    """
    if (inputs is None) == (seed is None):
        raise click.UsageError("give --inputs FILE.npz or --random")
    arrays = load_arrays(inputs) if inputs else example_inputs(a, init_net, seed or 0)
    left, right = parse_side(a, init_net, arrays), parse_side(b, init_net, arrays)
    found = compare(left, right, arrays, blobs=blobs or None, tolerance=tolerance, top=top)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else str(found))
    sys.exit(0 if found.ok else 1)
