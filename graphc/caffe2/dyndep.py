"""``caffe2.python.dyndep``: libraries of operators, none of which graphc can load.

Operators of a library of C++ have to become operators of Python: ``graphc.register_operator``.
"""

from __future__ import annotations

import os
import warnings

_KNOWN = ("aten", "detectron", "gloo", "mpi", "nccl", "store_handler", "allreduce_ops", "sgd_ops", "transform_ops")
"""Parts of the names of libraries that came with Caffe2 or Detectron."""
_IMPORTED_DYNDEPS: set[str] = set()


def InitOpsLibrary(name: str, trigger_lazy: bool = True) -> None:
    """Note that a script asked for a library; raises ``RuntimeError`` for one that graphc does not know.

    Libraries of Caffe2 and Detectron, and those that do not exist, get a warning: nets that use an operator which
    graphc does not have are refused when they are created.
    """
    library = os.path.basename(name).lower()
    if any(part in library for part in _KNOWN) or name.startswith("@/"):
        warnings.warn(f"{name} is not loaded: graphc has its own operators", stacklevel=2)
        _IMPORTED_DYNDEPS.add(name)
    elif not os.path.exists(name):
        print(f"Ignoring {name} as it is not a valid file.")
    else:
        raise RuntimeError(
            f"graphc cannot load operators from {name}, a library for Caffe2\n"
            "help: write them in Python and register them: graphc.register_operator, see docs/adding-an-operator.md"
        )


def GetImportedOpsLibraries() -> set[str]:
    """The libraries that scripts asked for."""
    return _IMPORTED_DYNDEPS
