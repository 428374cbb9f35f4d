"""Look-ups in one table of float32, float16, 8-bit and 4-bit rows, in one process, call by call in turn.

    python benchmarks/embeddings.py [--rows 1000000] [--columns 64] [--threads 1] [--seconds 2.0]

100,000 look-ups of random rows, 100 to a segment, other rows in each of 16 calls: what one call reads, no cache holds
until it is read again. Times are lower quartiles; ``ratio`` is to that of float rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import cycle
from statistics import quantiles

import numpy as np

from graphc.frontends.netdef import Operator
from graphc.operators import compile_operator, operator_graph
from graphc.passes.quantize.fused_rows import packed

LOOKUPS, SEGMENT, SETS = 100_000, 100, 16
Call = Callable[[], object]
GATHERS = {32: "Gather", 8: "GatherFused8BitRowwise"}


def operator(op: str, table: np.ndarray, indices: list[np.ndarray], rest: list[np.ndarray], threads: int) -> Call:
    """A call of one operator, compiled, on a table and the next of several arrays of indices."""
    names = [f"x{i}" for i in range(2 + len(rest))]
    plan = compile_operator(operator_graph(Operator(op, names, ["y"], {}), [table, indices[0], *rest]), threads=threads)
    plan.prepare()
    turns = cycle([dict(zip(names, [table, own, *rest])) for own in indices])
    return lambda: plan.run(next(turns))


def cases(rows: int, columns: int, threads: int) -> dict[tuple[str, int], Call]:
    """The calls by kind of operator and bits."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((rows, columns), np.float32)
    tables = {32: table, 16: table.astype(np.float16), 8: packed(table, 8), 4: packed(table, 4)}
    indices = [rng.integers(0, rows, LOOKUPS) for _ in range(SETS)]
    lengths = np.full(LOOKUPS // SEGMENT, SEGMENT, np.int32)
    made = {}
    for bits, data in tables.items():
        name = "SparseLengthsSum" + (f"Fused{bits}BitRowwise" if bits < 16 else "")
        made["SparseLengthsSum", bits] = operator(name, data, indices, [lengths], threads)
        if bits in GATHERS:
            made["Gather", bits] = operator(GATHERS[bits], data, indices, [], threads)
    return made


def times(calls: list[Call], seconds: float) -> list[float]:
    """Lower quartiles of the calls' milliseconds, which take turns for ``seconds`` in all."""
    taken: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[0]) < 4:
        for call, own in zip(calls, taken):
            start = time.perf_counter()
            call()
            own.append(1e3 * (time.perf_counter() - start))
    return [quantiles(own, n=4)[0] for own in taken]


def main() -> None:
    """Print a line for each operator and number of bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    calls = cases(given.rows, given.columns, given.threads)
    found = dict(zip(calls, times(list(calls.values()), given.seconds)))
    for (kind, bits), taken in sorted(found.items(), key=lambda item: (item[0][0], -item[0][1])):
        print(f"{kind:20} {bits:2} bits  {taken:8.3f} ms  ratio {taken / found[kind, 32]:.2f}")


if __name__ == "__main__":
    main()
