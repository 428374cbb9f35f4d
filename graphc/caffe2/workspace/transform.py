"""Rewriting nets by the name of a rule."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.transforms import TRANSFORMS, WORKSPACE_TRANSFORMS, transform
from graphc.caffe2.workspace.coercion import net_message
from graphc.caffe2.workspace.current import WorkspaceGuard, current
from graphc.caffe2.workspace.errors import EnforceError
from graphc.caffe2.workspace.functions import BenchmarkNet, CreateNet, RunNetOnce
from graphc.frontends.netdef.schema import Message

_TRIAL = "__trial_of_a_transform"
"""The workspace in which nets are timed."""


def ApplyTransform(transform_key: str, net: Any) -> Message:
    """A rewritten copy of a net, as a NetDef; raises ``RuntimeError`` for a rule that graphc does not have."""
    if transform_key not in TRANSFORMS and transform_key not in WORKSPACE_TRANSFORMS:
        known = ", ".join(sorted([*TRANSFORMS, *WORKSPACE_TRANSFORMS]))
        raise EnforceError(f"there is no transform '{transform_key}'", f"transforms: {known}")
    copy = caffe2_pb2.NetDef()
    copy.CopyFrom(net_message(net))
    transform(transform_key, copy, current())
    return copy


def ApplyTransformIfFaster(
    transform_key: str,
    net: Any,
    init_net: Any,
    warmup_runs: int = 5,
    main_runs: int = 10,
    improvement_threshold: float = 1.01,
) -> Message:
    """A rewritten copy of a net if that is so many times faster, else a copy.

    init_net: what has to run before; both are timed in a workspace of their own.
    """
    before = caffe2_pb2.NetDef()
    before.CopyFrom(net_message(net))
    with WorkspaceGuard(_TRIAL):
        current().reset()
        RunNetOnce(init_net)
        old = _milliseconds(before, "before", warmup_runs, main_runs)
        after = ApplyTransform(transform_key, before)
        new = _milliseconds(after, "after", warmup_runs, main_runs)
        current().reset()
    return after if old > new * improvement_threshold else before


def _milliseconds(net: Message, name: str, warmup_runs: int, main_runs: int) -> float:
    named = caffe2_pb2.NetDef()
    named.CopyFrom(net)
    named.name = name
    CreateNet(named)
    return float(BenchmarkNet(name, warmup_runs, main_runs)[0])
