"""Tuning: the tilings that were fastest on a card, by problem: a table that prints as JSON and parses back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphc.ir import GraphcError

FORMAT, VERSION = "graphc-tuning", 1
REMEDY = "write it again on a machine with the card: graphc tune NET --init INIT -o tuning.json"


@dataclass(frozen=True)
class Measured:
    """The fastest tiling of a problem, and the model's choice, with their seconds."""

    tiling: str
    seconds: float
    model: str
    model_seconds: float

    @staticmethod
    def of(plain: Any) -> Measured:
        """Inverse of ``asdict``; raises ``ValueError``."""
        names = ("tiling", "seconds", "model", "model_seconds")
        if not isinstance(plain, dict) or set(plain) != set(names):
            raise ValueError(f"an entry has {', '.join(names)}, not {str(plain)[:100]}")
        texts, times = (plain["tiling"], plain["model"]), (plain["seconds"], plain["model_seconds"])
        numbers = all(isinstance(t, int | float) and not isinstance(t, bool) and 0 <= t < 1e6 for t in times)
        if not all(isinstance(t, str) for t in texts) or not numbers:
            raise ValueError(f"an entry has two texts and two times in seconds, not {str(plain)[:100]}")
        return Measured(texts[0], float(times[0]), texts[1], float(times[1]))


@dataclass(frozen=True)
class Tuning:
    """A table of one target, by the text of a ``Problem``. card: where it was measured, for people."""

    target: str = ""
    card: str = ""
    entries: Mapping[str, Measured] = field(default_factory=dict)

    def tiling(self, problem: str) -> str | None:
        """The text of the fastest tiling, None for a problem that was not measured."""
        found = self.entries.get(problem)
        return None if found is None else found.tiling

    def __str__(self) -> str:
        entries = {problem: asdict(found) for problem, found in sorted(self.entries.items())}
        head = {"format": FORMAT, "version": VERSION, "target": self.target, "card": self.card}
        return json.dumps({**head, "entries": entries}, indent=1)

    @staticmethod
    def parse(text: str, name: str = "the table of tilings") -> Tuning:
        """Inverse of ``str``; raises ``GraphcError`` that names the file for anything else."""
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GraphcError(f"{name} is no JSON, or is truncated: {error}", REMEDY) from None
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise GraphcError(f"{name} is no table of tilings: its format is not {FORMAT}", REMEDY)
        if plain.get("version") != VERSION:
            version = repr(plain.get("version"))[:20]
            raise GraphcError(f"{name} has version {version}, this graphc reads {VERSION}", REMEDY)
        try:
            return _of_plain(plain)
        except ValueError as error:
            raise GraphcError(f"{name} is damaged: {error}", REMEDY) from None


def _of_plain(plain: Mapping[str, Any]) -> Tuning:
    names = {"format", "version", "target", "card", "entries"}
    if set(plain) != names:
        raise ValueError(f"it has the keys {', '.join(sorted(plain))}, not {', '.join(sorted(names))}")
    target, card, entries = plain["target"], plain["card"], plain["entries"]
    if not (isinstance(target, str) and isinstance(card, str) and isinstance(entries, dict)):
        raise ValueError("target and card are texts, entries an object")
    return Tuning(target, card, {problem: Measured.of(found) for problem, found in entries.items()})


UNTUNED = Tuning()
