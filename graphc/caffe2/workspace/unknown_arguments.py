"""Arguments that an operator does not know: Caffe2 ignores them, and scripts rely on that."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache

from graphc.frontends.netdef.arguments import is_harmless
from graphc.frontends.netdef.engines import engine_type
from graphc.frontends.netdef.net import ArgValue, Net, Operator
from graphc.ir import registry

_LOG = logging.getLogger(__name__)


def without_unknown(net: Net) -> Net:
    """The net without arguments that no rule of their operator reads; a warning names each once in a process."""
    return replace(net, ops=[_operator(op) for op in net.ops])


def _operator(op: Operator) -> Operator:
    record = registry().get(engine_type(op))
    if record is None:
        return op
    unknown = [n for n in op.args if not (record.has_arg(n) or is_harmless(record.name, n) or op.is_gradient)]
    for name in unknown:
        _warn(op.type, name)
    return replace(op, args={n: _value(v) for n, v in op.args.items() if n not in unknown})


def _value(value: ArgValue) -> ArgValue:
    if isinstance(value, tuple):
        return tuple(_value(v) for v in value) if value and isinstance(value[0], Net) else value
    return without_unknown(value) if isinstance(value, Net) else value


@cache
def _warn(op_type: str, name: str) -> None:
    _LOG.warning("%s has no argument '%s': it is ignored, as Caffe2 ignores it", op_type, name)
