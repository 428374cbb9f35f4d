"""The table of a quantisation: a scale and zero point for each value, the layers that stay in float; as text too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir import GraphcError, Quant, quote
from graphc.ir.attrs import unquote
from graphc.passes.quantize.layers import Kind, Layer
from graphc.passes.quantize.observation import Observation
from graphc.passes.quantize.ranges import range_of
from graphc.passes.quantize.scales import affine

_LINE = re.compile(r'"((?:[^"\\]|\\.)*)"\s+(?:scale (\S+)\s+zero (\d+)|(float))')
HEAD = "// value, scale and zero point: real = (q - zero) * scale; products that stay in float"


@dataclass
class QuantTable:
    """quants: by name of the value. in_float: names of the products that stay in float.

    ``str`` prints it, ``parse_table`` reads it back: equal, since scales are printed with all their digits.
    """

    quants: dict[str, Quant] = field(default_factory=dict)
    in_float: list[str] = field(default_factory=list)

    def of(self, name: str) -> Quant:
        """The quantisation of a value; raises ``GraphcError`` for one that the table lacks."""
        if name not in self.quants:
            raise GraphcError(f"the table of scales has no row for '{name}'", "calibrate the net again")
        return self.quants[name]

    def __str__(self) -> str:
        rows = [f"{quote(name)}  scale {q.scale!r}  zero {q.zero_point}" for name, q in self.quants.items()]
        return "\n".join([HEAD, *rows, *(f"{quote(name)}  float" for name in self.in_float)]) + "\n"


def parse_table(text: str) -> QuantTable:
    """Inverse of ``str``; raises ``GraphcError`` naming the line that is wrong."""
    table = QuantTable()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("//"):
            continue
        m = _LINE.fullmatch(line.strip())
        if m is None:
            raise GraphcError(f"line {number} of the table is '{line}'", 'rows are: "name"  scale 0.1  zero 128')
        name = unquote(m.group(1))
        if m.group(4):
            table.in_float.append(name)
        else:
            table.quants[name] = _quant(number, m.group(2), m.group(3))
    return table


def _quant(number: int, scale: str, zero: str) -> Quant:
    try:
        quant = Quant(float(scale), int(zero))
    except ValueError:
        raise GraphcError(f"line {number} of the table has the scale '{scale}'", "give a number") from None
    if not 0 < quant.scale < float("inf") or quant.zero_point > 255:
        raise GraphcError(
            f"line {number} of the table has scale {scale} and zero point {zero}",
            "a positive finite scale and a zero point in 0 ... 255 are needed",
        )
    return quant


def assign(layers: Sequence[Layer], seen: Mapping[str, Observation], rule: str) -> QuantTable:
    """Scales of everything that the layers read and write in 8 bits, from the records of a calibration.

    Values tied together (``tied``) get one scale, from the records of all of them. rule: a key of ``RULES``. Raises
    ``GraphcError`` for a value without a record.
    """
    table = QuantTable()
    for group in tied(layers):
        total = Observation(group[0])
        for name in group:
            if name not in seen:
                raise GraphcError(f"blob '{name}' was never observed", "give calibration data")
            total.merge(seen[name])
        quant = affine(*range_of(total, rule))
        table.quants.update(dict.fromkeys(group, quant))
    return table


def tied(layers: Sequence[Layer]) -> list[list[str]]:
    """Names of the values in 8 bits, in groups that have one scale: what layers of kind MOVE read and write."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for layer in layers:
        names = [v.name for v in layer.inputs] + [layer.result.name]
        roots = [root(n) for n in names]
        if layer.kind is Kind.MOVE:
            parent.update(dict.fromkeys(roots, roots[0]))
            parent[roots[0]] = roots[0]
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())
