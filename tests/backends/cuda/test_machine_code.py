"""Kernels compiled to machine code without a card: nothing spilled, registers within bounds. Needs the extra cuda."""

from __future__ import annotations

import pytest
from emulated import emulated_plan
from test_card_plans import OPS, WEIGHTS, X

import graphc
from graphc.backends.cuda.compile import compiler_versions
from graphc.backends.cuda.target import TARGETS

REGISTERS = 128
"""As many leave room for two blocks of 256 threads on a multiprocessor."""


@pytest.fixture(autouse=True)
def compiler() -> None:
    try:
        compiler_versions()
    except graphc.GraphcError as error:
        pytest.skip(f"{error.message}: {error.help}")


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_fit_the_registers(target: str) -> None:
    plan = emulated_plan(OPS, {"x": X}, "y", WEIGHTS, target)
    plan.code.objects.clear()
    plan.prepare()
    found = plan.code.cubins()
    assert len(found) == len(plan.kernels) == 3
    for cubin in found:
        assert cubin.code.startswith(b"\x7fELF")
        assert cubin.stack == cubin.spilled == 0, cubin.name
        assert cubin.registers <= REGISTERS, cubin.name
        assert cubin.occupancy >= 0.25, cubin.name
