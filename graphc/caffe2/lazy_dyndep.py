"""``caffe2.python.lazy_dyndep``: libraries of operators that are asked for when operators are first needed.

graphc loads none (``dyndep``); what a library is refused for comes late, as everything about it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from graphc.caffe2 import dyndep, lazy

_LAZY_IMPORTED_DYNDEPS: set[str] = set()
_error_handler: list[Callable[[BaseException], None]] = []


def RegisterOpsLibrary(name: str) -> None:
    """Note that a script will need a library; one that is no file is told at once, and forgotten."""
    if os.path.exists(name):
        _LAZY_IMPORTED_DYNDEPS.add(name)
    else:
        dyndep.InitOpsLibrary(name)


def SetErrorHandler(handler: Callable[[BaseException], None]) -> None:
    """Have errors of libraries given to a function; without one they are dropped, and nets that lack operators tell."""
    _error_handler[:] = [handler]


def GetImportedOpsLibraries() -> set[str]:
    """The libraries that scripts asked for."""
    _import_lazy()
    return dyndep.GetImportedOpsLibraries()


def _import_lazy() -> None:
    while _LAZY_IMPORTED_DYNDEPS:
        name = _LAZY_IMPORTED_DYNDEPS.pop()
        try:
            dyndep.InitOpsLibrary(name, trigger_lazy=False)
        except RuntimeError as error:
            for handler in _error_handler:
                handler(error)


lazy.RegisterLazyImport(_import_lazy)
