"""Compiles a benchmark net with graphc and saves the plan: ``python benchmarks/compile_plan.py MODEL FOLDER``.

Prints seconds and this process's peak memory in MB as JSON; machine code comes from worker processes of its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from machine import peak_memory
from model_files import ModelFiles

start = time.perf_counter()
import graphc  # noqa: E402

imported = time.perf_counter()


def main() -> None:
    """Compile, save, print."""
    files = ModelFiles(sys.argv[1], Path(sys.argv[2]))
    shapes = {"data": np.load(files.input_path).shape}
    before = time.perf_counter()
    plan = graphc.compile(files.predict_net, files.init_net, inputs=shapes)
    compiled = time.perf_counter()
    plan.save(files.plan)
    times = {"import": imported - start, "compile": compiled - before, "save": time.perf_counter() - compiled}
    print(json.dumps({**times, "memory": peak_memory()}))


if __name__ == "__main__":
    main()
