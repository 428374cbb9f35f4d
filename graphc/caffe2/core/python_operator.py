"""Operators that call functions of this process."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.core.operator import CreateOperator
from graphc.caffe2.workspace.python_functions import register_python
from graphc.frontends.netdef.schema import Message


def CreatePythonOperator(
    f: Any,
    inputs: Any,
    outputs: Any,
    grad_f: Any = None,
    pass_workspace: bool = False,
    python_func_type: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Message:
    """An operator that calls ``f(inputs, outputs)``; see ``Net.Python``."""
    kwargs["token"] = register_python(f, grad_f, python_func_type, pass_workspace)
    return CreateOperator("Python", inputs, outputs, *args, **kwargs)
