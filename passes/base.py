"""Pass: what every transformation of a graph is, and its text form ``name{option=value}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from graphc.ir import Graph, GraphcError, Node

Option = bool | int | float | str


@dataclass(frozen=True)
class Pass:
    """A transformation of a graph in place. Sub-classes are frozen dataclasses whose fields are the options.

    Every field has a default. name: the class name in words, which is also the file name. requires: the stage that the
    graph must have reached.
    """

    requires: ClassVar[str] = "typed"

    @property
    def name(self) -> str:
        """Name in pipelines and dumps: ``FuseEpilogue`` is ``fuse_epilogue``."""
        return pass_name(type(self))

    def run(self, graph: Graph) -> bool:
        """Transform ``graph``; True iff anything changed. After False the printed text is as it was."""
        raise NotImplementedError

    def __str__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        given = ",".join(f"{name}={_format(value)}" for name, value in values.items())
        return self.name + ("{" + given + "}" if given else "")


Pipeline = tuple[Pass, ...]


def pass_name(cls: type[Pass]) -> str:
    """The name of a pass class: its class name in lower-case words."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def format_pipeline(pipeline: Sequence[Pass]) -> str:
    """Text of a pipeline: its passes separated by commas. ``parse_pipeline`` reads it back."""
    return ",".join(map(str, pipeline))


def parse_pipeline(text: str, known: Sequence[type[Pass]]) -> Pipeline:
    """The pipeline of a text such as ``dce,assign_layout{block=8}``; raises ``GraphcError`` naming what is wrong."""
    classes = {pass_name(c): c for c in known}
    passes = []
    rest = text.strip()
    while rest:
        m = re.match(r"(\w+)(?:\{([^}]*)\})?\s*(?:,\s*|$)", rest)
        if m is None:
            raise GraphcError(f"'{rest}' is not a list of passes", "write passes as name{option=value},name")
        if m.group(1) not in classes:
            raise GraphcError(f"pass '{m.group(1)}' is unknown", "known: " + ", ".join(classes))
        passes.append(_build(classes[m.group(1)], m.group(2) or ""))
        rest = rest[m.end() :]
    return tuple(passes)


def _build(cls: type[Pass], options: str) -> Pass:
    defaults = {f.name: f.default for f in fields(cls)}
    given: dict[str, Option] = {}
    for item in filter(None, (o.strip() for o in options.split(","))):
        key, _, value = item.partition("=")
        if key not in defaults:
            raise GraphcError(
                f"pass {pass_name(cls)} has no option '{key}'", "options: " + (", ".join(defaults) or "none")
            )
        given[key] = _parse(cls, key, value, type(defaults[key]))
    return cls(**given)


def _format(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse(cls: type[Pass], key: str, text: str, kind: type) -> Option:
    """An option's value, of the type that its default has."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        return text if kind is str else float(text) if kind is float else int(text)
    except (KeyError, ValueError):
        raise GraphcError(f"option {key} of pass {pass_name(cls)} is '{text}', expected {kind.__name__}") from None


def nets(graph: Graph) -> Iterator[Graph]:
    """The graph and the nets inside it (bodies of If, While ...), but no bodies of fused operators."""
    yield graph
    for node in list(graph.nodes):
        if "body" not in node.attrs and "epilogue" not in node.attrs:
            for inner in node.subgraphs():
                yield from nets(inner)


def in_each_net(graph: Graph, rewrite: Callable[[Graph], bool]) -> bool:
    """Apply ``rewrite`` to the graph and the nets inside it; True iff it changed any."""
    changed = False
    for net in nets(graph):
        changed = rewrite(net) or changed
    return changed


def at_each_node(graph: Graph, rewrite: Callable[[Graph, Node], bool], *ops: str) -> bool:
    """Apply ``rewrite`` to each node (of the given operators), nets inside included; True iff it changed anything.

    Nodes that a rewrite erased are skipped, those that it made are not visited.
    """

    def sweep(net: Graph) -> bool:
        changed = False
        for node in list(net.nodes):
            if node.graph is net and (not ops or node.op in ops):
                changed = rewrite(net, node) or changed
        return changed

    return in_each_net(graph, sweep)
