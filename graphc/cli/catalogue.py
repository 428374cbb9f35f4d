"""``graphc ops`` and ``graphc passes``: what there is."""

from __future__ import annotations

import json
import textwrap
from dataclasses import fields

import click

from graphc.catalogue import by_family, entries, markdown
from graphc.cli.options import json_option
from graphc.ir import lookup
from graphc.passes import LEVELS, PASSES, format_pipeline
from graphc.passes.base import pass_name


@click.command()
@click.argument("name", required=False)
@click.option("--family", default="", help="Only this family or group of families, e.g. nn.conv or nn.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The page docs/operators.md.")
@json_option
def ops(name: str | None, family: str, as_markdown: bool, as_json: bool) -> None:
    """List the operators by family, or show everything about one.

    \b
    graphc ops
    graphc ops Conv
    graphc ops --family nn.pool
    """
    found = entries([lookup(name).name] if name else [], family)
    if as_json:
        click.echo(json.dumps([e.to_dict() for e in found], indent=1))
    elif as_markdown:
        click.echo(markdown(found), nl=False)
    elif name:
        click.echo("\n".join(map(str, found)))
    else:
        for group, part in by_family(found).items():
            names = " ".join(e.record.name for e in part)
            click.echo(textwrap.fill(f"{group} ({len(part)}): {names}", 110, subsequent_indent="    "))
        click.echo(f"{len(found)} operators; 'graphc ops NAME' shows one")


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
