"""A few operators as a NetDef through the whole pipeline: written, read, imported, evaluated, compiled, run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import graphc
from graphc.frontends.netdef import Net, Operator, write_net
from graphc.ir import Graph, evaluate, infer_types

FILLS = {"float32": "GivenTensorFill", "int32": "GivenTensorIntFill", "int64": "GivenTensorInt64Fill"}


def operator(type: str, inputs: str, outputs: str, **args: Any) -> Operator:
    """An operator; blob names are separated by blanks, text becomes bytes and lists tuples."""
    plain = {k: v.encode() if isinstance(v, str) else tuple(v) if isinstance(v, list) else v for k, v in args.items()}
    return Operator(type, inputs.split(), outputs.split(), plain)


def fill(name: str, array: np.ndarray) -> Operator:
    """The operator of an init net that makes a weight."""
    values = array.ravel()
    return Operator(FILLS[str(array.dtype)], [], [name], {"shape": array.shape, "values": values})


def nets(
    ops: Sequence[Operator], inputs: Mapping[str, np.ndarray], outputs: str, weights: Mapping[str, np.ndarray]
) -> tuple[bytes, bytes]:
    """The serialised predict net and init net."""
    predict = Net("n", list(ops), [*inputs, *weights], outputs.split())
    init = Net("n_init", [fill(name, w) for name, w in weights.items()], [], list(weights))
    return write_net(predict), write_net(init)


def imported(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """The typed graph."""
    predict, init = nets(ops, inputs, outputs, weights or {})
    graph = graphc.import_model(predict, init if weights else None, inputs)
    infer_types(graph)
    return graph


def reference(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The outputs by the reference interpreter, whose types must be those inferred."""
    graph = imported(ops, inputs, outputs, weights)
    answers = evaluate(graph, inputs)
    for value, name in zip(graph.outputs, graph.output_names):
        inferred, got = value.type, answers[name]
        assert inferred.dtype is None or inferred.dtype.numpy == got.dtype, name
        assert not inferred.is_static or inferred.static_shape == got.shape, name
    return [answers[name] for name in outputs.split()]


def answers(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray] | None = None,
    tolerance: float = 1e-6,
) -> list[np.ndarray]:
    """The outputs of the compiled net, which must be the reference's up to ``tolerance`` of the largest element.

    The default tolerance is what a few float32 roundings cost. All optimisation is on.
    """
    expected = reference(ops, inputs, outputs, weights)
    predict, init = nets(ops, inputs, outputs, weights or {})
    try:
        plan = graphc.compile(predict, init if weights else None, inputs=dict(inputs), threads=1)
    except graphc.LoweringError as error:
        if "has no kernel" not in error.message:
            raise
        warnings.warn(f"not compiled: {error.message}", stacklevel=2)
        return expected
    got = plan.run(inputs)
    for name, want in zip(outputs.split(), expected):
        assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype), name
        scale = float(np.abs(want).max(initial=0)) if want.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(got[name], want, rtol=0, atol=tolerance * scale, err_msg=name)
    return [got[name] for name in outputs.split()]
