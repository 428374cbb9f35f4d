"""Nets in float16 and bfloat16 against float32 on recorded inputs: largest errors, sizes of the weights.

    python benchmarks/half_accuracy.py FOLDER...

A folder holds ``predict_net.pb``, ``init_net.pb`` and ``inputs.npz``. ``error`` is the largest difference of any output
from float32's by the output's largest magnitude. ``plan`` and ``net`` say by how much the weights, as kernels read
them, are smaller than those of the float32 plan, and than the net's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc

FORMS = ("float16", "bfloat16")


def error(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> float:
    """Of all outputs the largest difference, by the largest magnitude of the output."""
    pairs = [(got[name].astype(np.float64), floats.astype(np.float64)) for name, floats in want.items()]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def size(plan: graphc.Plan) -> int:
    """Bytes of the weights as kernels read them."""
    return sum(array.nbytes for array in plan.weights)


def main() -> None:
    """Print a line for each folder and form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    print(f"{'net':24} {'form':10} {'error':>8} {'plan':>6} {'net':>6}")
    for folder in parser.parse_args().folders:
        inputs = dict(np.load(folder / "inputs.npz"))
        nets = (folder / "predict_net.pb", folder / "init_net.pb")
        floats = graphc.compile(*nets, inputs=inputs)
        want, own = floats.run(inputs), sum(v.type.nbytes for v in floats.graph.constants)
        for form in FORMS:
            plan = graphc.compile(*nets, inputs=inputs, precision=form)
            ratios = [f"{nbytes / size(plan):6.2f}" for nbytes in (size(floats), own)]
            print(f"{folder.name:24} {form:10} {error(plan.run(inputs), want):8.1e} {' '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
