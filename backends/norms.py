"""Normalisation by statistics of the input, as kernels need it: InstanceNorm, GroupNorm, LayerNorm.

Each normalises stretches of memory: the pixels of a channel, the channels of a group, a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphc.backends.rows import flattened
from graphc.ir.opdef import Call

OPERATORS = ("InstanceNorm", "GroupNorm", "LayerNorm")


@dataclass(frozen=True)
class Stretches:
    """How an operator cuts its input: ``count`` stretches of ``parts`` channels of ``run`` elements.

    Stretch u holds the channels from u % groups * parts on."""

    count: int
    parts: int
    run: int
    groups: int


def stretches(call: Call) -> Stretches:
    """Those of a call in NCHW order."""
    shape = call.type(0).static_shape
    if call.node.op == "LayerNorm":
        rows, columns = flattened(shape, call.arg("axis") % len(shape))
        return Stretches(rows, 1, columns, 1)
    n, c, run = shape[0], shape[1], math.prod(shape[2:])
    group = call.arg("group") if call.node.op == "GroupNorm" else c
    return Stretches(n * group, c // group, run, group)


def static(call: Call) -> dict[str, int | str] | None:
    """Parameters of a kernel: affine (``none``, or scale and bias by ``channel``, ``element``), statistics (mean and
    deviation are wanted), inverse (the latter's inverse is). None for NHWC order, or one result of the two.
    """
    if (call.opdef.has_arg("order") and call.arg("order") != "NCHW") or call.n_outputs == 2:
        return None
    layer = call.node.op == "LayerNorm"
    affine = ("element" if call.arg("elementwise_affine") else "none") if layer else "channel"
    return {"affine": affine, "statistics": int(call.n_outputs > 1), "inverse": int(not layer)}
