"""A small ranking net with seeded weights, as the tests quantise it, and what it computes, in NumPy."""

from __future__ import annotations

import numpy as np

from graphc.frontends.netdef import Net, Operator

ROWS = {"users": 50, "items": 40, "cities": 30}
COLUMNS = 8
INPUTS = ("dense", "user_ids", "user_counts", "item_weights", "item_ids", "item_counts", "city_ids")
FILLS = {"f": "GivenTensorFill", "i": "GivenTensorInt64Fill"}


def weights() -> dict[str, np.ndarray]:
    """Three tables, whose rows have ranges of their own, and four FC layers."""
    rng = np.random.default_rng(5)
    made = {n: rng.normal(size=(r, COLUMNS)) * np.exp(rng.normal(-1.5, 0.3, (r, 1))) for n, r in ROWS.items()}
    for name, (rows, columns) in {"low": (8, 8), "mid": (8, 8), "high": (8, 24), "score": (1, 8)}.items():
        made[f"{name}_w"] = rng.normal(0, columns**-0.5, (rows, columns))
        made[f"{name}_b"] = rng.normal(0, 0.1, rows)
    return {name: array.astype(np.float32) for name, array in made.items()}


def pair() -> tuple[Net, Net]:
    """A dense tower and three look-ups; their products with each other beside the tower; FC, Relu, FC, Sigmoid."""
    made: list[Operator] = []

    def add(op: str, inputs: str, output: str, **args: object) -> None:
        made.append(Operator(op, inputs.split(), output.split(), dict(args)))  # type: ignore[arg-type]

    def fc(name: str, x: str) -> None:
        add("FC", f"{x} {name}_w {name}_b", name)

    fc("low", "dense")
    add("Relu", "low", "low_relu")
    fc("mid", "low_relu")
    add("SparseLengthsSum", "users user_ids user_counts", "user")
    add("SparseLengthsWeightedSum", "items item_weights item_ids item_counts", "item")
    add("Gather", "cities city_ids", "city")
    add("Concat", "mid user item city", "parts parts_info", axis=1, add_axis=1)
    add("BatchMatMul", "parts parts", "products", trans_b=1)
    add("Flatten", "products", "crossed")
    add("Concat", "mid crossed", "features features_info", axis=1)
    fc("high", "features")
    add("Relu", "high", "high_relu")
    fc("score", "high_relu")
    add("Sigmoid", "score", "click")
    arrays = weights()
    fills = [
        Operator(FILLS[a.dtype.kind], [], [n], {"shape": a.shape, "values": a.reshape(-1)}) for n, a in arrays.items()
    ]
    return Net("ranking", made, [*INPUTS, *arrays], ["click"]), Net("ranking_init", fills, [], [*arrays])


def batch(seed: int, samples: int = 12) -> dict[str, np.ndarray]:
    """Inputs; samples have 0 to 4 users and 1 to 3 items."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 5, samples), rng.integers(1, 4, samples)
    return {
        "dense": rng.normal(size=(samples, 8)).astype(np.float32),
        "user_ids": rng.integers(0, ROWS["users"], users.sum()),
        "user_counts": users.astype(np.int32),
        "item_weights": rng.random(items.sum()).astype(np.float32),
        "item_ids": rng.integers(0, ROWS["items"], items.sum()),
        "item_counts": items.astype(np.int32),
        "city_ids": rng.integers(0, ROWS["cities"], samples),
    }


def forward(w: dict[str, np.ndarray], x: dict[str, np.ndarray]) -> np.ndarray:
    """What the net gives for these weights, in float64."""

    def layer(name: str, rows: np.ndarray) -> np.ndarray:
        return rows @ w[f"{name}_w"].T.astype(np.float64) + w[f"{name}_b"]

    samples = np.arange(len(x["dense"]))
    user, item = np.zeros((2, len(samples), COLUMNS))
    np.add.at(user, np.repeat(samples, x["user_counts"]), w["users"][x["user_ids"]].astype(np.float64))
    weighted = w["items"][x["item_ids"]].astype(np.float64) * x["item_weights"][:, None]
    np.add.at(item, np.repeat(samples, x["item_counts"]), weighted)
    mid = layer("mid", np.maximum(layer("low", x["dense"]), 0))
    parts = np.stack([mid, user, item, w["cities"][x["city_ids"]]], axis=1)
    features = np.concatenate([mid, (parts @ parts.swapaxes(1, 2)).reshape(len(samples), -1)], axis=1)
    return 1 / (1 + np.exp(-layer("score", np.maximum(layer("high", features), 0))))
