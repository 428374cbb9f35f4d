"""Int8 calls with scales and zero points for the kernel tests, and random operands for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from harness import Machine, bind_call, run_call

from graphc.ir.graph import Graph, Node, Value
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.types import DType, Quant, TensorType

Operand = tuple[np.ndarray, Quant | None]


def quantised(rng: np.random.Generator, shape: Sequence[int], scale: float, zero: int) -> Operand:
    """Random bytes of every size, the extreme ones among them."""
    return rng.integers(0, 256, shape).astype(np.uint8), Quant(scale, zero)


def int8_call(
    op: str, operands: Sequence[Operand], attrs: Mapping[str, object], constants: Sequence[int] = (1, 2)
) -> Call:
    """A call on typed values with inferred results."""
    graph = Graph("test")
    values = []
    for i, (data, quant) in enumerate(operands):
        if i in constants:
            values.append(graph.add_constant(f"w{i}", data))
            values[-1].type = replace(values[-1].type, quant=quant)
        else:
            values.append(graph.add_input(TensorType(DType.of(data.dtype), data.shape, quant=quant), f"x{i}"))
    node = Node(op, values, [Value(TensorType(), "y")], dict(attrs))
    graph.append(node)
    for result, type in zip(node.results, node.opdef.infer(Call(node))):
        result.type = type
    return Call(node)


def assert_exact(machine: Machine, call: Call, operands: Sequence[Operand], rule: str) -> None:
    """The kernel of ``rule`` is chosen and gives the reference interpreter's elements, every one."""
    arrays = [data for data, _ in operands]
    want = evaluate_node(call.node, arrays)[0]
    got = run_call(machine, call, arrays)[0]
    choice = machine.library.choose(call)
    assert choice.rule == rule, f"{call.node.op} {call.node.attrs}: {choice.rule}"
    np.testing.assert_array_equal(got, want, err_msg=f"{call.node.op} {call.node.attrs} {choice.spec}")


def kernels(machine: Machine, calls: Sequence[tuple[Call, Sequence[Operand]]]) -> None:
    """Compile what the calls need, together."""
    bound = (bind_call(machine, call, [data for data, _ in operands]) for call, operands in calls)
    machine.compile([t.kernel for b in bound for step in b.steps for t in step])
