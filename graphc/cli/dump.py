"""``graphc dump``: look at any stage of a net or plan."""

from __future__ import annotations

import json
from pathlib import Path

import click

from graphc.backends.cuda.target import is_cuda
from graphc.cli.options import (
    engine_option,
    init_option,
    input_option,
    level_options,
    max_memory_option,
    parse_engines,
    parse_inputs,
    target_option,
)
from graphc.compiler import chosen_pipeline, compile_graph, import_model, input_types
from graphc.engines import Engine, engine_requests, without_measuring
from graphc.input_shapes import assume_input_shapes
from graphc.ir import FileError, Graph, GraphcError, PlanError
from graphc.ir.dot import graph_dot
from graphc.ir.infer import infer_types
from graphc.ir.memory_check import check_memory
from graphc.ir.memory_html import memory_html
from graphc.ir.memory_svg import MemoryPicture, memory_svg
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph
from graphc.ir.schedule_text import print_schedule
from graphc.ir.summary import graph_json
from graphc.ir.svg import graph_html, graph_svg
from graphc.memory import PlanMemory, plan_memory
from graphc.memory_text import memory_notes, memory_table
from graphc.passes import Pass, run_pipeline
from graphc.passes.choose_engines import choose_engines
from graphc.passes.place_devices import place_devices
from graphc.plan import Plan, load
from graphc.tables import commented, graph_table, printable
from graphc.targets import find, library_for
from graphc.tuning_text import tiling_lines, tilings

FORMATS = ("text", "dot", "svg", "html", "json")
ENGINE_STAGES = ("optimised", "scheduled", "kernels")
"""Those behind the choice of engines."""
STAGES = ("imported", "typed", "optimised", "scheduled", "kernels")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@init_option
@input_option
@target_option
@engine_option
@level_options
@click.option("--stage", type=click.Choice(STAGES), help="Default: typed for nets, optimised for plans.")
@click.option("--after", metavar="PASS", help="The graph after this pass, e.g. fold_batch_norm.")
@click.option("--memory", is_flag=True, help="What lies where in the arena: a table, or a picture for .svg and .html.")
@max_memory_option
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: text, or what the output's name says.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write here instead of to standard output.")
def dump(
    file: str,
    init_net: str | None,
    inputs: tuple[str, ...],
    target: str,
    engines: tuple[str, ...],
    level: int,
    stage: str | None,
    after: str | None,
    memory: bool,
    max_memory: str | None,
    form: str | None,
    output: str | None,
) -> None:
    """Show a NetDef, graphc's IR text or a plan at any stage.

    Text ends with a table of shapes, bytes, FLOPs and live memory, in comments, so that it parses back.

    \b
    graphc dump predict_net.pb --init init_net.pb --input data=1,3,227,227
    graphc dump predict_net.pb --init init_net.pb --after fuse_epilogue --format svg -o net.svg
    graphc dump predict_net.pb --init init_net.pb --target cuda:sm_90a --engine CUDNN --stage scheduled
    graphc dump plan.pkl --stage kernels
    graphc dump plan.pkl --memory -o arena.html
    graphc dump predict_net.pb --init init_net.pb --memory --max-memory 2M
    """
    form = form or _form(output)
    if memory and (stage or after or form == "dot"):
        raise click.UsageError("--memory is of the finished schedule: without --stage, --after and --format dot")
    if max_memory and (not memory or _is_plan(file)):
        raise click.UsageError("--max-memory is for nets, together with --memory")
    engine = parse_engines(engines)
    if engine and (_is_plan(file) or not (memory or stage in ENGINE_STAGES)):
        raise click.UsageError(f"--engine is for nets, with --memory or --stage {', '.join(ENGINE_STAGES)}")
    if memory:
        graph = None if _is_plan(file) else _read(file, init_net, inputs)
        plan = _compile(graph, level, target, engine, max_memory) if graph else _bound(file, inputs)
        text = show_memory(plan_memory(plan), Path(file).name, form)
    elif _is_plan(file):
        text = _dump_plan(load(file), stage or "optimised", form, after)
    else:
        text = _dump_net(file, init_net, inputs, (target, engine), level, stage or "typed", after, form)
    if output:
        try:
            Path(output).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise FileError(f"cannot write {output}: {error.strerror}", "check folder and free space") from None
    else:
        click.echo(text)


def _form(output: str | None) -> str:
    """What the name of the output says: the formats that have a suffix of their own, else text."""
    suffix = Path(output or "").suffix[1:]
    return suffix if suffix in FORMATS else "text"


def _bound(file: str, inputs: tuple[str, ...]) -> Plan:
    """The plan, with a schedule for these inputs, too."""
    plan = load(file)
    if inputs:
        plan.bind(parse_inputs(inputs))
    return plan


