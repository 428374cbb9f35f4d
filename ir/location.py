"""Where a node comes from: which operators of which net. A fused node keeps the list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """One operator of a NetDef: net name, position in ``NetDef.op`` (-1: made by graphc), type and name."""

    net: str
    index: int
    op_type: str
    name: str = ""

    def __str__(self) -> str:
        at = f"op #{self.index}" if self.index >= 0 else "made by graphc"
        return f"{self.net or 'net'} {at} {self.op_type}" + (f" '{self.name}'" if self.name else "")


@dataclass(frozen=True)
class Location:
    """The origins of a node in net order."""

    origins: tuple[Origin, ...] = ()

    def join(self, *others: Location) -> Location:
        """Location of a node made from several: all origins, once each, in net order."""
        seen = dict.fromkeys(o for loc in (self, *others) for o in loc.origins)
        return Location(tuple(sorted(seen, key=lambda o: (o.net, o.index))))

    def __str__(self) -> str:
        return " + ".join(map(str, self.origins)) or "unknown location"


UNKNOWN_LOCATION = Location()
