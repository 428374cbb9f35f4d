"""Which modules of ``caffe2`` graphc has, by the names that scripts import."""

from __future__ import annotations

import difflib
import importlib.util
import pkgutil

import graphc.caffe2

PACKAGE = "graphc.caffe2"
ROOTS = ("caffe2", "caffe2.python")
"""Packages that stand for ``graphc.caffe2`` itself."""
_PRIVATE = (
    "arguments",
    "building",
    "as_caffe2",
    "database",
    "hypothesis_strategies",
    "modules",
    "old_names",
    "operator_types",
    "tensor_proto",
    "test_files",
    "transforms",
)
"""Modules that only graphc has."""


def twin(name: str) -> str:
    """The module of graphc that stands for one of ``caffe2``: ``caffe2.python.core`` is ``graphc.caffe2.core``."""
    if name in ROOTS:
        return PACKAGE
    tail = name.removeprefix("caffe2.").removeprefix("python.")
    return f"{PACKAGE}.{tail}"


def exists(name: str) -> bool:
    """graphc has the module that stands for one of ``caffe2``."""
    try:
        return name in ROOTS or importlib.util.find_spec(twin(name)) is not None
    except ModuleNotFoundError:
        return False


def absence(name: str) -> str:
    """Why graphc does not have a module of ``caffe2``, and what is near."""
    try:
        importlib.util.find_spec(twin(name))
    except ModuleNotFoundError as error:
        if error.name is None:  # a finder's own words
            return str(error)
    near = difflib.get_close_matches(name, known(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"graphc has no module '{name}'; it has {', '.join(known())}{hint}"


def known() -> list[str]:
    """The modules of ``caffe2`` that graphc has, sorted."""
    found = (
        m.name for m in pkgutil.iter_modules(graphc.caffe2.__path__) if m.name not in _PRIVATE and m.name[0] != "_"
    )
    return sorted(f"caffe2.{n}" if n == "proto" else f"caffe2.python.{n}" for n in found)
