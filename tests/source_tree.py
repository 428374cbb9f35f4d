"""The project's own source as syntax trees: what test_architecture.py asks about modules, imports and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"graphc": "graphc", "ir": "graphc.ir", "passes": "graphc.passes", "backends": "graphc.backends"}
"""Folder -> import name."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module. name: what is taken from it, empty for ``import module``. function: where, if in one."""

    module: str
    name: str
    level: int
    function: str
    line: int


@dataclass(frozen=True)
class Module:
    """A source file of the package."""

    name: str
    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, ""))

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


def _imports(node: ast.AST, function: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, "", 0, function, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield Import(child.module or "", alias.name, child.level, function, child.lineno)
        else:
            yield from _imports(child, child.name if isinstance(child, Function) else function)


@cache
def modules() -> dict[str, Module]:
    """All modules of the package by import name (a package by its own name, without ``__init__``)."""
    found = {}
    for folder, room in ROOMS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((room, *parts)).removesuffix(".__init__")
            found[name] = Module(name, path)
    return found


def target(imported: Import) -> str:
    """The module that an import loads: ``from graphc.ir import types`` loads ``graphc.ir.types``."""
    inner = f"{imported.module}.{imported.name}"
    return inner if inner in modules() else imported.module


def other_python_files() -> list[Path]:
    """Source files outside the package: tests, examples, benchmarks."""
    return [path for folder in ("tests", "examples", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def text_files() -> Iterator[tuple[Path, str]]:
    """Every text file that belongs to the project, with its content."""
    folders = (*ROOMS, "tests", "examples", "benchmarks", "docs", ".ci")
    nested = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    for path in [*sorted(ROOT.glob("*")), *nested]:
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
