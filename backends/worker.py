"""What compile workers of all targets do: they answer requests, one JSON object a line on stdin and on stdout."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def serve(requests: Iterable[str], compile_kernel: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answer all requests: ``{"name", ...}`` with ``{"name", ...}``, what ``compile_kernel`` made of it, or with
    ``{"name", "error"}``.
    """
    gc.disable()  # collecting takes a sixth of the time, and nobody asks a worker for many kernels
    replies = sys.stdout
    sys.stdout = sys.stderr  # nothing that Numba prints may mix with replies
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"name": request["name"], **compile_kernel(request)}
        except Exception as error:  # the parent raises it with the kernel's name
            reply = {"name": request["name"], "error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
