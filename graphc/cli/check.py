"""``graphc check``: is a net ready to be compiled?"""

from __future__ import annotations

import json
import sys

import click

from graphc.cli.options import (
    engine_option,
    init_option,
    input_option,
    json_option,
    net_argument,
    parse_engines,
    parse_inputs,
    target_option,
)
from graphc.readiness import readiness
from graphc.tables import printable


@click.command()
@net_argument
@init_option
@input_option
@target_option
@engine_option
@json_option
def check(
    net: str,
    init_net: str | None,
    inputs: tuple[str, ...],
    target: str,
    engines: tuple[str, ...],
    as_json: bool,
) -> None:
    """Report everything that stands between a net and a plan: operators, arguments, weights, shapes, kernels.

    For a card, also which operators stay on the CPU, with the reason and what would change it, which is no problem.
    With --engine, which ones a library of NVIDIA's does, and why it does not do the others that it is asked for.

    Exit code 0: the net compiles; 1: the report lists problems.

    \b
    graphc check predict_net.pb --init init_net.pb --input data=1,3,224,224
    graphc check predict_net.pb --init init_net.pb --target cuda:sm_90a
    graphc check predict_net.pb --init init_net.pb --target cuda:sm_90a --engine CUDNN
    """
    report = readiness(net, init_net, parse_inputs(inputs), target, parse_engines(engines))
    text = "\n".join(map(printable, str(report).split("\n")))
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else text)
    sys.exit(0 if report.ok else 1)
