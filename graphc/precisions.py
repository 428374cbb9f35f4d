"""Precisions as users ask for them, and the passes that give them to a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from graphc.backends.cuda.target import is_cuda
from graphc.ir import Graph, GraphcError
from graphc.ir.fpmath import FPMATH, TF32
from graphc.passes import Dce, Half, Pass, Pipeline, Tf32
from graphc.targets import Target

FLOAT, FLOAT16, BFLOAT16 = "float", "float16", "bfloat16"
PRECISIONS = {FLOAT: FLOAT, FLOAT16: FLOAT16, "half": FLOAT16, BFLOAT16: BFLOAT16, "bf16": BFLOAT16, TF32: TF32}
"""What a user may call a precision, and what passes call it."""
Precision = str | Mapping[str, str]


def precision_passes(precision: Precision, target: Target) -> Pipeline:
    """The passes behind a pipeline that bring a net into a precision (see ``compile``); raises ``GraphcError``.

    Cards have tensor cores, which the rule of halves goes by. None where all is to be float32, unless that is asked of
    operators by name, which a pass has to know.
    """
    wanted = _precisions(precision)
    kinds = set(wanted.values())
    passes: Pipeline = ()
    if kinds & {FLOAT16, BFLOAT16} or (kinds == {FLOAT} and len(wanted) > 1):
        # dce: without the float32 weights that nobody reads any more
        passes = Half(*_options(wanted, {FLOAT16, BFLOAT16}), is_cuda(target.name)), Dce()
    return (*passes, Tf32(*_options(wanted, {TF32}))) if TF32 in kinds else passes


def wants_tensor_cores(precision: Precision) -> bool:
    """Some of a net is to be in another precision than float32; raises ``GraphcError``."""
    return set(_precisions(precision).values()) != {FLOAT}


def _precisions(precision: Precision) -> dict[str, str]:
    """What passes call the precisions that a user asks for, by blob, ``*`` among them; raises ``GraphcError``."""
    wanted = {"*": FLOAT} | (dict(precision) if isinstance(precision, Mapping) else {"*": precision})
    for name, kind in wanted.items():
        if kind not in PRECISIONS or not isinstance(name, str) or any(c in name for c in ";,{}"):
            raise GraphcError(
                f"the precision of '{name}' is {kind!r}",
                f"give one of {', '.join(PRECISIONS)}, or a dict of them by blob: precision={{'*': 'bfloat16'}}",
            )
    return {name: PRECISIONS[kind] for name, kind in wanted.items()}


def _options(wanted: Mapping[str, str], kinds: Set[str]) -> tuple[str, str]:
    """What a pass is told that gives operators these kinds of precision, and others none: for all, and by blob."""
    told = {name: kind if kind in kinds else FLOAT for name, kind in wanted.items()}
    return told.pop("*"), ";".join(f"{name}:{kind}" for name, kind in told.items())


def require_card(graph: Graph, passes: Sequence[Pass], target: Target) -> None:
    """Raise ``GraphcError`` for a graph or passes that are for cards where the target is none."""
    if is_cuda(target.name):
        return
    if any(isinstance(p, Tf32) for p in passes) or any(FPMATH in node.attrs for node in graph.walk()):
        raise GraphcError(
            f"TF32 is what cards multiply, and the target '{target.name}' is a CPU",
            "name a card as the target (cuda:sm_90a), or ask for another precision: float, float16, bfloat16",
        )
