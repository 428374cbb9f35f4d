"""Graphs in the DOT language, with the methods of the package pydot that scripts use."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphc.caffe2.net_drawer.painting import paint_pdf, paint_png
from graphc.caffe2.net_drawer.svg import draw_svg

_WORD = re.compile(r"[A-Za-z_]\w*|-?(\.\d+|\d+(\.\d*)?)|\"(\\.|[^\"\\])*\"", re.ASCII | re.DOTALL)
_KEYWORDS = ("node", "edge", "graph", "digraph", "subgraph", "strict")
_OWN_PICTURES: dict[str, Callable[[Any], bytes]] = {"svg": draw_svg, "png": paint_png, "pdf": paint_pdf}


def quoted(text: Any) -> str:
    """A name or value as DOT has it: in quotes unless it is a word, a number or in quotes already."""
    word = str(text)
    if _WORD.fullmatch(word) and word.lower() not in _KEYWORDS:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "") + '"'


class _Item:
    """Something with attributes: ``get``, ``set``, and ``get_color()``, ``set_color(value)`` for each name."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self._attributes = dict(attributes)

    def get(self, name: str) -> Any:
        """The value of an attribute, None for one that is not set."""
        return self._attributes.get(name)

    def set(self, name: str, value: Any) -> None:
        """Set an attribute."""
        self._attributes[name] = value

    def get_attributes(self) -> dict[str, Any]:
        """All attributes by name."""
        return self._attributes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("get_"):
            return functools.partial(self.get, name[4:])
        if name.startswith("set_"):
            return functools.partial(self.set, name[4:])
        raise AttributeError(f"graphc's {type(self).__name__} of a drawing has no '{name}'")

    def _suffix(self) -> str:
        pairs = ", ".join(f"{k}={quoted(v)}" for k, v in self._attributes.items())
        return f" [{pairs}];" if pairs else ";"


class Node(_Item):
    """A node; its label is its name unless it has another one."""

    def __init__(self, name: str = "", **attributes: Any) -> None:
        super().__init__(attributes)
        self._name = quoted(name)

    def get_name(self) -> str:
        """The name, in quotes where DOT needs them."""
        return self._name

    def to_string(self) -> str:
        """The line of DOT."""
        return self._name + self._suffix()


class Edge(_Item):
    """An edge between two nodes, given as nodes or names."""

    def __init__(self, src: Any, dst: Any, **attributes: Any) -> None:
        super().__init__(attributes)
        self._ends = tuple(quoted(end) if isinstance(end, str) else end.get_name() for end in (src, dst))

    def get_source(self) -> str:
        """The name of the node where it begins."""
        return self._ends[0]

    def get_destination(self) -> str:
        """The name of the node where it ends."""
        return self._ends[1]

    def to_string(self) -> str:
        """The line of DOT."""
        return f"{self._ends[0]} -> {self._ends[1]}{self._suffix()}"


class Dot(_Item):
    """A directed graph. ``write_png(path)``, ``create_svg()`` and so on draw it.

    Graphviz draws where its program ``dot`` is installed, and graphc itself, as svg, png and pdf, where it is not.
    """

    def __init__(self, graph_name: str | None = "G", graph_type: str = "digraph", **attributes: Any) -> None:
        super().__init__(attributes)
        self._name = quoted(graph_name) if graph_name else "G"
        self._nodes: dict[str, Any] = {}
        self._edges: list[Any] = []

    def get_name(self) -> str:
        """The name, in quotes where DOT needs them."""
        return self._name

    def add_node(self, node: Any) -> None:
        """Add a node, or one more time one of its name: the first counts."""
        self._nodes.setdefault(node.get_name(), node)

    def add_edge(self, edge: Any) -> None:
        """Add an edge."""
        self._edges.append(edge)

    def get_nodes(self) -> list[Any]:
        """The nodes in the order in which they came."""
        return list(self._nodes.values())

    def get_node(self, name: str) -> list[Any]:
        """The node of a name in a list, or none."""
        return [self._nodes[key] for key in dict.fromkeys((name, quoted(name))) if key in self._nodes]

    def get_edges(self) -> list[Any]:
        """The edges in the order in which they came."""
        return list(self._edges)

    get_node_list, get_edge_list = get_nodes, get_edges

    def to_string(self) -> str:
        """The graph in DOT."""
        own = [f"{k}={quoted(v)};" for k, v in self._attributes.items()]
        lines = [*own, *(node.to_string() for node in self._nodes.values()), *(e.to_string() for e in self._edges)]
        return "\n".join([f"digraph {self._name} {{", *lines, "}\n"])

    def write(self, path: str | os.PathLike[str], prog: str | None = None, format: str = "raw") -> bool:
        """Write a file: DOT (``raw``), or a picture. Raises as ``create``."""
        Path(path).write_bytes(self.create(prog, format))
        return True

    def create(self, prog: str | None = None, format: str = "ps") -> bytes:
        """The graph as DOT (``raw``) or drawn, by a program of Graphviz.

        Without Graphviz graphc draws svg, png and pdf; raises ``RuntimeError`` for other formats.
        """
        if format in ("raw", "dot"):
            return self.to_string().encode("utf-8", "replace")
        program = shutil.which(prog or "dot")
        if program is not None:
            return self._by_graphviz(program, format)
        if format not in _OWN_PICTURES:
            raise RuntimeError(f"graphc draws {', '.join(_OWN_PICTURES)}, not {format}; help: install graphviz")
        return _OWN_PICTURES[format](self)

    def _by_graphviz(self, program: str, format: str) -> bytes:
        text = self.to_string().encode("utf-8", "replace")
        run = subprocess.run([program, f"-T{format}"], input=text, capture_output=True, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"{program} -T{format} failed: {run.stderr.decode('utf-8', 'replace').strip()}")
        return run.stdout

    def __getattr__(self, name: str) -> Any:
        if name.startswith("create_"):
            return functools.partial(self.create, format=name[7:])
        if name.startswith("write_"):
            return functools.partial(self.write, format=name[6:])
        return super().__getattr__(name)