def _compile(graph: Graph, level: int, target: str, engine: Engine, max_memory: str | None = None) -> Plan:
    """The plan without machine code, which nothing here needs."""
    return compile_graph(graph, level=level, target=target, engine=engine, max_memory=max_memory, prepare=False)


def _is_plan(file: str) -> bool:
    with open(file, "rb") as f:
        return f.read(2) == b"\x80\x04"


def _dump_plan(plan: Plan, stage: str, form: str, after: str | None) -> str:
    if after or stage in ("imported", "typed"):
        raise GraphcError("a plan holds the optimised graph only", "dump the NetDef for earlier stages")
    if stage == "optimised":
        return show_graph(plan.graph, form)
    return _show_schedule(plan, stage, form)


def _show_schedule(plan: Plan, stage: str, form: str) -> str:
    if form not in ("text", "json"):
        raise GraphcError(f"stage {stage} has no picture", "use --format text or json")
    if stage == "kernels":
        kernels = {str(spec): source for spec, source in plan.kernels.items()}
        return json.dumps(kernels, indent=1) if form == "json" else "\n".join(f"# {k}\n{v}" for k, v in kernels.items())
    if form == "json":
        plain = [
            {"schedule": print_schedule(s), "arena_bytes": s.arena_bytes, "tilings": mine}
            for s, mine in zip(plan.schedules, tilings(plan))
        ]
        return json.dumps(plain, indent=1)
    texts = [print_schedule(s) + "\n" + commented(memory_table(s, check_memory(s))) for s in plan.schedules]
    return "\n\n".join([*texts, *filter(None, [commented(tiling_lines(plan))])])


def _dump_net(
    file: str,
    init_net: str | None,
    inputs: tuple[str, ...],
    machine: tuple[str, Engine],
    level: int,
    stage: str,
    after: str | None,
    form: str,
) -> str:
    target, engine = machine
    graph = _read(file, init_net, inputs)
    if stage != "imported" and graph.stage == "imported":
        assume_input_shapes(graph)
    if stage in ("scheduled", "kernels"):
        return _show_schedule(_compile(graph, level, target, engine), stage, form)
    if after:
        run_pipeline(graph, _up_to(chosen_pipeline(None, level, find(target)), after))
    elif stage == "optimised":
        run_pipeline(graph, chosen_pipeline(None, level, find(target)))
        requests = without_measuring(engine_requests(engine, is_cuda(target)))
        if requests:
            choose_engines(graph, library_for(find(target)), requests)
        if is_cuda(target):
            place_devices(graph, library_for(find(target)))
    elif stage == "typed" and graph.stage == "imported":
        infer_types(graph)
    return show_graph(graph, form)


def _read(file: str, init_net: str | None, inputs: tuple[str, ...]) -> Graph:
    types = parse_inputs(inputs)
    with open(file, "rb") as f:
        is_text = f.read(7) == b'graph "'
    if not is_text:
        return import_model(file, init_net, types)
    graph = parse(Path(file).read_text(encoding="utf-8"))
    for v in graph.inputs:
        v.type = input_types(types).get(v.name, v.type)
    return graph


def _up_to(pipeline: tuple[Pass, ...], name: str) -> tuple[Pass, ...]:
    """The pipeline up to the last pass of that name."""
    names = [p.name for p in pipeline]
    if name not in names:
        raise GraphcError(f"the pipeline has no pass '{name}'", "its passes: " + ", ".join(dict.fromkeys(names)))
    return pipeline[: len(names) - names[::-1].index(name)]


def show_graph(graph: Graph, form: str) -> str:
    """The graph as text, DOT, SVG or JSON."""
    if form == "dot":
        return graph_dot(graph)
    if form in ("svg", "html"):
        return graph_svg(graph) if form == "svg" else graph_html(graph)
    if form == "json":
        return json.dumps(graph_json(graph), indent=1)
    return print_graph(graph) + "\n" + graph_table(graph)


def show_memory(memory: PlanMemory, name: str, form: str) -> str:
    """The arenas of a plan as text, SVG, HTML or JSON; raises ``PlanError`` for a picture of an unsound plan."""
    if form == "json":
        return json.dumps([s.to_dict() for s in memory.schedules], indent=1)
    titles = [f"{name}, segment {s.segment}: {s.sizes}" for s in memory.schedules]
    if form == "text":
        tables = [[title, *memory_table(s.schedule, s.report)] for title, s in zip(titles, memory.schedules)]
        return "\n\n".join("\n".join(map(printable, lines)) for lines in [*tables, [*memory_notes(memory)]] if lines)
    if not memory.schedules:
        raise PlanError("the sizes of this plan depend on data: there is nothing to draw before a run")
    if not memory.ok:
        raise PlanError("the memory of this plan is not sound: there is nothing true to draw", "graphc check-memory")
    pictures = [MemoryPicture(title, s.schedule, s.report) for title, s in zip(titles, memory.schedules)]
    return memory_svg(pictures) if form == "svg" else memory_html(pictures)
