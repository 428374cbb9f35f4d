"""How many rows lengths speak of, or the longest of them: what sizes the results of operators on runs of rows.

Lengths are int32. The first launch is that of ``segment_starts.py``, which adds up stretches; a thread adds up these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.segment_starts import BOUNDS, PARTS, Lengths, add_parts, parts_step, room
from graphc.backends.cuda.rules import Rule, Template
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View
from graphc.ir.types import DType

ALL = 2**62
"""A sum that no lengths have: all are good that are not negative."""


def _any(call: Call, lengths: View) -> Lengths:
    return Lengths(lengths.address, lengths.type.size, high=ALL)


def _of_rows(call: Call, lengths: View) -> Lengths:
    """They divide the rows of the second input."""
    rows = call.type(1).static_shape[0]
    return Lengths(lengths.address, lengths.type.size, rows, rows)


def _among_rows(call: Call, lengths: View) -> Lengths:
    """They divide the first rows of the first input."""
    return Lengths(lengths.address, lengths.type.size, high=call.type(0).static_shape[0])


def clip(call: Call) -> int:
    """How many rows of a run an operator takes at most: with max_length so many."""
    given = int(call.arg("max_length")) if call.opdef.has_arg("max_length") else -1
    return Lengths.clip if given == -1 else given


def _of_block(call: Call, lengths: View) -> Lengths:
    """None is longer than the runs of the block that the second input is."""
    most = call.type(1).static_shape[1]
    return Lengths(lengths.address, lengths.type.size, high=ALL, clip=clip(call), longest=most)


def _of_steps(call: Call, lengths: View) -> Lengths:
    """None is longer than the first dimension of the first input."""
    return Lengths(lengths.address, lengths.type.size, high=ALL, longest=call.type(0).static_shape[0])


SIZES: dict[str, tuple[str, int, Callable[[Call, View], Lengths]]] = {
    "LengthsRangeFill": ("total", 0, _any),
    "LengthsTile": ("total", 1, _any),
    "LengthsToSegmentIds": ("total", 0, _any),
    "LengthsToWeights": ("total", 0, _any),
    "PackRNNSequence": ("most", 1, _among_rows),
    "PackSegments": ("most", 0, _of_rows),
    "UnpackRNNSequence": ("total", 1, _of_steps),
    "UnpackSegments": ("total", 0, _of_block),
}
"""Operator -> which number its sizes are, which input the lengths are, and what they have to be."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``length_sizes{what}``: ``total`` or ``most`` of all lengths as each of ``count`` dims, by thread 0."""
    s = Lines()
    with each_thread(s, spec, (*PARTS, *BOUNDS, "dims", "count", "status"), "t", "1"):
        add_parts(s)
        with s.block("for k in range(count):"):
            s(f"st_i8(dims, k, {spec['what']} * good)")
    return s.text()


def _form(call: Call) -> tuple[str, int, Callable[[Call, View], Lengths]]:
    return SIZES[call.node.op.removeprefix("g.sizes.")]


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    what, port, _ = _form(call)
    if call.type(port).dtype is not DType.INT32:
        return None
    return Choice("length_sizes", KernelSpec.make("length_sizes", what=what, threads=32))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    runs = call.type(_form(call)[1]).size
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=room(runs))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    _, port, made = _form(call)
    given, label = ins[port], call.node.results[0].name
    assert given is not None
    assert choice.spec is not None
    lengths = made(call, given)
    dims = (outs[0].address, outs[0].type.size, Address("status"))
    params = (*lengths.parts(workspace), *lengths.bounds(), *dims)
    task = Task(choice.spec, params, 1, label, lengths.threads, 24 * lengths.threads)
    return [parts_step(lengths, workspace, label), (task,)]


RULES = (Rule("length_sizes", tuple(f"g.sizes.{name}" for name in SIZES), _choose, _needs, _bind),)
TEMPLATES = (Template("length_sizes", emit),)
