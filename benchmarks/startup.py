"""What graphc costs besides its kernels: compiling, starting and calling.

    python benchmarks/startup.py [--tries 5] [--json FILE]

Measures SqueezeNet 1.1 compiled from nothing (an empty kernel cache) and with all kernels in the cache; its first
result in a new process from a saved plan, without and with machine code in it; and the part of an MLP's call that is
not its kernels. Figures are medians of the tries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from machine import processor
from model_files import FOLDER, HERE, ModelFiles, ensure

import graphc
from graphc.frontends.netdef.net import Net, Operator
from graphc.frontends.netdef.writer import write_net

MODEL, SMALL = "squeezenet1_1", "mlp"
CALLS = 1000

Figures = dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the models' files are kept")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    options = parser.parse_args()
    print(processor(), flush=True)
    results = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, measure in _measurements(options.folder, Path(cache), options.tries):
            results[name] = figures = measure()
            print(f"{name:48}" + ", ".join(f"{key} {value:.3g}" for key, value in figures.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _measurements(folder: Path, cache: Path, tries: int) -> list[tuple[str, Callable[[], Figures]]]:
    """What is measured, in order: each needs what those before it left in the kernel cache and the folder."""
    files, small = ensure(MODEL, ["caffe2"], folder), ensure(SMALL, ["caffe2"], folder)
    filled, native = cache / "0", files.path(".native.plan.pkl")
    compile: list[Path | str] = [HERE / "compile_plan.py", files.name, files.folder]
    first: list[Path | str] = [HERE / "first_result.py", files.plan, files.input_path]
    with_code: list[Path | str] = [HERE / "first_result.py", native, files.input_path, "native"]

    def first_with_code() -> Figures:
        plan = graphc.load(files.plan)
        plan.prepare()
        plan.save(native, native=True)
        return _median(lambda i: _run(with_code, cache / "unused"), tries)

    return [
        ("compile, empty kernel cache (s, MB)", lambda: _median(lambda i: _run(compile, cache / str(i)), tries)),
        ("compile, kernels in the cache (s, MB)", lambda: _median(lambda i: _run(compile, filled), tries)),
        ("first result, kernels in the cache (s, MB)", lambda: _median(lambda i: _run(first, filled), tries)),
        ("first result, machine code in the plan (s, MB)", first_with_code),
        ("MLP called, 1 thread (us)", lambda: _calling(small)),
    ]


def _run(command: Sequence[Path | str], cache: Path) -> Figures:
    """The figures that a script prints, and ``process``: seconds from before its start to after its end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"GRAPHC_CACHE_DIR": str(cache)},
    )
    return {**json.loads(done.stdout), "process": time.perf_counter() - start}


def _median(measure: Callable[[int], Figures], tries: int) -> Figures:
    samples = [measure(i) for i in range(tries)]
    return {key: median(s[key] for s in samples) for key in samples[0]}


def _calling(files: ModelFiles) -> Figures:
    """Microseconds of ``run``, of the kernels, and of the difference, with one thread.

    A step by itself is called from Python; what that costs is the time of a step that does almost nothing, and is
    taken off. Runs and steps take turns, so that both see the same machine.
    """
    data = np.load(files.input_path)
    plan = graphc.compile(files.predict_net, files.init_net, inputs={"data": data.shape}, threads=1)
    tiny = _tiny_plan()  # machine code lives as long as its plan
    executor, nothing = plan.executor(), tiny.executor()
    number = np.zeros((1, 1), np.float32)
    # a step reads and writes the arrays of the run before it, so these must live
    kept = executor.run([data]), nothing.run([number])
    steps = range(executor.n_steps)
    runs, kernels = [], []
    for _ in range(CALLS):
        runs.append(_microseconds(lambda: plan.run({"data": data})))
        empty = _microseconds(lambda: nothing.run_step(0))
        kernels.append(sum(_microseconds(lambda i=i: executor.run_step(i)) - empty for i in steps))  # type: ignore[misc]
    del kept
    return {"run": median(runs), "kernels": median(kernels), "overhead": median(runs) - median(kernels)}


def _tiny_plan() -> graphc.Plan:
    """One ReLU of one number."""
    net = Net("tiny", [Operator("Relu", ["x"], ["y"])], ["x"], ["y"])
    return graphc.compile(write_net(net), inputs={"x": (1, 1)}, threads=1)


def _microseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e6


if __name__ == "__main__":
    main()
