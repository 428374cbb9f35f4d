"""Databases of keys and values, in which Caffe2 keeps weights, checkpoints and training data.

``minidb`` is a file of records: lengths of key and value, two int32 each (little-endian), then both. ``lmdb`` needs the
package of that name.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from graphc.ir import FileError

READ, WRITE, NEW = 0, 1, 2
"""How a database is opened: Caffe2's ``Mode``. A new minidb takes the place of an old one; a new lmdb does not."""
_LENGTHS = struct.Struct("<ii")


class Database(Protocol):
    """A database that is open."""

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in the database's order; raises ``FileError``."""

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Append records; raises ``FileError``."""

    def close(self) -> None:
        """Write what is left and let go of the files."""


class MiniDb:
    """A ``minidb`` file."""

    def __init__(self, path: str, mode: int) -> None:
        self._path = Path(path)
        if mode == READ and not self._path.is_file():
            raise FileError(f"there is no minidb {path}", "check the path and the workspace's root folder")
        if mode == NEW:
            self._path.write_bytes(b"")

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in the order in which they were written; raises ``FileError`` for a damaged file."""
        with self._path.open("rb") as file:
            while head := file.read(_LENGTHS.size):
                n_key, n_value = _LENGTHS.unpack(head) if len(head) == _LENGTHS.size else (-1, -1)
                key, value = (file.read(n) if n >= 0 else b"" for n in (n_key, n_value))
                if len(key) != n_key or len(value) != n_value:
                    raise FileError(f"minidb {self._path} is damaged or truncated", "write it again")
                yield key, value

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Append records."""
        with self._path.open("ab") as file:
            for key, value in records:
                file.write(_LENGTHS.pack(len(key), len(value)) + key + value)

    def close(self) -> None:
        """Nothing: every write is complete."""


class Lmdb:
    """An ``lmdb`` folder; its keys are sorted."""

    def __init__(self, path: str, mode: int) -> None:
        try:
            lmdb = importlib.import_module("lmdb")
        except ImportError:
            raise FileError(f"lmdb {path} needs the package lmdb", "pip install lmdb, or use minidb") from None
        if mode == READ and not Path(path).exists():
            raise FileError(f"there is no lmdb {path}", "check the path and the workspace's root folder")
        if mode == NEW and Path(path).exists():
            raise FileError(f"lmdb {path} exists already", "remove it, or open it for writing")
        self._error: Any = lmdb.Error
        self._environment: Any = lmdb.open(
            path, readonly=mode == READ, lock=False, map_size=1 << 40, subdir=not Path(path).is_file()
        )

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in the order of the keys."""
        with self._environment.begin() as transaction:
            yield from transaction.cursor()

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Put records, all or none."""
        try:
            with self._environment.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key, value)
        except self._error as error:
            raise FileError(f"lmdb cannot be written: {error}", "check the disk") from None

    def close(self) -> None:
        """Close the folder."""
        self._environment.close()


KINDS: dict[str, Any] = {"minidb": MiniDb, "lmdb": Lmdb}
"""Types of databases by Caffe2's names."""


def open_database(kind: str, path: str, mode: int) -> Database:
    """Open a database; raises ``FileError`` for one that cannot be opened, or of a type that graphc has not."""
    if kind not in KINDS:
        raise FileError(f"graphc reads no databases of type '{kind}'", f"types: {', '.join(KINDS)}")
    try:
        found: Database = KINDS[kind](path, mode)
    except OSError as error:
        raise FileError(f"{kind} {path} cannot be opened: {error.strerror}", "check path and permissions") from None
    return found
