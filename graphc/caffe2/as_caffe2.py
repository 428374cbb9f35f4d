"""Importing this module makes ``import caffe2`` mean graphc's API in this process.

``import graphc.caffe2.as_caffe2``, and afterwards ``from caffe2.python import core, workspace``,
``from caffe2.proto import caffe2_pb2`` and all the others work. A module of ``caffe2`` is the module of graphc that it
stands for, the same object, so that both names may be used side by side. Nothing is installed: no other process sees
the name. A ``caffe2`` that this process has imported already is not replaced. Names that NumPy and Python have dropped
since 2017 come back (``old_names``). Tests, and what tests of operators share, are the user's own files
(``test_files``).
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

from graphc.caffe2 import old_names, test_files
from graphc.caffe2.modules import PACKAGE, ROOTS, absence, exists, twin

HELPERS = "graphc.caffe2.tutorials.helpers"


class _Package(ModuleType):
    """``caffe2`` or ``caffe2.python``: its attributes are the modules below it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(str(error)) from None


class _TwinLoader(Loader):
    """Gives the module of graphc under the name of Caffe2's."""

    def __init__(self, name: str) -> None:
        """name: of graphc's module."""
        self._name = name
        self._own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """A package of this module's own for ``caffe2`` and ``caffe2.python``, else graphc's module."""
        if spec.name in ROOTS:
            return _Package(spec.name, sys.modules[PACKAGE].__doc__)
        module = importlib.import_module(self._name)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Let graphc's module be what it was: it ran when graphc's name was imported. What it lacks is said."""
        if self._own_spec is not None:
            module.__spec__ = self._own_spec
            vars(module).setdefault("__getattr__", partial(_missing, module))


def _missing(module: ModuleType, name: str) -> NoReturn:
    """Raise ``AttributeError`` for a name that graphc's module does not have."""
    near = [] if name.startswith("_") else difflib.get_close_matches(name, [n for n in vars(module) if n[0] != "_"])
    hint = f"; near names: {', '.join(near)}" if near else ""
    raise AttributeError(f"graphc's '{module.__name__}' has no '{name}'{hint}", name=name, obj=module)


class _Finder(MetaPathFinder):
    """Finds ``caffe2`` and everything below it, or says what graphc has."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of ``caffe2``; raises ``ModuleNotFoundError`` for one that graphc does not have.

        The error has no ``name``: with one ``from caffe2.python import x`` would replace it by a poorer one.
        """
        if name != "caffe2" and not name.startswith("caffe2."):
            return None
        if not exists(name):
            spec = test_files.find(name)
            if spec is None:
                raise ModuleNotFoundError(absence(name))
            return spec
        return ModuleSpec(name, _TwinLoader(twin(name)), is_package=True)


class _TutorialFinder(MetaPathFinder):
    """Finds ``helpers``, which lay beside the tutorials' notebooks, for scripts that have no module of this name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the helpers of the tutorials."""
        return ModuleSpec(name, _TwinLoader(HELPERS)) if name == "helpers" else None


class _PackageFinder(MetaPathFinder):
    """Asked for packages that helped scripts run on Python 2, too, where they are not installed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ``ModuleNotFoundError`` with the remedy for such a package."""
        if name in old_names.PACKAGES:
            raise ModuleNotFoundError(f"the script needs the package {name}: pip install 'graphc[scripts]'", name=name)
        return None


def install() -> None:
    """Let ``caffe2`` mean graphc's API, unless it does already; raises ``ImportError`` where it means another one."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if "caffe2" in sys.modules:
        where = getattr(sys.modules["caffe2"], "__file__", None) or "another place"
        raise ImportError(f"caffe2 was imported from {where} already: import graphc.caffe2.as_caffe2 before it")
    sys.meta_path.insert(0, _Finder())
    sys.meta_path += [_TutorialFinder(), _PackageFinder()]
    old_names.restore()


install()
