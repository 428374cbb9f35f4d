"""``python -m graphc.caffe2 SCRIPT ARGS`` and ``python -m graphc.caffe2 -m MODULE ARGS``: run a script on graphc.

``import caffe2`` means graphc's API there; the script is otherwise run as Python runs it.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence

from graphc.caffe2.as_caffe2 import install
from graphc.caffe2.modules import exists, twin

USAGE = "usage: python -m graphc.caffe2 SCRIPT [ARGS...] | -m MODULE [ARGS...]"


def main(arguments: Sequence[str]) -> int:
    """Run a script or module; exit code 2 for a command line that names none."""
    is_module = arguments[:1] == ["-m"]
    rest = list(arguments[1:] if is_module else arguments)
    if not rest or (rest[0].startswith("-") and not is_module):
        print(USAGE, file=sys.stderr)
        return 2
    install()
    sys.argv = rest
    if not is_module:
        if not os.path.exists(rest[0]):
            print(f"{rest[0]}: no such script\n{USAGE}", file=sys.stderr)
            return 2
        sys.path[0] = os.path.dirname(os.path.abspath(rest[0]))
        runpy.run_path(rest[0], run_name="__main__")
        return 0
    name = twin(rest[0]) if rest[0].startswith("caffe2.") and exists(rest[0]) else rest[0]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
