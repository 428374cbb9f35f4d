"""One runtime with one net, alive between its turns: reads commands from standard input, answers in lines of JSON.

``peers.py`` starts it: ``python worker.py RUNTIME MODEL FOLDER THREADS``. Its first line tells how loading went, then
``WARM SECONDS`` on a line asks for a turn.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np
from machine import peak_memory
from model_files import ModelFiles, read_reference
from runtimes import RUNTIMES, Run

FEWEST_CALLS = 5

Inputs = dict[str, np.ndarray]


def main() -> None:
    """Load, answer, and then serve turns until standard input ends."""
    answers = _own_standard_output()
    runtime, model, folder, threads = sys.argv[1:]
    files = ModelFiles(model, Path(folder))
    inputs = {"data": np.load(files.input_path)}
    run, report = _load(runtime, files, int(threads), inputs)
    print(json.dumps(report), file=answers, flush=True)
    for line in sys.stdin:
        warm, seconds = map(float, line.split())
        _sample(run, inputs, warm, 1)
        samples = _sample(run, inputs, seconds, FEWEST_CALLS)
        turn = {"median": float(np.median(samples)), "fastest": min(samples), "calls": len(samples)}
        print(json.dumps(turn), file=answers, flush=True)


def _own_standard_output() -> TextIO:
    """The standard output for answers alone: what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _load(name: str, files: ModelFiles, threads: int, inputs: Inputs) -> tuple[Run, dict[str, float]]:
    """The runtime, warmed up, and what loading it took; memory is read before anything else is loaded."""
    runtime = RUNTIMES[name]
    before, start = peak_memory(), time.perf_counter()
    module = importlib.import_module(f"runtimes.{runtime.module}")
    imported = time.perf_counter()
    run: Run = module.load(files, threads, **runtime.options)
    loaded = time.perf_counter()
    output = np.array(run(inputs)[0])
    first = time.perf_counter()
    _sample(run, inputs, 0, FEWEST_CALLS)
    memory = peak_memory()
    times = {"import": imported - start, "load": loaded - imported, "first": first - loaded}
    return run, {**times, "memory": memory, "memory_before": before, "error": _error(output, files)}


def _error(output: np.ndarray, files: ModelFiles) -> float:
    """Largest difference from the reference, relative to the reference's largest value."""
    reference = read_reference(files)
    difference = output.astype(np.float64).reshape(reference.shape) - reference
    return float(np.abs(difference).max() / np.abs(reference).max())


def _sample(run: Run, inputs: Inputs, seconds: float, fewest: int) -> list[float]:
    """Durations of calls for some seconds, in seconds."""
    clock = time.perf_counter
    samples: list[float] = []
    end = clock() + seconds
    while len(samples) < fewest or clock() < end:
        start = clock()
        run(inputs)
        samples.append(clock() - start)
    return samples


if __name__ == "__main__":
    main()
