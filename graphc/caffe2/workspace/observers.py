"""Observers of created nets: what they note at each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from graphc.caffe2.workspace.errors import EnforceError
from graphc.caffe2.workspace.values import Value
from graphc.frontends.netdef.net import Net


class Observer(Protocol):
    """What is told of each run of a net."""

    def note(self, seconds: float) -> None:
        """A run took so long."""


class TimeObserver:
    """The mean time of runs. operators: how many the net has."""

    def __init__(self, operators: int) -> None:
        self._seconds, self._runs, self._operators = 0.0, 0, operators

    def note(self, seconds: float) -> None:
        """Add a run."""
        self._seconds += seconds
        self._runs += 1

    def average_time(self) -> float:
        """Milliseconds of a run, 0 before the first."""
        return 1000 * self._seconds / max(self._runs, 1)

    def average_time_children(self) -> float:
        """Milliseconds of an operator, on average: a run is one call, which the operators share."""
        return self.average_time() / max(self._operators, 1)


class RunCountObserver:
    """The number of operators that the runs of a net went through; those of a step net count at each time step.

    value: gives what a blob holds.
    """

    def __init__(self, net: Net, value: Callable[[str], Value]) -> None:
        self._net, self._value, self._operators = net, value, 0

    def note(self, seconds: float) -> None:
        """Add the operators of a run."""
        steps: dict[str, int] = {}
        for op in self._net.ops:
            step, back = op.args.get("step_net"), op.args.get("backward_step_net")
            if op.type == "RecurrentNetwork" and isinstance(step, Net):
                steps[step.name] = len(self._value(op.inputs[0]))
                self._operators += steps[step.name] * len(step.ops)
            if op.type == "RecurrentNetworkGradient" and isinstance(step, Net) and isinstance(back, Net):
                self._operators += steps.get(step.name, 0) * len(back.ops)
        self._operators += len(self._net.ops)

    def debug_info(self) -> str:
        """The number of operators in words."""
        return f"This operator runs {self._operators} iterations."


def make_observer(kind: str, net: Net, value: Callable[[str], Value]) -> TimeObserver | RunCountObserver:
    """An observer of a net's runs by the name of its type; raises ``EnforceError``. value: gives what a blob holds."""
    if kind == "TimeObserver":
        return TimeObserver(len(net.ops))
    if kind == "RunCountObserver":
        return RunCountObserver(net, value)
    raise EnforceError(f"there is no observer '{kind}'", "graphc has TimeObserver, RunCountObserver")
