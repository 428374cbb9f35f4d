"""Int8 calls with scales and zero points for the kernel tests, and random operands for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True)
class Case:
    """shape: of X; filter: (M, kH, kW, C / group), or (N, K). scale: units of Y per unit of the sums, about.

    residual: units of Y per unit of R. zeros: zero points of X, R and Y.
    """

    shape: tuple[int, ...]
    filter: tuple[int, ...]
    attrs: dict = field(default_factory=dict)
    scale: float = 1 / 4096
    residual: float = 0.0
    zeros: tuple[int, int, int] = (114, 121, 9)


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


def call_of(case: Case) -> tuple[Call, Sequence[Operand]]:
    """The call on operands of every value, the extreme weights among them, and scales that differ by map."""
    rng, maps = np.random.default_rng(3), case.filter[0]
    conv = len(case.filter) == 4
    scales = (0.25 * 2.0 ** rng.uniform(-2, 1, maps)).astype(np.float32)
    operands: list[Operand] = [
        quantised(rng, case.shape, 0.5, case.zeros[0]),
        (rng.integers(-128, 128, case.filter).astype(np.int8), None),
        (rng.integers(-5000, 5000, maps).astype(np.int32), None),
        (scales, None),
    ]
    attrs = {**case.attrs, "Y_scale": 0.125 / case.scale, "Y_zero_point": case.zeros[2]}
    if conv:
        attrs |= {"kernels": case.filter[1:3], "order": b"NHWC"}
    op = "g.int8_conv" if conv else "g.int8_fc"
    if case.residual:
        shape = int8_call(op, operands, attrs, (1, 2, 3)).node.results[0].type.static_shape
        unit = 1.0 if case.attrs.get("to_float") else 0.125 / case.scale
        operands.append(quantised(rng, shape, case.residual * unit, case.zeros[1]))
    return int8_call(op, operands, attrs, (1, 2, 3)), operands


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
