"""``graphc quantize``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from graphc.cli.compile import progress_bars
from graphc.cli.options import (
    init_option,
    input_option,
    json_option,
    net_argument,
    parse_inputs,
    target_option,
    threads_option,
    tune_request,
    tuning_options,
)
from graphc.cli.picture_options import picture_options
from graphc.compiler import tuned_target
from graphc.passes.quantize import RULES
from graphc.pictures import Preparation
from graphc.quantization import quantize
from graphc.quantization.half import half_pair
from graphc.quantization.picture import report_svg
from graphc.quantization.quantized import SAMPLES
from graphc.quantization.report import Report
from graphc.runtime.atomic import replacing


@click.command("quantize")
@net_argument
@init_option
@click.option(
    "--calibrate",
    type=click.Path(exists=True),
    help="Sample inputs: a folder of pictures, an .npz file with arrays by blob name, samples first, or a folder of "
    ".npz files, a batch each. Embedding tables alone need none.",
)
@click.option("--samples", type=click.IntRange(1), default=SAMPLES, show_default=True, help="Samples to use, at most.")
@input_option
@picture_options
@click.option(
    "--ranges",
    type=click.Choice(list(RULES)),
    default="min-max",
    show_default=True,
    help="Rule for the ranges of values.",
)
@click.option(
    "--equalize/--no-equalize", default=None, help="Scale channels between layers before (default: if better)."
)
@click.option("--correct-bias/--no-correct-bias", default=True, help="Let biases keep the means (default: yes).")
@click.option("--refine/--no-refine", default=True, help="Round weights so that errors cancel (default: yes).")
@click.option(
    "--float", "in_float", multiple=True, metavar="BLOB", help="Keep the layer of this result, or this table, in float."
)
@click.option(
    "--embeddings",
    type=click.Choice(["8", "4", "float"]),
    default="8",
    show_default=True,
    help="Bits of embedding tables; rows have scales of their own.",
)
@click.option("--tables-only", is_flag=True, help="Quantise embedding tables and nothing else.")
@click.option(
    "--half", is_flag=True, help="Store large weights in float16 and quantise nothing: the folder's files halve."
)
@click.option("--max-loss", type=float, help="Largest relative error of an output, e.g. 0.05; layers go back to float.")
@click.option("--attribute", is_flag=True, help="Measure what each layer alone adds to the error; takes a while.")
@target_option
@threads_option
@tuning_options
@click.option(
    "-o", "--output", required=True, type=click.Path(), help="A folder for the NetDef pair, or a plan: FILE.pkl."
)
@click.option("--report", type=click.Path(dir_okay=False), help="Write the report: FILE.json, .csv or .svg.")
@json_option
def quantize_command(
    net: str,
    init_net: str | None,
    calibrate: str | None,
    samples: int,
    inputs: tuple[str, ...],
    preparation: Preparation,
    ranges: str,
    equalize: bool | None,
    correct_bias: bool,
    refine: bool,
    in_float: tuple[str, ...],
    embeddings: str,
    tables_only: bool,
    half: bool,
    max_loss: float | None,
    attribute: bool,
    target: str,
    threads: int | None,
    tuning: str | None,
    tune: bool,
    tune_seconds: float | None,
    output: str,
    report: str | None,
    as_json: bool,
) -> None:
    """Turn a float NetDef into an int8 one: a legal Caffe2 pair, or a plan of graphc's own int8 operators.

    The folder gets predict_net.pb, init_net.pb, scales.txt and the report as report.json, .csv and .svg. With
    --max-loss the layers that cost most stay in float until it holds.

    \b
    graphc quantize predict.pb --init init.pb --calibrate images/ --size 227 --mean 104,117,123 --bgr -o int8/
    graphc quantize predict.pb --init init.pb --calibrate samples.npz --max-loss 0.02 -o int8.pkl
    graphc quantize predict.pb --init init.pb --calibrate samples.npz --attribute --report layers.svg -o int8/
    graphc quantize ranking.pb --init init.pb --calibrate batches/ --embeddings 4 -o int8/
    graphc quantize ranking.pb --init init.pb --tables-only -o int8/
    graphc quantize predict.pb --init init.pb --half -o half/
    """
    if report and Path(report).suffix not in _WRITERS:
        raise click.BadParameter(f"'{report}' ends in none of {', '.join(_WRITERS)}", param_hint="--report")
    native, measure = Path(output).suffix == ".pkl", tune_request(tune, tune_seconds)
    if (tune or tuning) and not native:
        raise click.UsageError("--tune and --tuning are for plans: -o FILE.pkl")
    tuned_target(target, tuning, measure)  # says what is wrong before hours of work
    if (native and Path(output).is_dir()) or (not native and Path(output).is_file()):
        raise click.BadParameter(f"'{output}' exists and is of the other kind", param_hint="--output")
    _require_folder(Path(output).parent if native else Path(output), "--output", can_be_made=not native)
    if report:
        _require_folder(Path(report).parent, "--report")
    if half:
        _save_half(net, init_net, calibrate, output, native, as_json)
        return
    with progress_bars() as bars:
        found = quantize(
            net,
            init_net,
            calibrate,
            inputs=parse_inputs(inputs),
            preparation=preparation,
            samples=samples,
            native=native,
            ranges=ranges,
            equalize=equalize,
            correct_bias=correct_bias,
            refine=refine,
            in_float=in_float,
            embeddings=None if embeddings == "float" else int(embeddings),
            tables_only=tables_only,
            max_loss=max_loss,
            attribute=attribute,
            target=target,
            threads=threads,
            progress=bars,
        )
    if native:
        found.compile(target, threads, tuning, measure).save(output)
    else:
        found.save(output)
    if report:
        with replacing(report) as file:
            file.write(_WRITERS[Path(report).suffix](found.report).encode())
    click.echo(found.report.to_json() if as_json else f"{found.report}\n{output}")


def _require_folder(folder: Path, option: str, can_be_made: bool = False) -> None:
    """Say before hours of work, not after, that nothing can be written there."""
    there = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder) if can_be_made else folder
    if not there.is_dir():
        raise click.BadParameter(f"there is no folder '{there}'", param_hint=option)
    if not os.access(there, os.W_OK | os.X_OK):
        raise click.BadParameter(f"the folder '{there}' is not writable", param_hint=option)


def _save_half(net: str, init_net: str | None, calibrate: str | None, output: str, native: bool, as_json: bool) -> None:
    if calibrate:
        raise click.BadParameter("float16 needs no calibration: leave out --calibrate", param_hint="--half")
    if native:
        raise click.BadParameter("a plan in float16 comes from 'graphc compile --half'", param_hint="--output")
    pair = half_pair(net, init_net)
    pair.save(output)
    click.echo(json.dumps({"float16": pair.weights}) if as_json else f"{pair}\n{output}")


_WRITERS = {".json": Report.to_json, ".csv": Report.to_csv, ".svg": report_svg}
