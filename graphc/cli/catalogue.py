"""``graphc ops`` and ``graphc passes``: what there is."""

from __future__ import annotations

import json
import textwrap
from dataclasses import fields

import click

from graphc.cli.options import json_option
from graphc.ir import OpDef, Port, Trait, lookup, registry
from graphc.passes import LEVELS, PASSES, format_pipeline
from graphc.passes.base import pass_name


@click.command()
@click.argument("name", required=False)
@json_option
def ops(name: str | None, as_json: bool) -> None:
    """List the operators by family, or show the record of one.

    \b
    graphc ops
    graphc ops Conv
    """
    records = [lookup(name)] if name else [r for r in registry().values() if Trait.INTERNAL not in r.traits]
    if as_json:
        click.echo(json.dumps([_plain(r) for r in records], indent=1))
    elif name:
        click.echo(_describe(records[0]))
    else:
        families: dict[str, list[str]] = {}
        for r in records:
            families.setdefault(r.family, []).append(r.name)
        for family, names in families.items():
            click.echo(textwrap.fill(f"{family}: {' '.join(sorted(names))}", 110, subsequent_indent="    "))
        click.echo(f"{len(records)} operators; 'graphc ops NAME' shows one")


def _plain(r: OpDef) -> dict[str, object]:
    return {
        "name": r.name,
        "family": r.family,
        "doc": r.doc,
        "inputs": [p.name for p in r.inputs],
        "outputs": [p.name for p in r.outputs],
        "arguments": {a.name: {"kind": a.kind, "default": _text(a.default), "doc": a.doc} for a in r.args},
        "traits": [t.name for t in Trait if t in r.traits and t is not Trait.NONE],
    }


def _text(value: object) -> str | None:
    return None if value is None else value.decode() if isinstance(value, bytes) else str(value)


def _port(port: Port) -> str:
    return port.name + ("*" if port.variadic else "?" if port.optional else "")


def _describe(r: OpDef) -> str:
    inputs, outputs = (" ".join(map(_port, ports)) for ports in (r.inputs, r.outputs))
    lines = [f"{r.name} ({r.family}): {r.doc}", f"  inputs: {inputs}", f"  outputs: {outputs}"]
    for a in r.args:
        default = "" if a.default is None else f" = {_text(a.default)}"
        lines.append(f"  {a.name}: {a.kind}{default}" + (f"  {a.doc}" if a.doc else ""))
    return "\n".join(lines)


@click.command()
@json_option
def passes(as_json: bool) -> None:
    """List the passes with their options, and the pipelines of the levels."""
    options = {pass_name(p): {f.name: str(f.default) for f in fields(p)} for p in PASSES}
    docs = {pass_name(p): (p.__doc__ or "").strip().splitlines()[0] for p in PASSES}
    levels = {f"-O{n}": format_pipeline(pipeline) for n, pipeline in LEVELS.items()}
    if as_json:
        plain = [{"name": name, "options": options[name], "doc": doc} for name, doc in docs.items()]
        click.echo(json.dumps({"passes": plain, "levels": levels}, indent=1))
        return
    for name, doc in docs.items():
        given = ",".join(f"{k}={v}" for k, v in options[name].items())
        click.echo(f"{name}{'{' + given + '}' if given else ''}: {doc}")
    for level, text in levels.items():
        click.echo(f"{level}: {text}")
