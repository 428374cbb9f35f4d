"""Real Caffe2's recorded answers, by kernels for cards in the emulator: the families that have one."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
from emulated import TARGET, on_emulated_card

import graphc
from graphc.operators import compile_operator, operator_graph, run_compiled

OPERATORS = (
    *("AveragePool", "BatchMatMul", "ChannelShuffle", "Concat", "FC", "LRN", "MatMul", "MaxPool", "ReduceL2"),
    *("ReduceMean", "ReduceMin", "Slice", "Softmax", "Swish", "Transpose"),
)
CASES = 6
"""Of an operator, at most, that a kernel serves."""


@pytest.mark.parametrize("name", OPERATORS)
def test_kernels_give_caffe2s_answers(name: str, shared: Path) -> None:
    reader = golden.load_reader(shared / "golden")
    passed = 0
    for case in golden.all_cases(reader, shared / "golden", [name]):
        inputs = [golden.tensor(v) for _, v in case.inputs]
        try:
            plan = compile_operator(operator_graph(case.op, inputs), TARGET)
            on_emulated_card(plan)
        except graphc.LoweringError:
            continue  # an order, a number of dimensions or an element type that no kernel for cards has
        assert not golden.difference(reader, case, run_compiled(plan, case.op, inputs)), case.index
        passed += 1
        if passed == CASES:
            break
    assert passed
