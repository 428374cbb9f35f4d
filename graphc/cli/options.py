"""Options that several sub-commands share, and their parsing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import wraps
from typing import Any

import click
import numpy as np

from graphc.ir import DType, FileError, TensorType
from graphc.precisions import FLOAT, PRECISIONS

Command = Callable[..., Any]

net_argument = click.argument("net", type=click.Path(exists=True, dir_okay=False))
plan_argument = click.argument("plan", type=click.Path(exists=True, dir_okay=False))
init_option = click.option(
    "--init", "init_net", type=click.Path(exists=True, dir_okay=False), help="The init net, which holds the weights."
)
input_option = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DIMS",
    help="Shape of an input, e.g. data=1,3,227,227 (float) or ids=int64:1,10. Repeat for each input.",
)
target_option = click.option(
    "--target",
    default="native",
    show_default=True,
    help="Instruction set: native, avx512_bf16, avx512_vnni, avx512, avx2, portable; a card: cuda:sm_80, cuda:sm_90a, "
    "with another CPU beside it than this machine's as cuda:sm_90a+avx2.",
)
engine_option = click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="[BLOB=]NAME",
    help="Who computes operators on a card: default (graphc's kernels), CUDNN (NVIDIA's libraries where they can), net "
    "(these where the NetDef names them), auto (where they are faster on this machine's card); with BLOB= for the "
    "operator that computes it alone. Repeatable.",
)
seconds_option = click.option(
    "--tune-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Begin no measurement after so many seconds; a model chooses what is left.",
)
precision_option = click.option(
    "--precision",
    "requests",
    multiple=True,
    metavar="BLOB=KIND",
    help="Precision of the operator that computes a blob: float, float16, bfloat16, or on a card tf32. Repeatable.",
)
pipeline_option = click.option(
    "--pipeline", help="Passes instead of a level, e.g. infer_types,canonicalize,fold_constants."
)
max_memory_option = click.option(
    "--max-memory",
    metavar="BYTES",
    help="The arena has at most so many bytes (suffixes K, M, G); values may be computed twice for it.",
)
threads_option = click.option("--threads", type=click.IntRange(1, 512), help="Threads of a run (default: all cores).")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def level_options(command: Command) -> Command:
    """``-O0``, ``-O1``, ``-O2``."""
    text = {0: "Run every operator as it is.", 1: "Fold and fuse.", 2: "And choose layouts (default)."}
    for level in (2, 1, 0):
        command = click.option(
            f"-O{level}", "level", flag_value=level, type=int, default=2 if level == 2 else None, help=text[level]
        )(command)
    return command


def precision_flags(command: Command) -> Command:
    """``--half``, ``--bf16``, ``--tf32``, of which one is the command's ``precision``; float32 without them."""
    texts = {
        "tf32": "Convolutions and products multiply float32 rounded to TF32 on a card's tensor cores.",
        "bf16": "Weights and activations in bfloat16, sums in float32.",
        "half": "Weights and activations in float16, sums in float32.",
    }

    @wraps(command)
    def with_precision(**given: Any) -> Any:
        flags = [flag for flag in texts if given.pop(flag)]
        if len(flags) > 1:
            named = " and ".join(f"--{flag}" for flag in flags)
            raise click.UsageError(f"{named} are different precisions: give one of them")
        return command(precision=PRECISIONS[flags[0]] if flags else FLOAT, **given)

    wrapped: Command = with_precision
    for flag, text in texts.items():
        wrapped = click.option(f"--{flag}", is_flag=True, help=text)(wrapped)
    return wrapped


def tuning_options(command: Command) -> Command:
    """``--tuning``, ``--tune`` and ``--tune-seconds``, of compilation for a card."""
    given = click.option(
        "--tuning",
        type=click.Path(exists=True, dir_okay=False),
        help="Tiles of a card's kernels as 'graphc tune' measured them, instead of those that a model says.",
    )
    asked = click.option(
        "--tune", is_flag=True, help="Measure tiles on this machine's card; what it has measured before counts."
    )
    return given(asked(seconds_option(command)))


def tune_request(tune: bool, seconds: float | None) -> bool | float:
    """What ``compile`` takes as ``tune``; raises ``click.UsageError`` for a time without ``--tune``."""
    if seconds is None:
        return tune
    if not tune:
        raise click.UsageError("--tune-seconds is for --tune")
    return seconds


def parse_precisions(requests: Sequence[str]) -> dict[str, str]:
    """``BLOB=KIND`` texts by blob."""
    found = {}
    for request in requests:
        name, _, kind = request.rpartition("=")
        if not name:
            raise click.BadParameter(f"'{request}' is not BLOB=KIND, e.g. conv1=float", param_hint="--precision")
        found[name] = kind
    return found


def parse_engines(requests: Sequence[str]) -> dict[str, str]:
    """``NAME`` under ``*``, ``BLOB=NAME`` by blob."""
    pairs = [request.rpartition("=") for request in requests]
    return {name if equals else "*": engine for name, equals, engine in pairs}


def parse_inputs(specs: Sequence[str]) -> dict[str, TensorType]:
    """Types by blob name from ``NAME=[DTYPE:]D,D,...``; raises ``click.BadParameter``."""
    types = {}
    for spec in specs:
        m = re.fullmatch(r"(.+)=(?:(\w+):)?(\d+(?:[,x]\d+)*)", spec)
        if not m:
            raise click.BadParameter(f"'{spec}' is not NAME=DIMS, e.g. data=1,3,227,227", param_hint="--input")
        if m.group(2) and m.group(2).upper() not in DType.__members__:
            raise click.BadParameter(f"'{m.group(2)}' is no element type", param_hint="--input")
        dtype = DType.parse(m.group(2)) if m.group(2) else DType.FLOAT
        types[m.group(1)] = TensorType(dtype, tuple(int(d) for d in re.split("[,x]", m.group(3))))
    return types


def parse_numbers(context: Any, parameter: Any, text: str | None) -> tuple[float, ...]:
    """Numbers from ``a,b,...``, fractions among them; a click callback, raises ``click.BadParameter``."""
    try:
        return tuple(float(Fraction(t)) for t in text.split(",")) if text is not None else ()
    except (ValueError, ZeroDivisionError, OverflowError):
        raise click.BadParameter(f"'{text}' is not a list of numbers such as 104,117,123 or 1/255") from None


def load_arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name; raises ``FileError``."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise FileError(f"{path} is not an .npz file with plain arrays: {error}", "write it with numpy.savez") from None
