"""Plan files: a pickle stream of plain data, then an aligned tail of weights that is memory-mapped.

Opening one never runs code: the unpickler refuses every global, so a stream can only build numbers, strings, bytes,
lists, tuples and dicts; kernels are generated again from their specs. In order: a dict with ``format``, ``version``,
``digest`` and ``body`` (the pickled body), padding, and the tail. ``docs/plan-format.md`` has the fields.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import zlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NoReturn

import numpy as np

from graphc.ir.errors import FileError, PlanError
from graphc.runtime.atomic import replacing

FORMAT = "graphc-plan"
VERSION = 4
ALIGNMENT = 4096

Body = dict[str, Any]


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain data only."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise PlanError(
            f"the file wants to load {module}.{name}: a plan holds plain data only", "do not trust this file"
        )

    def persistent_load(self, pid: object) -> NoReturn:
        raise PlanError(
            "the file refers to objects outside itself: a plan holds plain data only", "do not trust this file"
        )


def _unpickle(data: io.BufferedIOBase | io.BytesIO, path: object) -> Any:
    try:
        return _PlainUnpickler(data).load()
    except PlanError:
        raise
    except Exception as error:
        raise PlanError(f"{path} is not a graphc plan, or is truncated ({error})", "compile the net again") from None


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


def write_plan(
    path: str | os.PathLike[str], body: Mapping[str, Any], constants: Sequence[np.ndarray], nbytes: int
) -> None:
    """Write a plan atomically: a reader sees the old file or the whole new one.

    body: plain data; its ``offsets`` says where each constant lies in the tail of ``nbytes`` bytes. Raises
    ``FileError``.
    """
    tail = np.zeros(nbytes, np.uint8)
    for offset, data in zip(body["offsets"], constants):
        tail[offset : offset + data.nbytes] = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    packed = pickle.dumps({**body, "tail_bytes": nbytes, "tail_crc": zlib.crc32(tail.data)}, protocol=4)
    head = pickle.dumps({"format": FORMAT, "version": VERSION, "digest": _digest(packed), "body": packed}, protocol=4)
    with replacing(path) as file:
        file.write(head)
        file.write(bytes(-len(head) % ALIGNMENT))
        file.write(tail.data)


def read_plan(path: str | os.PathLike[str]) -> tuple[Body, np.ndarray]:
    """Body and memory-mapped constant section of a plan. Raises ``FileError`` and ``PlanError``."""
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"\x80\x04":
                raise PlanError(f"{path} is not a graphc plan", "a plan is what 'graphc compile' writes")
            file.seek(0)
            head = _unpickle(file, path)
            start = -(-file.tell() // ALIGNMENT) * ALIGNMENT
            size = os.fstat(file.fileno()).st_size
            body = _check_head(head, path)
            if size < start + body["tail_bytes"]:
                raise PlanError(f"{path} is truncated: {size} of {start + body['tail_bytes']} bytes", "copy it again")
            tail = _map(file, start, body["tail_bytes"])
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from None
    except ValueError as error:  # a path with a zero byte
        raise FileError(f"cannot read {path!r}: {error}", "check the path") from None
    if zlib.crc32(tail.data) != body["tail_crc"]:
        raise PlanError(f"{path} was altered: the checksum of its weights is wrong", "copy or compile it again")
    return body, tail


def _check_head(head: Any, path: object) -> Body:
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise PlanError(f"{path} is a pickle, but not a graphc plan", "a plan is what 'graphc compile' writes")
    if head.get("version") != VERSION:
        raise PlanError(
            f"{path} has plan format {head.get('version')}, this graphc reads {VERSION}",
            "compile the net again, or use the graphc that wrote the plan",
        )
    packed = head.get("body")
    if not isinstance(packed, bytes) or head.get("digest") != _digest(packed):
        raise PlanError(f"{path} was altered: the checksum of its description is wrong", "copy or compile it again")
    body = _unpickle(io.BytesIO(packed), path)
    sizes = [body.get(name) for name in ("tail_bytes", "tail_crc")] if isinstance(body, dict) else []
    if not isinstance(body, dict) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise PlanError(f"{path} is not a whole plan", "compile the net again")
    return body


def _map(file: io.BufferedReader, start: int, nbytes: int) -> np.ndarray:
    if nbytes == 0:
        return np.zeros(0, np.uint8)
    view = mmap.mmap(file.fileno(), start + nbytes, access=mmap.ACCESS_READ)
    return np.frombuffer(view, np.uint8, nbytes, start)
