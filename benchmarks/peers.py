"""graphc and other CPU runtimes side by side on the same nets and weights.

One process per runtime, alive all the time, timed turn by turn (A B C A B C ...); docs/benchmarks.md tells the method.

    python benchmarks/peers.py --models resnet50,mlp --threads 1,2 --rounds 7 --json results.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from machine import processor
from model_files import FOLDER, HERE, ModelFiles, ensure
from nets import NETS
from report import Case, Measured, summary, table
from runtimes import DEFAULT, RUNTIMES
from turns import Effort, RuntimeFailed, Worker

from graphc.backends.cpu import peak
from graphc.backends.cpu.target import native

PACKAGES = ("graphc", "onnxruntime", "openvino", "ncnn", "torch")
PEAK_TRIES = 5


def names(known: Sequence[str]) -> type[list[str]]:
    """A converter of comma-separated names for argparse."""

    def convert(text: str) -> list[str]:
        names = list(known) if text == "all" else text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
        return names

    return convert  # type: ignore[return-value]


def numbers(text: str) -> list[int]:
    """A converter of comma-separated numbers for argparse."""
    return [int(n) for n in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", type=names(list(NETS)), default=list(NETS), help="all, or some of " + ",".join(NETS)
    )
    parser.add_argument("--runtimes", type=names(list(RUNTIMES)), default=list(DEFAULT), help=",".join(RUNTIMES))
    parser.add_argument("--threads", type=numbers, default=[1], help="one number or more: 1,2")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each runtime")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn")
    parser.add_argument("--repeats", type=int, default=3, help="attempts more for a turn that others disturbed")
    parser.add_argument("--quiet", type=float, default=0.1, help="cores that others may use in an undisturbed turn")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the models' files are kept")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    return parser.parse_args()


def main() -> None:
    """Measure every net at every thread count; print each table when it is there, the summary at the end."""
    options = _options()
    effort = Effort(options.seconds, options.repeats, options.quiet)
    print(f"{processor()}; {', '.join(_versions())}", flush=True)
    cases = []
    for model in options.models:
        formats = dict.fromkeys(f for r in options.runtimes for f in RUNTIMES[r].formats)
        files = ensure(model, ["reference", *formats], options.folder)
        compiling = compile_net(files) if "graphc" in options.runtimes else {}
        for threads in options.threads:
            case = measure_case(files, options.runtimes, threads, options.rounds, effort)
            cases.append(replace(case, compiling=compiling))
            print(table(cases[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(c) for c in cases], indent=1) + "\n")
    print(summary(cases))


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def compile_net(files: ModelFiles) -> dict[str, float]:
    """A new plan by the compiler of now, and what making it took; the program ends where graphc fails."""
    command = [sys.executable, str(HERE / "compile_plan.py"), files.name, str(files.folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"graphc does not compile {files.name}; --models and --runtimes leave nets and runtimes out")
    return dict(json.loads(done.stdout))


def _peak(threads: int) -> float:
    """FLOP/s of the cores used: the best of some measurements."""
    best = 0.0
    for _ in range(PEAK_TRIES):
        peak.measure.cache_clear()
        best = max(best, peak.measure(native().name, threads)[0])
    return best


def measure_case(files: ModelFiles, runtimes: Sequence[str], threads: int, rounds: int, effort: Effort) -> Case:
    """Load every runtime, take the turns, and stop them all."""
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        workers = []
        for name in runtimes:
            try:
                workers.append(stack.enter_context(Worker(name, files, threads)))
            except RuntimeFailed as error:
                failed[name] = str(error)
        for _ in range(rounds):
            for worker in workers:
                worker.take_turn(effort)
        measured = {w.runtime: Measured(tuple(w.turns), w.loading) for w in workers}
        macs = int(files.macs_path.read_text())
        return Case(files.name, threads, macs, _peak(threads), effort.quiet, measured, failed)


if __name__ == "__main__":
    main()
