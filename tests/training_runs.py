"""Train the nets of real Caffe2: ``python tests/training_runs.py ../shared/training [--target reference] [--level 2]``.

Each folder there holds a training net with forward, gradient and update operators, its blobs before the first step, ten
batches, and the losses of 50 steps. The blobs that a step writes and the next one reads are fed back. Exit code 1 if a
loss, or a blob after the last step, is off by more than a thousandth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import graphc
from graphc.frontends.netdef import import_net, read_net
from graphc.ir import DType, Graph, TensorType, evaluate

TOLERANCE = 1e-3
MUTEX = {"iteration_mutex": np.zeros(1, np.float32)}
"""Stands for the mutex of the step counter, which a plan, in one thread, does not take."""

Blobs = Mapping[str, np.ndarray]


def training_graph(folder: Path) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph of one step, which gives the loss and all that the next step reads, and its blobs before the first."""
    net = read_net(folder / "train_net.pb")
    initial, data = dict(np.load(folder / "initial.npz")), np.load(folder / "data.npz")
    state = {name: initial[name] for name in net.external_inputs if name in initial}
    net.external_outputs = ["loss", *state]
    given = {**state, **MUTEX, **{name: data[name][0] for name in ("data", "label")}}
    return import_net(net, None, {n: TensorType(DType.of(a.dtype), a.shape) for n, a in given.items()}), state


def train(run: Callable[[Blobs], Blobs], state: Blobs, folder: Path, steps: int) -> tuple[list[float], Blobs]:
    """The losses of so many steps, and the state behind them."""
    data, losses = np.load(folder / "data.npz"), []
    batches = {name: data[name] for name in ("data", "label")}
    for step in range(steps):
        got = run({**state, **MUTEX, **{name: array[step % len(array)] for name, array in batches.items()}})
        losses.append(float(got["loss"]))
        state = {name: np.array(got[name]) for name in state}
    return losses, state


def mistakes(folder: Path, losses: list[float], state: Blobs) -> list[str]:
    """What differs from the run of real Caffe2; the blobs are compared where all of its steps were made."""
    want = np.load(folder / "run.npz")["loss"][: len(losses)]
    wrong = [f"loss of step {i}: {a} instead of {b}" for i, (a, b) in enumerate(zip(losses, want)) if not _close(a, b)]
    final = np.load(folder / "final.npz")
    if len(losses) == len(np.load(folder / "run.npz")["loss"]):
        wrong += [f"{name} after the last step" for name, array in state.items() if not _close(array, final[name])]
    return wrong


def _close(got: np.ndarray | float, want: np.ndarray | float) -> bool:
    return bool(np.allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE))


def main() -> int:
    """Train all nets of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", choices=("cpu", "reference"), default="cpu")
    parser.add_argument("--level", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    failed = 0
    for folder in sorted(path.parent for path in arguments.folder.glob("*/train_net.pb")):
        graph, state = training_graph(folder)
        run: Callable[[Blobs], Blobs] = lambda feeds, graph=graph: evaluate(graph, feeds)
        if arguments.target == "cpu":
            run = graphc.compile_graph(graph, level=arguments.level).run
        losses, after = train(run, state, folder, arguments.steps)
        wrong = mistakes(folder, losses, after)
        want = np.load(folder / "run.npz")["loss"][: len(losses)]
        apart = np.abs(np.array(losses) - want).max()
        print(
            f"{folder.name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, at most {apart:.1e} from Caffe2",
            *wrong,
            sep="\n  ",
        )
        failed += bool(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
