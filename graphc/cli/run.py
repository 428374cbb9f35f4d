"""``graphc run``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from graphc.benchmark import random_inputs
from graphc.cli.options import json_option, load_arrays, plan_argument, threads_option
from graphc.cli.picture_options import picture_options
from graphc.ir import RunError
from graphc.pictures import Preparation, load_pictures
from graphc.plan import Plan, load
from graphc.runtime.atomic import replacing


@click.command()
@plan_argument
@click.argument("pictures", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--inputs", type=click.Path(exists=True, dir_okay=False), help="An .npz file with arrays by blob name.")
@click.option("--outputs", type=click.Path(dir_okay=False), help="The .npz file to write; default: print.")
@click.option("--random", "random_seed", type=int, is_flag=False, flag_value=0, help="Run on random inputs [seed].")
@picture_options
@click.option("--labels", type=click.Path(exists=True, dir_okay=False), help="Names of the classes, one a line.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to print per picture.")
@click.option("--fetch", multiple=True, metavar="BLOB", help="A further blob to return. Repeatable.")
@click.option("--allow-native", is_flag=True, help="Use the machine code in the plan; only for plans that you trust.")
@threads_option
@json_option
def run(
    plan: str,
    pictures: tuple[str, ...],
    inputs: str | None,
    outputs: str | None,
    random_seed: int | None,
    preparation: Preparation,
    labels: str | None,
    top: int,
    fetch: tuple[str, ...],
    allow_native: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run a plan on pictures, on arrays, or on random data.

    \b
    graphc run plan.pkl zebra.jpg --mean 104,117,123 --bgr --size 227 --labels synset_words.txt --top 5
    graphc run plan.pkl --inputs in.npz --outputs out.npz
    graphc run plan.pkl --random
    """
    if sum((bool(pictures), inputs is not None, random_seed is not None)) != 1:
        raise click.UsageError("give pictures, or --inputs FILE.npz, or --random")
    loaded = load(plan, threads, allow_native)
    if pictures:
        how = preparation if preparation.size else replace(preparation, size=_input_size(loaded))
        arrays = {loaded.graph.inputs[0].name: load_pictures(pictures, how)}
    else:
        arrays = load_arrays(inputs) if inputs else random_inputs(loaded, random_seed or 0)
    results = loaded.run(arrays, fetch)
    if outputs:
        _save_arrays(outputs, results)
    elif pictures:
        _print_classes(loaded, pictures, results, _read_labels(labels), top, as_json)
    else:
        _print_summary(results, as_json)


def _input_size(plan: Plan) -> int:
    shape = plan.graph.inputs[0].type.static_shape
    if len(shape) != 4:
        raise RunError(f"the plan's input '{plan.graph.inputs[0].name}' of shape {shape} is no picture", "use --inputs")
    return shape[2]


def _save_arrays(path: str, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz atomically."""
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read_labels(path: str | None) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if path else []


def _print_classes(
    plan: Plan, pictures: tuple[str, ...], results: dict[str, np.ndarray], labels: list[str], top: int, as_json: bool
) -> None:
    rows = results[plan.outputs[0]].reshape(len(pictures), -1)
    best = {path: np.argsort(-row, kind="stable")[:top].tolist() for path, row in zip(pictures, rows)}
    if labels and len(labels) < rows.shape[1]:
        click.echo(f"note: {len(labels)} labels for {rows.shape[1]} classes: the others have numbers only", err=True)
    names = {i: labels[i] if i < len(labels) else f"class {i}" for ranked in best.values() for i in ranked}
    if as_json:
        plain = [
            {"picture": path, "top": [{"class": i, "name": names[i], "score": float(row[i])} for i in best[path]]}
            for path, row in zip(pictures, rows)
        ]
        click.echo(json.dumps(plain, indent=1))
        return
    for path, row in zip(pictures, rows):
        click.echo(path)
        for i in best[path]:
            click.echo(f"  {row[i]:8.4f}  {names[i]}")


def _print_summary(results: dict[str, np.ndarray], as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps({n: {"dtype": str(a.dtype), "shape": a.shape, "data": a.tolist()} for n, a in results.items()})
        )
        return
    for name, a in results.items():
        numbers = a.reshape(-1).astype(np.float64)
        first = ", ".join(f"{x:.6g}" for x in numbers[:4])
        click.echo(f"{name}: {a.dtype}{list(a.shape)} min {numbers.min():.6g} max {numbers.max():.6g} [{first}, ...]")
