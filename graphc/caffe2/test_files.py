"""Where scripts find tests under names of ``caffe2``: they are files of the user, graphc has none of them.

A test of Caffe2's own layout, such as ``caffe2/python/operator_test/relu_test.py``, is imported under that name, and
tests of operators import what they share from ``caffe2.python.operator_test``, wherever their folder lies.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

_FOLDER = "operator_test"


def find(name: str) -> ModuleSpec | None:
    """The spec of a test, or of a helper of operator tests; None for other modules and where there is no such file."""
    *parents, last = name.split(".")
    if last == _FOLDER:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = _folders(name.split("."))
        return spec
    if parents[-1:] == [_FOLDER] or last.endswith("_test"):
        return PathFinder.find_spec(name, _folders(parents))
    return None


def _folders(package: list[str]) -> list[str]:
    """Where files of a package of tests may lie: below folders of the path; operator tests also in the folder itself,
    and in the current one."""
    below = [os.path.join(folder, *package) for folder in sys.path]
    if package[-1:] != [_FOLDER]:
        return below
    return [*below, *(os.path.join(folder, _FOLDER) for folder in sys.path), os.getcwd(), *sys.path]
