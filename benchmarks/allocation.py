"""Memory allocation by itself: hard instances and planning times, as the tables of docs/memory.md.

    python benchmarks/allocation.py [--seconds 30] [FILE.csv ...]

Files are allocation problems as ``graphc allocate`` reads them; without any, those of ../shared/allocation. Beside
them: rectangles that are cut into pieces at random, which have a solution without a gap, and lifetimes of random
series-parallel and densely connected graphs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from graphc.allocation_file import read_problem
from graphc.passes.memory.allocate import allocate
from graphc.passes.memory.allocation import Allocation, Lifetime

SHARED = Path(__file__).resolve().parents[2] / "shared" / "allocation"
CAPACITY = 2**20
PIECES = (100, 200, 300, 450)
OPERATORS = (100, 1000, 10_000)
ALL = 10**12
HEAD = "| {} | buffers | height | lower bound | proven optimal | nodes | seconds |\n|---|--:|--:|--:|---|--:|--:|"


def cut_rectangle(pieces: int, seed: int) -> list[Lifetime]:
    """A rectangle of ``CAPACITY`` bytes by half as many steps as pieces, cut again and again across a random piece."""
    random = np.random.default_rng(seed)
    found = [(0, pieces // 2, 0, CAPACITY // 1024)]
    while len(found) < pieces:
        areas = np.array([(b - a) * (top - low) for a, b, low, top in found], float)
        a, b, low, top = found.pop(int(random.choice(len(found), p=areas / areas.sum())))
        if random.random() < 0.5 and b - a > 1:
            at = int(random.integers(a + 1, b))
            found += [(a, at, low, top), (at, b, low, top)]
        elif top - low > 1:
            at = int(random.integers(low + 1, top))
            found += [(a, b, low, at), (a, b, at, top)]
        else:
            found.append((a, b, low, top))
    return [Lifetime((top - low) * 1024, a, b - 1) for a, b, low, top in found]


def series_parallel(operators: int, seed: int) -> list[Lifetime]:
    """Outputs of operators in a random series-parallel graph: chains and branches that meet again."""
    random = np.random.default_rng(seed)
    sizes: list[int] = []
    last: list[int] = []

    def operator(inputs: Sequence[int]) -> int:
        for i in inputs:
            last[i] = len(sizes)
        last.append(len(sizes))
        sizes.append(int(2 ** random.uniform(10, 22)))
        return len(sizes) - 1

    def block(source: int, budget: int) -> int:
        if budget <= 2:
            return operator([source])
        if random.random() < 0.5:
            return block(block(source, budget // 2), budget - budget // 2)
        branches = int(random.integers(2, 5))
        return operator([block(source, budget // branches) for _ in range(branches)])

    end = operator([])
    while len(sizes) < operators:
        end = block(end, min(64, operators - len(sizes)))
    return [Lifetime(size, k, end) for k, (size, end) in enumerate(zip(sizes, last))]


def dense(operators: int, seed: int) -> list[Lifetime]:
    """Outputs of operators in blocks of 32, each of which reads all before it in its block."""
    random = np.random.default_rng(seed)
    return [Lifetime(int(2 ** random.uniform(10, 22)), k, min((k // 32 + 1) * 32, operators)) for k in range(operators)]


def row(name: str, found: Allocation, buffers: int, seconds: float) -> str:
    """A line of the table."""
    proven = "yes" if found.optimal else f"no, gap {found.gap:.1%}"
    return f"| {name} | {buffers} | {found.height} | {found.lower_bound} | {proven} | {found.nodes} | {seconds:.2f} |"


def timed(lifetimes: Sequence[Lifetime], **options: float | None) -> tuple[Allocation, float]:
    """An allocation and the seconds it took."""
    start = time.perf_counter()
    found = allocate(lifetimes, **options)  # type: ignore[arg-type]
    return found, time.perf_counter() - start


def instances(files: Sequence[str]) -> Iterator[tuple[str, Sequence[Lifetime], int | None]]:
    """Names, buffers and capacities: the files, then the cut rectangles."""
    for path in map(Path, files or sorted(map(str, SHARED.glob("*.csv")))):
        problem = read_problem(path)
        yield path.name, problem.lifetimes, problem.capacity
    for pieces in PIECES:
        for seed in (1, 2):
            yield f"cut into {pieces}, seed {seed}", cut_rectangle(pieces, seed), CAPACITY


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each instance")
    arguments = parser.parse_args()
    print(HEAD.format("instance"))
    for name, lifetimes, capacity in instances(arguments.files):
        found, seconds = timed(lifetimes, alignment=1, capacity=capacity, nodes=ALL, seconds=arguments.seconds)
        print(row(name, found, len(lifetimes), seconds), flush=True)
    print("\n" + HEAD.format("graph"))
    for operators in OPERATORS:
        for make in (series_parallel, dense):
            for seed in (1, 2):
                lifetimes = make(operators, seed)
                found, seconds = timed(lifetimes, nodes=20_000)
                print(row(f"{make.__name__}, seed {seed}", found, len(lifetimes), seconds), flush=True)


if __name__ == "__main__":
    main()
