"""Measuring: a float net and an int8 one on the same data, and how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.compiler import compile_graph
from graphc.ir import Graph, Quant
from graphc.passes.quantize.layers import IMAGE_RANK
from graphc.passes.quantize.scales import dequantised
from graphc.plan import Plan
from graphc.quantization.calibration import Batch


@dataclass
class Difference:
    """Sums over all elements of a blob: squares of the finite float values, squares and maximum of the differences.

    Infinities and NaN that both have are no difference; where one side alone has them, it is infinite.
    """

    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0

    def add(self, exact: np.ndarray, found: np.ndarray) -> None:
        """Count a batch."""
        a, b = np.asarray(exact, np.float64), np.asarray(found, np.float64)
        with np.errstate(invalid="ignore"):
            gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, b - a)
        gap[np.isnan(gap)] = math.inf
        self.signal += float(np.sum(np.square(a[np.isfinite(a)])))
        self.noise += float(np.sum(np.square(gap)))
        self.largest = max(self.largest, float(np.max(np.abs(gap), initial=0.0)))

    @property
    def relative(self) -> float:
        """Root of noise over signal: 0 where nothing differs, infinite where a signal of zeros does."""
        if self.noise == 0.0:
            return 0.0
        return math.sqrt(self.noise / self.signal) if self.signal else math.inf

    @property
    def sqnr(self) -> float:
        """Signal-to-quantisation-noise ratio in decibels; infinite where nothing differs."""
        relative = self.relative
        return math.inf if relative == 0.0 else -math.inf if math.isinf(relative) else -20 * math.log10(relative)


def plan_of(graph: Graph, outputs: Sequence[str], target: str, threads: int | None) -> Plan:
    """A plan of a copy of the graph that gives further blobs."""
    return compile_graph(graph.clone(), outputs=list(outputs), target=target, threads=threads)


def output_loss(plan: Plan, batches: Sequence[Batch], exact: Sequence[Mapping[str, np.ndarray]]) -> float:
    """The relative error of the output that has the largest. exact: what the float net gives, a mapping each batch.

    Signed integers are indices, classes and sizes, which are right or wrong: theirs is the root of the part that is
    wrong.
    """
    found: dict[str, Difference] = {}
    for batch, wanted in zip(batches, exact):
        outputs = plan.run(batch)
        for name, values in wanted.items():
            if values.dtype.kind in "fu":
                found.setdefault(name, Difference()).add(values, outputs[name])
            elif values.dtype.kind == "i":
                found.setdefault(name, Difference()).add(np.ones(values.shape), values == outputs[name])
    return max((d.relative for d in found.values()), default=0.0)


def layer_differences(
    float_plan: Plan, int8_plan: Plan, quants: Mapping[str, Quant | None], suffix: str, batches: Sequence[Batch]
) -> dict[str, Difference]:
    """How far values of an int8 net are from those of the float net, by the names of the float ones.

    quants: of the values that the int8 plan gives under their name with ``suffix``, images in NHWC; None for a value
    that it gives in float, under its name.
    """
    found = {name: Difference() for name in quants}
    for batch in batches:
        exact, numbers = float_plan.run(batch), int8_plan.run(batch)
        for name, difference in found.items():
            quant = quants[name]
            difference.add(exact[name], numbers[name] if quant is None else _real(numbers[name + suffix], quant))
    return found


def _real(numbers: np.ndarray, quant: Quant) -> np.ndarray:
    """The float form of an 8-bit value, an image in NCHW."""
    real = dequantised(numbers, quant)
    return real.transpose(0, 3, 1, 2) if real.ndim == IMAGE_RANK else real
