"""What a user may ask of engines, checked before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir import GraphcError
from graphc.ir.engine import CUDNN, DEFAULT
from graphc.passes.choose_engines import ALL, NET

Engine = str | Mapping[str, str]
ENGINES = (DEFAULT, CUDNN, NET)


def engine_requests(engine: Engine, is_card: bool) -> dict[str, str]:
    """Requests by blob, without those that ask for nothing; raises ``GraphcError`` for unknown words, and where the
    target is no card and something is asked for."""
    given = dict(engine) if isinstance(engine, Mapping) else {ALL: engine}
    words = {word.lower(): word for word in ENGINES}
    found = {}
    for name, asked in given.items():
        word = words.get(str(asked).lower())
        if word is None or (word == NET and name != ALL):
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
