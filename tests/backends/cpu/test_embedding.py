"""Sums of looked-up rows against the reference: every operator, row lengths around the vectors', wrong data."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, bind_call, build_call, run_call

from graphc.backends.cpu.kernels.embedding import SERVED
from graphc.ir.reference import evaluate_node

rng = np.random.default_rng(3)
LENGTHS = np.array([3, 0, 1, 20, 2], np.int32)
"""One run is longer than what the kernel fetches ahead."""


def operands(op: str, columns: int, index: type = np.int64) -> list[np.ndarray]:
    """A table, weights, indices and lengths as the operator takes them. columns: an even number for 4-bit rows."""
    kind, weighted = SERVED[op].tables[0], SERVED[op].weighted
    count = int(LENGTHS.sum())
    sparse = not op.startswith("Lengths")
    rows = 7 if sparse else count
    table = rng.standard_normal((rows, columns)).astype(np.float32)
    if kind == "u1":
        scales = rng.standard_normal((rows, 2)).astype(np.float32).view(np.uint8).reshape(rows, 8)
        table = np.concatenate([rng.integers(0, 256, (rows, columns)).astype(np.uint8), scales], 1)
    if kind == "q4":
        halves = rng.standard_normal((rows, 2)).astype(np.float16).view(np.uint8).reshape(rows, 4)
        table = np.concatenate([rng.integers(0, 256, (rows, columns // 2)).astype(np.uint8), halves], 1)
    if kind == "r1":
        table = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    scales = [rng.standard_normal((rows, 2)).astype(np.float32)] if kind == "r1" else []
    weights = [rng.standard_normal(count).astype(np.float32)] if weighted else []
    indices = [rng.integers(0, rows, count).astype(index)] if sparse else []
    return [table, *weights, *indices, *([] if op.startswith("Gather") else [LENGTHS]), *scales]


def check(machine: Machine, op: str, arrays: list[np.ndarray]) -> None:
    call = build_call(op, arrays, target=machine.target)
    assert machine.library.choose(call).rule == "embedding"
    got, want = run_call(machine, call, arrays)[0], evaluate_node(call.node, arrays)[0]
    # the biases of 8-bit rows are added by themselves
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-3 if arrays[0].dtype == np.uint8 else 1e-5)


WIDE_ONLY = (
    *("SparseLengthsMeanFused4BitRowwise", "SparseLengthsWeightedSumFused4BitRowwise"),
    *("SparseLengthsMean8BitsRowwise", "SparseLengthsWeightedMean8BitsRowwise"),
)
"""Tested on one target: what they add is the same code as for the other tables."""


@pytest.mark.parametrize("op", [op for op in SERVED if op not in WIDE_ONLY])
def test_every_operator(machine: Machine, op: str) -> None:
    each = 2 if SERVED[op].tables[0] == "q4" else 1
    for columns in (1, machine.target.lanes, 8 * machine.target.lanes + 5):
        check(machine, op, operands(op, each * columns))


@pytest.mark.parametrize("op", ["SparseLengthsSum", "SparseLengthsSumFused8BitRowwise"])
def test_lengths_of_rows(machine: Machine, op: str) -> None:
    for columns in (2, 3, 4, 7, 15, 17, 33, 64, 95, 128, 200):
        check(machine, op, operands(op, columns, np.int32))


@pytest.mark.parametrize("op", ["SparseLengthsSum", "SparseLengthsMean", "SparseLengthsWeightedSum"])
def test_tables_of_float16(machine: Machine, op: str) -> None:
    for columns in (1, 7, machine.target.lanes, 95, 200) if op == "SparseLengthsSum" else (40,):
        table, *rest = operands(op, columns)
        check(machine, op, [table.astype(np.float16), *rest])


def test_lengths_of_rows_of_two_numbers_a_byte(machine: Machine) -> None:
    for columns in (2, 4, 30, 34, 66, 128, 190, 200):
        check(machine, "SparseLengthsSumFused4BitRowwise", operands("SparseLengthsSumFused4BitRowwise", columns))


@pytest.mark.parametrize("op", WIDE_ONLY)
def test_means_and_weights_of_packed_rows(machines: dict[str, Machine], op: str) -> None:
    for columns in (2, 70):
        check(next(iter(machines.values())), op, operands(op, columns))


def test_rows_of_more_dimensions_and_none_at_all(machine: Machine) -> None:
    table, indices, lengths = operands("SparseLengthsSum", 24)
    check(machine, "SparseLengthsSum", [table.reshape(7, 2, 3, 4), indices, lengths])
    check(machine, "SparseLengthsSum", [table, indices[:0], lengths * 0])
    check(machine, "SparseLengthsSum", [table[:0], indices[:0], lengths * 0])
    check(machine, "SparseLengthsSum", [table, indices[:0], lengths[:0]])


def test_single_rows_without_lengths(machine: Machine) -> None:
    table, indices = operands("GatherFused8BitRowwise", 40)
    check(machine, "GatherFused8BitRowwise", [table, indices[:0]])
    for bad in (-1, 7, 2**40):
        arrays = [table, np.where(np.arange(26) == 9, bad, indices)]
        bound = bind_call(machine, build_call("GatherFused8BitRowwise", arrays, target=machine.target), arrays)
        machine.compile([t.kernel for s in bound.steps for t in s])
        bound.run()
        assert bound.status[0] == 2


@pytest.mark.parametrize("op", ["SparseLengthsSum", "SparseLengthsMeanFused8BitRowwise"])
def test_wrong_data_is_found_before_it_is_used(machine: Machine, op: str) -> None:
    table, indices, lengths = operands(op, 40)
    wrong = [(lengths, np.where(np.arange(26) == 9, bad, indices), 2) for bad in (-1, 7, 2**40)]
    sums = ([26, 1, 0, 0, 0], [27, -1, 0, 0, 0], [5, 0, 0, 0, 0], [])
    wrong += [(np.array(bad, np.int32), indices, 1) for bad in sums]
    for runs, places, code in wrong:
        arrays = [table, places, runs]
        call = build_call(op, arrays, target=machine.target)
        bound = bind_call(machine, call, arrays)
        machine.compile([t.kernel for s in bound.steps for t in s])
        bound.run()
        assert bound.status[0] == code
