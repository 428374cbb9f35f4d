"""The first result of a new process: ``python first_result.py PLAN INPUT [native]`` loads a plan and runs it once.

Prints seconds and peak memory in MB as JSON.
"""

from __future__ import annotations

import json
import sys
import time

start = time.perf_counter()
import numpy as np  # noqa: E402
from machine import peak_memory  # noqa: E402

import graphc  # noqa: E402

imported = time.perf_counter()


def main() -> None:
    """Load, run, print."""
    plan = graphc.load(sys.argv[1], allow_native="native" in sys.argv[3:])
    loaded = time.perf_counter()
    plan.run({"data": np.load(sys.argv[2])})
    done = time.perf_counter()
    times = {"import": imported - start, "load": loaded - imported, "run": done - loaded, "whole": done - start}
    print(json.dumps({**times, "memory": peak_memory()}))


if __name__ == "__main__":
    main()
