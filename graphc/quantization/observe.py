"""Calibration: the float net runs on data, and every value that could be in 8 bits is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir import Graph
from graphc.passes.quantize import Kind, Layer, Moments, Observation
from graphc.plan import Plan
from graphc.quantization.calibration import Batch
from graphc.quantization.measure import plan_of


@dataclass(frozen=True)
class Calibration:
    """seen: a record of each value that layers read or write. moments: of what the weights of products meet.

    outputs: what the float net gives, a dict for each batch. plan: the float net, giving all these values.
    """

    seen: dict[str, Observation]
    moments: dict[str, Moments]
    outputs: list[dict[str, np.ndarray]]
    plan: Plan


def calibrate(
    graph: Graph,
    layers: Sequence[Layer],
    batches: Sequence[Batch],
    with_products: bool,
    target: str,
    threads: int | None,
    done: Callable[[int, int], None],
) -> Calibration:
    """Run the float graph on all batches and record. with_products: second moments too, for rounding.

    Raises ``GraphcError`` naming a blob that is NaN, infinite or empty on the data, and what the net refuses.
    """
    given = {v.name for v in graph.inputs}
    names = list(dict.fromkeys(v.name for layer in layers for v in (*layer.inputs, layer.result)))
    plan = plan_of(graph, [n for n in names if n not in given], target, threads)
    seen = {name: Observation(name) for name in names}
    products = [layer for layer in layers if layer.kind is Kind.PRODUCT]
    moments = {layer.name: Moments.of(layer, with_products) for layer in products}
    outputs = []
    for i, batch in enumerate(batches):
        done(i, len(batches))
        values = dict(batch) | plan.run(batch)
        for name, record in seen.items():
            record.add(values[name])
        for layer in products:
            moments[layer.name].add(layer, values[layer.inputs[0].name])
        outputs.append({name: values[name] for name in graph.output_names})
    done(len(batches), len(batches))
    return Calibration(seen, moments, outputs, plan)
