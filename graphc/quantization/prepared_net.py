"""A float net and its calibration data together: where the net does not tell its inputs' types, the data does."""

from __future__ import annotations

from graphc.input_shapes import assume_input_shapes
from graphc.ir import DType, Graph, TensorType
from graphc.passes.quantize import prepare
from graphc.pictures import Preparation
from graphc.quantization.calibration import Batches, Source, load_batches
from graphc.quantization.lookup_data import check_lookups


def prepare_with_data(graph: Graph, source: Source, how: Preparation | None, samples: int) -> tuple[Graph, Batches]:
    """An imported graph, prepared, and the batches for it (``load_batches``).

    Inputs without a static shape get one that fits. Where none is found, as for indices and lengths, all of them have
    the types of the first batch's arrays. Raises ``GraphcError`` for data that does not fit.
    """
    guess = graph.clone()
    assume_input_shapes(guess)
    if all(v.type.is_static for v in guess.inputs if v.uses):
        prepare(guess)
        batches = load_batches(source, guess, how, samples)
    else:
        guess, batches = graph, load_batches(source, graph, how, samples)
        for value in guess.inputs:
            array = batches[0].get(value.name)
            if array is not None and not value.type.is_static:
                value.type = TensorType(DType.of(array.dtype), array.shape)
        prepare(guess)
    check_lookups(guess, batches)
    return guess, batches
