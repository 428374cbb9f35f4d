"""The oracle: evaluates a graph of any stage with NumPy, one operator at a time, from the meanings in the records.

Slow and plain. Arrays are always in logical row-major order, whatever layouts a graph has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.fpmath import is_tf32, to_tf32
from graphc.ir.graph import Constant, Graph, Node, Value, clone_attr
from graphc.ir.infer import infer_node
from graphc.ir.loops import run_loop
from graphc.ir.opdef import Call, aligned_shape, n_epilogue_operands
from graphc.ir.precision import PRECISION, float_twin, precision_of, rounded, to_float
from graphc.ir.quant_array import array_quant, with_quant
from graphc.ir.scalar import NUMPY
from graphc.ir.types import OPEN_QUANT, DType, TensorType, dims_agree

Array = np.ndarray


def evaluate(graph: Graph, inputs: Mapping[str, Array], keep_all: bool = False) -> dict[str, Array]:
    """Outputs by name, of inputs by name; with ``keep_all`` every blob as it is after the run.

    Results have the inferred dtypes; float32 is computed in float32. Raises ``RunError`` for inputs that do not fit
    the graph and for weights without storage.
    """
    names = [v.name for v in graph.inputs]
    missing, foreign = [n for n in names if n not in inputs], [n for n in inputs if n not in names]
    if missing or foreign:
        wrong = [f"input '{n}' is missing" for n in missing] + [f"there is no input '{n}'" for n in foreign]
        raise RunError(f"graph '{graph.name}': {'; '.join(wrong)}", f"its inputs are {', '.join(names)}")
    env = _environment(graph, [_checked_input(v, np.asarray(inputs[v.name])) for v in graph.inputs])
    kept = {name: env[v] for name, v in graph.blobs().items()} if keep_all else {}
    return kept | {name: env[v] for name, v in zip(graph.output_names, graph.outputs)}


def run_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """Outputs in order, of inputs in order; for sub-graphs."""
    env = _environment(graph, arrays)
    return [env[v] for v in graph.outputs]


def evaluate_node(node: Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The results of one node, of arrays for its operands (None: absent); a fused epilogue is applied.

    Results whose scale and zero point depend on the data know them (``QuantArray``).
    """
    if PRECISION in node.attrs:
        return _evaluate_half(node, arrays)
    if is_tf32(node):
        arrays = [to_tf32(a) if a is not None and i < 2 else a for i, a in enumerate(arrays)]
    epilogue = node.attrs.get("epilogue")
    n = len(arrays) - n_epilogue_operands(node)
    call = _concrete(node, arrays[:n])
    is_open = [OPEN_QUANT in (r.type.quant, own.type.quant) for r, own in zip(call.node.results, node.results)]
    try:
        results = _apply(call)
    except MemoryError as error:
        raise RunError(f"{node.location}: {node.op}: there is no memory: {error}", "use smaller sizes") from None
    if any(is_open):
        results = [with_quant(a, r.type.quant) if o else a for a, r, o in zip(results, call.node.results, is_open)]
    if isinstance(epilogue, Graph):
        results[0] = run_graph(epilogue, [results[0], *(a for a in arrays[n:] if a is not None)])[0]
        results[0] = _cast(results[0], node.results[0].type.dtype)
    return results


def _evaluate_half(node: Node, arrays: Sequence[Array | None]) -> list[Array]:
    """An operator in half precision: its twin on the widened operands, the results rounded once."""
    wide = [None if a is None else to_float(a, v.type.dtype if v else None) for v, a in zip(node.operands, arrays)]
    results, dtype = evaluate_node(float_twin(node), wide), precision_of(node)
    return [rounded(a, dtype) if a.dtype == np.float32 else a for a in results]


def _environment(graph: Graph, arrays: Sequence[Array]) -> dict[Value, Array]:
    env: dict[Value, Array] = dict(zip(graph.inputs, arrays))
    for v in graph.constants:
        if v.data is None:
            raise RunError(f"weight '{v.name}' has no storage", "give its array to parse(text, constants)")
        env[v] = v.data
    for node in graph.nodes:
        results = evaluate_node(node, [None if v is None else env[v] for v in node.operands])
        env.update(zip(node.results, results))
    return env


def _checked_input(value: Value, array: Array) -> Array:
    type = value.type
    dtype = DType.of(array.dtype)
    if type.dtype and type.dtype.numpy != dtype.numpy:
        raise RunError(f"input '{value.name}' has elements of type {dtype.text}, not {type.dtype.text}")
    shape = type.shape
    if shape is not None and (len(shape) != array.ndim or not all(map(dims_agree, shape, array.shape))):
        raise RunError(f"input '{value.name}' has the shape {list(array.shape)}, but its type is {type}")
    return array


def _concrete(node: Node, arrays: Sequence[Array | None]) -> Call:
    """The call without epilogue, with static types and known elements for all its inputs, and its types inferred."""
    operands = [None if a is None else _known(v, a) for v, a in zip(node.operands, arrays)]
    results = [Value(TensorType(r.type.dtype, quant=r.type.quant), r.name) for r in node.results]
    attrs = {k: clone_attr(v) for k, v in node.attrs.items() if k != "epilogue"}
    if "epilogue" in node.attrs:
        results[0].type = TensorType()  # the node's own type is that of the epilogue's output
    call = Call(Node(node.op, operands, results, attrs, node.location, node.engine, node.device))
    call.runner = run_graph
    infer_node(call.node)
    return call


def _known(value: Value | None, array: Array) -> Value:
    old = value.type if value is not None else TensorType()
    dtype = old.dtype if old.dtype and old.dtype.numpy == array.dtype else DType.of(array.dtype)
    name = value.name if value is not None else ""
    type = replace(old, dtype=dtype, shape=tuple(array.shape), quant=array_quant(array) or old.quant)
    return Value(type, name, Constant(name, type, array))


def _apply(call: Call) -> list[Array]:
    """The results of a call on the elements of its inputs, in the first form that its record gives."""
    arrays = [v.data if v is not None else None for v in call.node.operands]
    with np.errstate(all="ignore"):
        if call.opdef.reference is not None:
            results = list(call.opdef.reference(call, *arrays))
        elif call.opdef.scalar is not None:
            results = [_apply_scalar(call, arrays)]
        elif call.opdef.loop is not None:
            results = run_loop(call, arrays)
        else:
            call.fail("its record gives no meaning that can be evaluated")
    if len(results) < call.n_outputs:
        call.fail(f"its meaning gives {len(results)} outputs, not {call.n_outputs}")
    return [_cast(a, r.type.dtype) for a, r in zip(results, call.node.results)]


def _apply_scalar(call: Call, arrays: Sequence[Array | None]) -> Array:
    assert call.opdef.scalar is not None
    xs = [None if a is None else a.reshape(_static(call, i)) for i, a in enumerate(arrays)]
    result = np.asarray(call.opdef.scalar(NUMPY, call, *xs))
    type = call.node.results[0].type
    shape = type.static_shape if type.is_static else np.broadcast_shapes(*(x.shape for x in xs if x is not None))
    return np.broadcast_to(result, shape)


def _static(call: Call, i: int) -> tuple[int, ...]:
    return call.type(i).with_shape(aligned_shape(call, i)).static_shape


def _cast(array: Array, dtype: DType | None) -> Array:
    array = np.asarray(array)
    with np.errstate(all="ignore"):
        return array if dtype is None else array.astype(dtype.numpy, copy=False)
