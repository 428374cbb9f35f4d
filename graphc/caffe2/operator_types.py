"""Which operators nets may name: those with a record, those that graphc only knows by name."""

from __future__ import annotations

import difflib

from graphc.ir import registry
from graphc.ir.ops.unsupported import REFUSALS, refusal

_ENGINE = "_ENGINE_"


def operator_types() -> list[str]:
    """Names of operators, sorted, in Caffe2's form: ``Conv``, ``Conv_ENGINE_DNNLOWP``; graphc's own are left out."""
    return sorted({name for name in registry() if not name.startswith("g.")} | REFUSALS.keys())


def is_operator(op_type: str, engine: str = "DEFAULT") -> bool:
    """A net may name this operator with this engine, though graphc may refuse to run it."""
    name = op_type if engine in ("", "DEFAULT") else f"{op_type}{_ENGINE}{engine}"
    return not name.startswith("g.") and (name in registry() or name in REFUSALS or refusal(name) is not None)


def near_operators(op_type: str) -> list[str]:
    """Operators of almost the same name."""
    return difflib.get_close_matches(op_type, [n for n in operator_types() if _ENGINE not in n], 3)
