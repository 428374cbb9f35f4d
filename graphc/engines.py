"""What a user may ask of engines, checked before anything is compiled; ``auto`` is decided by a card's clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from graphc.benchmark import random_inputs
from graphc.ir import GraphcError
from graphc.ir.engine import CUDNN, DEFAULT
from graphc.passes.choose_engines import ALL, NET
from graphc.plan import Plan

Engine = str | Mapping[str, str]
AUTO = "auto"
"""Ask for what this machine's card does faster."""
ENGINES = (DEFAULT, CUDNN, NET, AUTO)


def engine_requests(engine: Engine, is_card: bool) -> dict[str, str]:
    """Requests by blob, without those that ask for nothing; raises ``GraphcError`` for unknown words, and where the
    target is no card and something is asked for."""
    given = dict(engine) if isinstance(engine, Mapping) else {ALL: engine}
    words = {word.lower(): word for word in ENGINES}
    found = {}
    for name, asked in given.items():
        word = words.get(str(asked).lower())
        if word is None or (word in (NET, AUTO) and name != ALL):
            known = ", ".join(ENGINES if name == ALL else ENGINES[:2])
            raise GraphcError(f"the engine of '{name}' is {asked!r}", f"known: {known}")
        found[name] = word
    if all(word == DEFAULT for word in found.values()):
        return {}
    if not is_card:
        raise GraphcError(
            f"the engine {CUDNN} is of cards, and the target is a CPU", "leave the engine out, or give a card: --target"
        )
    return found


def without_measuring(requests: Mapping[str, str]) -> dict[str, str]:
    """The requests as they are looked at where nothing is timed: with ``auto``, all that a library does."""
    return {name: CUDNN if word == AUTO else word for name, word in requests.items()}


def measured(requests: Mapping[str, str], build: Callable[[Mapping[str, str]], Plan]) -> dict[str, str]:
    """The requests with ``auto`` replaced by those for the blobs that a library computes in less time.

    build: the plan for some requests. Both plans run on this machine's card, on random inputs of the sizes compiled
    for; raises ``GraphcError`` where there is none, or not the libraries.
    """
    if requests.get(ALL) != AUTO:
        return dict(requests)
    own, asked = build({}), build({ALL: CUDNN})
    blobs = {t.label for s in asked.schedules for step in s.steps for t in step if t.kernel.library}
    before, behind = _seconds(own), _seconds(asked)
    faster = {blob: CUDNN for blob in blobs if behind[blob] < before.get(blob, 0.0)}
    return faster | {name: word for name, word in requests.items() if name != ALL}


def _seconds(plan: Plan) -> Mapping[str, float]:
    """What the tasks of each operator on the card take, by the blob that it computes."""
    found: defaultdict[str, float] = defaultdict(float)
    for times in plan.card_times(random_inputs(plan, 0)):
        for task, seconds in times.tasks:
            found[task.label] += seconds
    return found
