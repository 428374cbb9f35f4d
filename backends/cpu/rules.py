"""Rule and Template: how a family of kernels presents itself to the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.cpu.target import CpuTarget
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, View


@dataclass(frozen=True)
class Template:
    """A kernel generator. emit(spec, target): source of ``def <spec.name>(p, lo, hi, tid)``.

    ``p``: address of the parameters (int64 each, read with ``ld(p, i)``); [lo, hi): the units to do; ``tid``: the
    thread's number, for its part of the scratch. Units of one task may run in any order on any threads.
    """

    name: str
    emit: Callable[[KernelSpec, CpuTarget], str]


@dataclass(frozen=True)
class Rule:
    """One way to compute some operators.

    choose(call, target): a Choice with its predicted cost, None where the rule does not apply. needs(call, choice,
    target): what it asks of memory. bind(call, choice, ins, outs, workspace, target): its steps.
    """

    name: str
    ops: tuple[str, ...]
    choose: Callable[[Call, CpuTarget], Choice | None]
    needs: Callable[[Call, Choice, CpuTarget], Needs]
    bind: Callable[[Call, Choice, Sequence[View | None], Sequence[View], Address, CpuTarget], list[Step]]


def float_bits(value: float) -> int:
    """A number as a parameter of a task: the bits of its float64, which a kernel reads with ``ld_f8``."""
    return int(np.float64(value).view(np.int64))
