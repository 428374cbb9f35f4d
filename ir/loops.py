"""How the loop of a record is called: the same for the reference interpreter and for compiled kernels.

    loop(*inputs, *outputs, *scratch, *arguments)         sizes(*inputs, dims, *scratch, *arguments)

In the order of the record, always all of them. The record's ``constants``, if it has them, stand for the
arguments. What a variadic port stands for comes as one tuple, of flat arrays where their ranks differ. Half floats come
as their bits (uint16). A loop returns nothing, 0, or the number of one of the record's ``errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.opdef import Call, OpDef, Port, open_dims, with_dims
from graphc.ir.schedule import Check
from graphc.ir.types import DType, TensorType

T = TypeVar("T")


def loop_operands(
    opdef: OpDef, inputs: Sequence[T], outputs: Sequence[T], carried: Sequence[T], absent: T
) -> list[Any]:
    """What stands before the arguments. inputs, outputs: those present in order, ``absent`` in the gaps.

    carried: scratch arrays, and before them ``dims`` where a size pass made them.
    """
    scratch = carried[1:] if is_fill(opdef) else carried
    return [*_by_port(opdef.inputs, inputs, absent), *_by_port(opdef.outputs, outputs, absent), *scratch]


def is_fill(opdef: OpDef) -> bool:
    """The operator is the second half of one with data-dependent sizes: its scratch comes from the first."""
    return opdef.name.startswith("g.fill.")


def _by_port(ports: Sequence[Port], items: Sequence[T], absent: T) -> list[Any]:
    if not ports or not ports[-1].variadic:
        return [*items, *[absent] * (len(ports) - len(items))]
    single = [*items[: len(ports) - 1], *[absent] * (len(ports) - 1 - len(items))]
    rest = items[len(ports) - 1 :]
    return [*single, *rest] if ports[-1].spread else [*single, tuple(rest)]


def loop_types(ports: Sequence[Port], types: Sequence[TensorType | None]) -> list[TensorType | None]:
    """The types under which a loop sees inputs or outputs of these types, None for absent ones.

    The arrays of a variadic port are flat where their ranks differ: a loop can only go through arrays of one type.
    Those of a raw port are flat vectors of bytes.
    """
    seen = list(types)
    for i, type in enumerate(seen):
        if type is not None and ports and ports[min(i, len(ports) - 1)].raw and type.dtype is not DType.STRING:
            seen[i] = TensorType(DType.UINT8, (type.nbytes,))
    if ports and ports[-1].variadic and not ports[-1].spread:
        first = len(ports) - 1
        if len({t.rank for t in seen[first:] if t is not None}) > 1:
            seen[first:] = [None if t is None else t.with_shape((t.size,)) for t in seen[first:]]
    return seen


def loop_inputs(call: Call) -> list[TensorType | None]:
    """``loop_types`` of the inputs of a call."""
    return loop_types(call.opdef.inputs, [call.type(i) if call.has(i) else None for i in range(call.n_inputs)])


def _as_seen(array: np.ndarray, type: TensorType | None) -> np.ndarray:
    """The elements of a contiguous array under the type that a loop sees: itself or a view of it."""
    if type is None:
        return array
    flat = np.ascontiguousarray(array).reshape(-1)
    return (flat.view(np.uint8) if type.dtype is DType.UINT8 else flat).reshape(type.static_shape)


def run_loop(call: Call, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The results of a call by its loop, uncompiled; its size pass comes before it.

    Outputs and scratch are zero-filled arrays of the inferred types, absent inputs and outputs empty float32 arrays.
    The call's result types get what the size pass finds. Arguments come as float64, with which arithmetic has the types
    and the infinities that it has in machine code.
    Raises ``RunError`` with the record's text where the loop returns the number of an error.
    """
    opdef, types, nothing = call.opdef, [r.type for r in call.node.results], np.zeros(0, np.float32)
    given = [nothing if a is None else _bits(np.asarray(a)) for a in arrays]
    inputs = [_as_seen(a, t) for a, t in zip(given, loop_inputs(call))]
    carried = given[call.n_inputs :]
    if not carried and opdef.scratch:
        carried = _zeros(call, opdef.scratch(call))
    arguments = [np.float64(a) if isinstance(a, float) else a for a in opdef.loop_arguments(call)]
    if opdef.sizes is not None:
        dims = np.zeros(open_dims(types), np.int64)
        _check(call, opdef.sizes(*_by_port(opdef.inputs, inputs, nothing), dims, *carried, *arguments))
        types = with_dims(types, dims.tolist())
        for result, type in zip(call.node.results, types):
            result.type = type
    outputs = _zeros(call, types)
    assert opdef.loop is not None
    seen = [_as_seen(a, t) for a, t in zip(outputs, loop_types(opdef.outputs, types))]
    _check(call, opdef.loop(*loop_operands(opdef, inputs, seen, carried, nothing), *arguments))
    return [a.view(np.float16) if t.dtype is DType.FLOAT16 else a for a, t in zip(outputs, types)]


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint16) if array.dtype == np.float16 else array


def loop_dtype(dtype: DType) -> np.dtype:
    """The elements that a loop sees."""
    return np.dtype(np.uint16) if dtype is DType.FLOAT16 else dtype.numpy


def _zeros(call: Call, types: Sequence[TensorType]) -> list[np.ndarray]:
    for k, t in enumerate(types):
        if not t.is_static or t.dtype is None:
            call.fail(f"the type of its output {k} is {t}, but a loop needs its size beforehand")
    return [_zero(t) for t in types]


def _zero(type: TensorType) -> np.ndarray:
    if type.dtype is DType.STRING:
        return np.full(type.static_shape, b"", object)
    try:
        return np.zeros(type.static_shape, loop_dtype(type.dtype or DType.FLOAT))
    except (MemoryError, ValueError):
        raise RunError(f"there is no memory for a {type}", "make the inputs or the sizes among them smaller") from None


def _check(call: Call, code: int | None) -> None:
    if code:
        raise_loop_error(call, code)


def raise_loop_error(call: Call, code: int) -> NoReturn:
    """Raise ``RunError`` for an error number that a loop returned, naming operator, place and blobs."""
    raise RunError(call_check(call).message(code))


def call_check(call: Call) -> Check:
    """How errors name a call, and its texts, which end in what the author of the net has to say (``error_msg``)."""
    said = call.arg("error_msg") if call.opdef.has_arg("error_msg") else ""
    ending = f": {said}" if said else ""
    return Check(call_text(call), tuple(e + ending for e in call.opdef.errors))


def call_text(call: Call) -> str:
    """Place, operator and blobs of a call, as errors of a run name it."""
    node = call.node
    ins = ", ".join(f"'{v.name}'" for v in node.operands[: call.n_inputs] if v is not None)
    op = node.op.removeprefix("g.sizes.").removeprefix("g.fill.")
    results = node.results if op == node.op or is_fill(call.opdef) else node.results[:1]
    return f"{node.location}: {op}({ins}) -> " + ", ".join(f"'{r.name.removesuffix('.dims')}'" for r in results)
