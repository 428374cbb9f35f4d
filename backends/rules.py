"""Rule and Template: how a family of kernels presents itself to the library of its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, View

T = TypeVar("T")
"""The description of a target."""


@dataclass(frozen=True)
class Template(Generic[T]):
    """A kernel generator. emit(spec, target): source of a function called ``spec.name``."""

    name: str
    emit: Callable[[KernelSpec, T], str]


@dataclass(frozen=True)
class Rule(Generic[T]):
    """One way to compute some operators.

    choose(call, target): a Choice with its predicted cost, None where the rule does not apply. needs(call, choice,
    target): what it asks of memory. bind(call, choice, ins, outs, workspace, target): its steps. half: it serves
    operators in half precision too (``ir/precision.py``). why_not(call, target): for people, why it does not apply.
    last: it is asked only where no other rule applies.
    """

    name: str
    ops: tuple[str, ...]
    choose: Callable[[Call, T], Choice | None]
    needs: Callable[[Call, Choice, T], Needs]
    bind: Callable[[Call, Choice, Sequence[View | None], Sequence[View], Address, T], list[Step]]
    half: bool = False
    why_not: Callable[[Call, T], str] | None = None
    last: bool = False


def float_bits(value: float) -> int:
    """A number as a parameter of a task: the bits of its float64, which a kernel reads as such."""
    return int(np.float64(value).view(np.int64))
