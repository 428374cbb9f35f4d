"""A ranking net quantised: bytes of its weights, error of its answers on batches kept aside, time beside the float net.

    python benchmarks/ranking.py [--rows 100000] [--columns 64] [--threads 1] [--seconds 4.0]

Four tables of seeded normal numbers whose rows differ in size, of each of which a sample reads 50 rows on average; FC
layers of 256 and 64 for 64 dense inputs; products of all pairs by BatchMatMul; FC layers of 256 and 1; Sigmoid.
Batches of 256, 16 to calibrate and 16 others to test. Plans take turns; times are lower quartiles.
"""

from __future__ import annotations

import argparse
from itertools import cycle

import numpy as np
from embeddings import Call, times

import graphc
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.plan import Plan

TABLES = ("a", "b", "c", "d")
BATCH, MEAN_LENGTH, DENSE = 256, 50, 64
FORMS: dict[str, dict[str, object]] = {
    "tables of 8 bits": {"tables_only": True},
    "tables of 4 bits": {"tables_only": True, "embeddings": 4},
    "tables of 8 bits and int8, Caffe2 pair": {},
    "tables of 8 bits and int8, plan": {"native": True},
    "tables of 4 bits and int8, plan": {"native": True, "embeddings": 4},
}


def net(rows: int, columns: int) -> tuple[bytes, bytes]:
    """The predict net and the init net, as bytes."""
    rng = np.random.default_rng(0)
    made: list[Operator] = []
    weights: dict[str, np.ndarray] = {}

    def add(op: str, inputs: str, output: str, **args: int) -> None:
        made.append(Operator(op, inputs.split(), output.split(), dict(args)))

    def fc(name: str, x: str, width: int, given: int, relu: bool = True, gain: float = 1.0) -> None:
        weights[f"{name}_w"] = rng.normal(0, gain * (2 / given) ** 0.5, (width, given))
        weights[f"{name}_b"] = rng.normal(0, 0.1, width)
        add("FC", f"{x} {name}_w {name}_b", f"{name}_raw" if relu else name)
        if relu:
            add("Relu", f"{name}_raw", name)

    fc("low", "dense", 256, DENSE)
    fc("mid", "low", columns, 256, gain=columns**-0.5)
    for name in TABLES:
        spread = np.exp(rng.normal(0, 0.5, (rows, 1)))
        weights[name] = rng.normal(0, (columns * MEAN_LENGTH) ** -0.5, (rows, columns)) * spread
        add("SparseLengthsSum", f"{name} {name}_ids {name}_lengths", f"{name}_sum")
    add("Concat", " ".join(["mid", *(f"{n}_sum" for n in TABLES)]), "parts parts_info", axis=1, add_axis=1)
    add("BatchMatMul", "parts parts", "products", trans_b=1)
    add("Flatten", "products", "crossed")
    add("Concat", "mid crossed", "features features_info", axis=1)
    fc("high", "features", 256, columns + (1 + len(TABLES)) ** 2)
    fc("score", "high", 1, 256, relu=False)
    add("Sigmoid", "score", "click")
    fills = [
        Operator("GivenTensorFill", [], [n], {"shape": a.shape, "values": a.astype(np.float32).reshape(-1)})
        for n, a in weights.items()
    ]
    inputs = ["dense", *(f"{n}_{kind}" for n in TABLES for kind in ("ids", "lengths"))]
    predict = Net("ranking", made, [*inputs, *weights], ["click"])
    return write_net(predict), write_net(Net("ranking_init", fills, [], [*weights]))


def batch(seed: int, rows: int) -> dict[str, np.ndarray]:
    """Random inputs."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {"dense": rng.normal(size=(BATCH, DENSE)).astype(np.float32)}
    for name in TABLES:
        lengths = rng.integers(0, 2 * MEAN_LENGTH + 1, BATCH).astype(np.int32)
        made |= {f"{name}_lengths": lengths, f"{name}_ids": rng.integers(0, rows, lengths.sum())}
    return made


def call(plan: Plan, batches: list[dict[str, np.ndarray]]) -> Call:
    """A call that runs the next batch."""
    turns = cycle(batches)
    return lambda: plan.run(next(turns))


def main() -> None:
    """Print a line for each form of the net."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    predict, init = net(given.rows, given.columns)
    known, kept = ([batch(seed, given.rows) for seed in range(i, i + 16)] for i in (0, 16))
    plans = {"float": graphc.compile(predict, init, inputs=known[0], threads=given.threads)}
    sizes = {}
    for name, options in FORMS.items():
        found = graphc.quantize(predict, init, known, equalize=False, threads=given.threads, **options)  # type: ignore[arg-type]
        plans[name], sizes[name] = found.compile(threads=given.threads), found.report.int8_bytes
        sizes["float"] = found.report.float_bytes
    exact = np.concatenate([plans["float"].run(x)["click"] for x in kept])
    print(f"standard deviation of the answers {exact.std():.3f}")
    taken = dict(zip(plans, times([call(plan, kept) for plan in plans.values()], given.seconds)))
    for name, plan in plans.items():
        gap = np.concatenate([plan.run(x)["click"] for x in kept]) - exact
        print(
            f"{name:40} {sizes[name] / 1e6:7.1f} MB  mean |error| {np.abs(gap).mean():.5f}  largest "
            f"{np.abs(gap).max():.4f}  {taken[name]:7.3f} ms  ratio {taken[name] / taken['float']:.2f}"
        )


if __name__ == "__main__":
    main()
