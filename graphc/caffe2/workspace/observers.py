"""Observers of created nets: what they note at each run."""

from __future__ import annotations

from typing import Protocol

from graphc.caffe2.workspace.errors import EnforceError


class Observer(Protocol):
    """What is told of each run of a net."""

    def note(self, seconds: float) -> None:
        """A run took so long."""


class TimeObserver:
    """The mean time of runs."""

    def __init__(self) -> None:
        self._seconds, self._runs = 0.0, 0

    def note(self, seconds: float) -> None:
        """Add a run."""
        self._seconds += seconds
        self._runs += 1

    def average_time(self) -> float:
        """Milliseconds of a run, 0 before the first."""
        return 1000 * self._seconds / max(self._runs, 1)


class RunCountObserver:
    """The number of runs."""

    def __init__(self) -> None:
        self._runs = 0

    def note(self, seconds: float) -> None:
        """Add a run."""
        self._runs += 1

    def debug_info(self) -> str:
        """The number of runs in words."""
        return f"This operator runs {self._runs} iterations."


OBSERVERS: dict[str, type[TimeObserver] | type[RunCountObserver]] = {
    "RunCountObserver": RunCountObserver,
    "TimeObserver": TimeObserver,
}


def make_observer(kind: str) -> TimeObserver | RunCountObserver:
    """An observer by the name of its type; raises ``EnforceError``."""
    if kind not in OBSERVERS:
        raise EnforceError(f"there is no observer '{kind}'", f"graphc has {', '.join(OBSERVERS)}")
    return OBSERVERS[kind]()
