"""Memory of nets: ``python benchmarks/memory_nets.py FOLDER... [--onnxruntime PYTHON] [--tvm PYTHON]``.

Prints a table in Markdown, in bytes, for the nets of the folders: those in folders of their own, as
``NAME/predict_net.pb`` with ``init_net.pb`` and ``inputs.npz``, of which the first image is taken, and those of the
benchmark, as ``NAME_predict_net.pb`` with ``NAME_init_net.pb``. No kernel is compiled. With the interpreter of an
environment that has onnxruntime or TVM, what that needs for ``NAME.onnx`` stands beside it.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import graphc
from graphc.compiler import InputSpec
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import Schedule

HERE = Path(__file__).resolve().parent
HEAD = ("net", "operators", "arena", "lower bound", "proved", "without sharing", "share", "order")


def nets(folder: Path) -> Iterator[tuple[str, Path, Path, InputSpec | None]]:
    """Name, predict net, init net and inputs."""
    for path in sorted(folder.glob("*/predict_net.pb")):
        if (path.parent / "inputs.npz").exists():
            yield path.parent.name, path, path.parent / "init_net.pb", dict(np.load(path.parent / "inputs.npz"))
    for path in sorted(folder.glob("*_predict_net.pb")):
        name = path.name.removesuffix("_predict_net.pb")
        yield name, path, folder / f"{name}_init_net.pb", None


def planned(predict: Path, init: Path, inputs: InputSpec | None) -> tuple[int, Schedule]:
    """The number of operators and the schedule, proved, for one image, or for all where the net fixes the batch."""
    first = {n: a[:1] if isinstance(a, np.ndarray) and a.ndim == 4 else a for n, a in (inputs or {}).items()}
    for given in (first, inputs):
        try:
            plan = graphc.compile_graph(graphc.import_model(predict, init, given), prepare=False)
        except graphc.GraphcError:
            if given is inputs:
                raise
            continue
        break
    (schedule,) = plan.schedules
    report = check_memory(schedule)
    if not report.ok:
        raise SystemExit(f"{predict}: {report.violations[0]}")
    return len(plan.graph.nodes), schedule


def row(name: str, operators: int, schedule: Schedule) -> list[str]:
    """One net's figures as text, in the order of ``HEAD``."""
    arena, m = schedule.arena_bytes, schedule.memory
    proved = "equal to the bound" if arena == m.lower_bound else "by search" if m.optimal else "no"
    sizes = (f"{n:,}" for n in (arena, m.lower_bound))
    return [name, str(operators), *sizes, proved, f"{m.unshared:,}", f"{arena / max(1, m.unshared):.0%}", m.order]


def peer(python: str, script: str, model: Path) -> str:
    """What another runtime needs for a net, as text; empty where there is no such file."""
    if not model.exists():
        return ""
    done = subprocess.run([python, str(HERE / script), str(model)], check=True, capture_output=True, text=True)
    found = int(done.stdout.split()[-1])
    return f"{found:,}" if found else "cannot be read"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--onnxruntime", metavar="PYTHON")
    parser.add_argument("--tvm", metavar="PYTHON")
    arguments = parser.parse_args()
    peers = {"onnxruntime": arguments.onnxruntime, "tvm": arguments.tvm}
    asked = {name: python for name, python in peers.items() if python}
    head = [*HEAD, *asked]
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for folder in arguments.folders:
        for name, *files in nets(folder):
            cells = row(name, *planned(*files))
            cells += [peer(python, f"memory_{p}.py", folder / f"{name}.onnx") for p, python in asked.items()]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
