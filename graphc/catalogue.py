"""What graphc knows of each operator, from the records and the kernels' rules: as plain data, text, and a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.backends.cpu import kernels
from graphc.backends.cpu.target import targets
from graphc.backends.library import BY_TRAIT
from graphc.ir import Arg, Attr, Call, DType, Graph, GraphcError, Node, OpDef, Port, TensorType, Trait, Value, registry
from graphc.ir.attrs import format_scalar
from graphc.ir.gradient import NO_GRADIENT
from graphc.ir.ops import FAMILIES
from graphc.ir.ops.unsupported import refusal

PAGE_HEAD = """# Operators

Written by `python -m graphc ops --markdown` from the records in `ir/ops/`; `graphc ops NAME` shows one in full.

- `?`: optional, `*`: any number. Arguments have their defaults; those without one are absent unless given.
- How: **pointwise**, an expression that is fused and vectorised; **loop**, compiled from Python; **kernel**, rules of
  the CPU's library; **view**, **identity**: nothing runs; **host**: Python between the native parts (strings, maps,
  control flow); **NumPy**: while a net is compiled (fills), and in `graphc.ir.evaluate`.
- Gradient: the operators that compute it (`ir/gradient.py`); *rule*: arguments decide which; *none*: nothing flows
  back; `-`: asking for it is an error.
"""


@dataclass(frozen=True)
class Entry:
    """One operator. dtypes: by input, the element types that inference takes where it tells; targets: empty: none."""

    record: OpDef
    how: tuple[str, ...]
    targets: tuple[str, ...]
    dtypes: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        r = self.record
        return {
            "name": r.name,
            "family": r.family,
            "doc": r.doc,
            "inputs": [_plain_port(p, self.dtypes) for p in r.inputs],
            "outputs": [_plain_port(p, {}) for p in r.outputs],
            "arguments": {a.name: _plain_argument(a) for a in r.args},
            "inplace": [list(pair) for pair in _pairs(r)],
            "how": list(self.how),
            "targets": list(self.targets),
            "gradient": gradient_text(r),
            "traits": [t.name for t in Trait if t in r.traits and t is not Trait.NONE],
        }

    def __str__(self) -> str:
        r = self.record
        lines = [f"{r.name} ({r.family})", *textwrap.wrap(r.doc, 110, initial_indent="  ", subsequent_indent="  ")]
        lines += [f"  input  {_port(p)}{_about(p, self.dtypes.get(p.name, ()))}" for p in r.inputs]
        lines += [f"  output {_port(p)}{_about(p)}" for p in r.outputs]
        lines += [f"  {_argument(a)}{'  ' + a.doc if a.doc else ''}" for a in r.args]
        lines += [f"  in place: {', '.join(f'{r.inputs[i].name} -> {r.outputs[o].name}' for i, o in _pairs(r))}"]
        lines += [f"  gradient: {gradient_text(r)}", f"  how: {', '.join(self.how)}"]
        lines += [f"  targets: {', '.join(self.targets)}"]
        return "\n".join(line for line in lines if not line.endswith(": "))


def entries(names: Sequence[str] = (), family: str = "") -> list[Entry]:
    """The operators of these names, or of a family or group (``nn.pool``, ``nn``), or all but internal ones, in order.

    Raises ``GraphcError`` for a family that there is not; names are those of records.
    """
    records = [r for r in registry().values() if Trait.INTERNAL not in r.traits]
    families = list(dict.fromkeys([*FAMILIES, *(r.family for r in records)]))
    groups = {f.split(".")[0] for f in families}
    if family and family not in groups.union(families):
        raise GraphcError(f"there is no family '{family}'", "families: " + ", ".join(families))
    chosen = [
        r for r in records if (not names or r.name in names) and f"{r.family}.".startswith(family and f"{family}.")
    ]
    return [_entry(r) for r in sorted(chosen, key=lambda r: (families.index(r.family), r.name))]


def by_family(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Entries by family, in their order."""
    families: dict[str, list[Entry]] = {}
    for e in found:
        families.setdefault(e.record.family, []).append(e)
    return families


def gradient_text(record: OpDef) -> str:
    """The gradient in words: its text form, ``rule: what decides``, ``none``, or ``-`` where asking is an error."""
    rule = record.gradient
    if callable(rule):
        return "rule: " + " ".join((rule.__doc__ or "").split())
    return rule or "-"


def markdown(found: Sequence[Entry]) -> str:
    """The page of the operators."""
    families = by_family(found)
    lines = [PAGE_HEAD, f"{len(found)} operators in {len(families)} families.", "", *_table("family", "operators")]
    lines += [f"| [{family}](#{family}) | {len(part)} |" for family, part in families.items()]
    for family, part in families.items():
        lines += ["", f"## {family}", "", *_table("operator", "inputs -> outputs", "arguments", "how", "gradient")]
        lines += [_row(e) for e in part]
    return "\n".join(lines) + "\n"


