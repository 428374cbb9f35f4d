"""Host operators that report a number to the global statistics. Rules from Caffe2's ``stats_put_ops.h`` and
``stats.h``."""

from __future__ import annotations

import math

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.caffe2.workspace.statistics import GLOBAL

_LEAST, _MOST = -(2**63), 2**63 - 1
_FIRST: dict[str, int] = {}
"""The first number of each standard deviation: the others count by their distance from it."""


def _reported(call: HostCall) -> tuple[str, int]:
    """The statistic's name, and the first element of the input times ``magnitude_expand`` as a whole number.

    bound: numbers that are too large become the largest, and what is no number becomes 0; otherwise they are refused.
    default_value: for an input without elements.
    """
    name, factor = call.arg("stat_name", "") or call.op.inputs[0], int(call.arg("magnitude_expand", 1))
    elements = np.asarray(call.read(0)).reshape(-1)
    default = call.arg("default_value", None)
    if not elements.size and default is None:
        call.fail(f"Default value must be provided when receiving empty tensors for {name}", "give default_value")
    value = elements[0].item() if elements.size else default
    limit = _MOST // factor
    if math.isnan(value) or abs(value) >= limit:
        if not call.arg("bound", 0):
            call.fail(f"{value} times {factor} is no whole number of 64 bits for {name}", "say bound=True to limit it")
        return f"{name}/stat_value", 0 if math.isnan(value) else _MOST if value > 0 else _LEAST
    return f"{name}/stat_value", int(value * factor)


@host_operator("IncrementPut")
def increment_put(call: HostCall) -> None:
    """Add a number to a sum."""
    GLOBAL.add([_reported(call)])


@host_operator("AveragePut")
def average_put(call: HostCall) -> None:
    """Add a number to a sum, and 1 to the number of numbers."""
    name, value = _reported(call)
    GLOBAL.add([(f"{name}/sum", value), (f"{name}/count", 1)])


@host_operator("StdDevPut")
def std_dev_put(call: HostCall) -> None:
    """As AveragePut; and add the distance from the first number, and its square, to sums of theirs."""
    name, value = _reported(call)
    offset = value - _FIRST.setdefault(name, value)
    sums = {"sum": value, "count": 1, "sumoffset": offset, "sumsqoffset": offset * offset}
    GLOBAL.add((f"{name}/{key}", number) for key, number in sums.items())