def _table(*titles: str) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]


def _row(e: Entry) -> str:
    r = e.record
    ports = f"`{' '.join(map(_port, r.inputs)) or '()'} -> {' '.join(map(_port, r.outputs)) or '()'}`"
    arguments = f"`{', '.join(map(_argument, r.args))}`" if r.args else ""
    gradient = "*rule*" if callable(r.gradient) else f"*{r.gradient}*" if r.gradient == NO_GRADIENT else r.gradient
    cells = [f"**{r.name}** {r.doc}", ports, arguments, ", ".join(e.how), gradient or "-"]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _entry(record: OpDef) -> Entry:
    how = tuple(_how(record))
    compiled = any(word.partition(" ")[0] in ("pointwise", "loop", "kernel", "view", "identity") for word in how)
    return Entry(record, how, tuple(targets()) if compiled else ("host",) if "host" in how else (), _dtypes(record))


def _how(r: OpDef) -> Iterator[str]:
    """How the operator is computed, the ways that its kernels offer first."""
    if refusal(r.name):
        return
    for trait in BY_TRAIT:
        if trait in r.traits:
            yield str(trait.name).lower()
    if r.scalar and Trait.POINTWISE not in r.traits and r.call_traits:
        yield "pointwise"
    rules = [rule.name for rule in kernels.RULES if r.name in rule.ops]
    if rules:
        yield f"kernel {' '.join(rules)}"
    if r.loop:
        yield "loop"
    if Trait.HOST in r.traits:
        yield "host"
    elif r.reference and not (r.scalar or r.loop or rules or Trait.VIEW in r.traits or Trait.IDENTITY in r.traits):
        yield "NumPy"


_PROBES: tuple[dict[str, Attr], ...] = ({}, {"kernel": 1}, {"axis": 0})
"""Arguments with which inference is asked for element types: what many operators insist on."""


def _dtypes(r: OpDef) -> dict[str, tuple[str, ...]]:
    """By input, what inference takes when it knows nothing else; inputs that it is silent about are left out."""
    attrs = next((a for a in _PROBES if all(map(r.has_arg, a)) and _takes(r, a, None, None)), None)
    found = {}
    for i, port in enumerate(r.inputs if attrs is not None else ()):
        taken = tuple(d.text for d in DType if d is not DType.BYTE and _takes(r, attrs or {}, i, d))
        if 0 < len(taken) < len(DType) - 1:
            found[port.name] = taken
    return found


def _takes(r: OpDef, attrs: Mapping[str, Attr], i: int | None, dtype: DType | None) -> bool:
    """Inference takes a call with this element type for input ``i``, and of nothing else any type."""
    operands: list[Value | None] = [Value(TensorType(dtype if k == i else None)) for k in range(len(r.inputs))]
    call = Call(Node(r.name, operands, [Value(TensorType()) for _ in r.outputs], dict(attrs)))
    try:
        r.infer(call)
    except GraphcError:
        return False
    return True


def _pairs(r: OpDef) -> list[tuple[int, int]]:
    last = len(r.inputs) - 1, len(r.outputs) - 1
    return list(dict.fromkeys((min(i, last[0]), min(o, last[1])) for i, o in (*r.inplace, *r.enforced)))


def _plain_port(p: Port, dtypes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    about = {"name": p.name, "doc": p.doc, "optional": p.optional, "variadic": p.variadic}
    return {**about, "dtypes": list(dtypes[p.name])} if p.name in dtypes else about


def _plain_argument(a: Arg) -> dict[str, Any]:
    return {"kind": a.kind, "default": _text(a.default), "choices": list(a.choices), "doc": a.doc}


def _about(port: Port, dtypes: Sequence[str] = ()) -> str:
    return (f": {', '.join(dtypes)}" if dtypes else "") + (f"  {port.doc}" if port.doc else "")


def _port(port: Port) -> str:
    return port.name + ("*" if port.variadic else "?" if port.optional else "")


def _argument(a: Arg) -> str:
    default = "" if a.default is None else f" = {_text(a.default)}"
    return f"{a.name}: {'|'.join(a.choices) if a.choices else a.kind}{default}"


def _text(value: Attr | None) -> str | None:
    if value is None or isinstance(value, Graph):
        return None
    if isinstance(value, tuple):
        return "[" + ", ".join(str(_text(v)) for v in value) + "]"
    return (value.decode("utf-8", "backslashreplace") or '""') if isinstance(value, bytes) else format_scalar(value)
