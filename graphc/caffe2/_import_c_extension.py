"""What scripts use of ``caffe2.python._import_c_extension``, the part of Caffe2's API that was not Python."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.database import NEW, READ, WRITE, Database, open_database
from graphc.caffe2.operator_types import near_operators
from graphc.caffe2.workspace.current import CurrentWorkspace as current_workspace  # noqa: F401
from graphc.caffe2.workspace.current import SwitchWorkspace as switch_workspace  # noqa: F401
from graphc.caffe2.workspace.current import Workspaces as workspaces  # noqa: F401
from graphc.caffe2.workspace.current import current
from graphc.caffe2.workspace.environment import GlobalInit as global_init  # noqa: F401
from graphc.caffe2.workspace.environment import RegisteredOperators as registered_operators  # noqa: F401
from graphc.caffe2.workspace.environment import has_cuda_support as has_cuda_support
from graphc.caffe2.workspace.environment import has_gpu_support as has_gpu_support
from graphc.caffe2.workspace.environment import has_hip_support as has_hip_support
from graphc.caffe2.workspace.environment import is_asan as is_asan
from graphc.caffe2.workspace.store import Blob as Blob
from graphc.caffe2.workspace.store import Tensor as TensorCPU  # noqa: F401
from graphc.caffe2.workspace.store import Workspace as Workspace

is_numa_enabled = False
use_mkldnn = False
has_mkldnn = False
use_trt = False


class Mode:
    """How ``create_db`` opens a database."""

    read, write, new = READ, WRITE, NEW


def nearby_opnames(name: str) -> list[str]:
    """Operators of almost the same name."""
    return near_operators(name)


def builtin_cpu_supports_avx2() -> bool:
    """False: what scripts ask it for is a kernel of Caffe2's own."""
    return False


def registered_dbs() -> list[str]:
    """Types of databases."""
    return ["lmdb", "minidb"]


def blobs() -> list[str]:
    """The blobs of the current workspace."""
    return current().names()


def has_blob(name: str) -> bool:
    """The current workspace has a blob of this name."""
    return current().has_blob(name)


def fetch_blob(name: str) -> Any:
    """A copy of a blob of the current workspace."""
    return current().fetch(name)


class Cursor:
    """A place in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.seek_to_first()

    def seek_to_first(self) -> None:
        """Go to the first record."""
        self._records = self._database.records()
        self.next()

    def next(self) -> None:
        """Go to the next record."""
        self._record = next(self._records, None)

    def valid(self) -> bool:
        """There is a record at the place."""
        return self._record is not None

    def key(self) -> bytes:
        """The record's key; empty behind the last one."""
        return self._record[0] if self._record else b""

    def value(self) -> bytes:
        """The record's value; empty behind the last one."""
        return self._record[1] if self._record else b""


class Transaction:
    """Records to be written together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records: list[tuple[bytes, bytes]] = []

    def put(self, key: str | bytes, value: str | bytes) -> None:
        """Append a record."""
        self._records.append((_bytes(key), _bytes(value)))

    def commit(self) -> None:
        """Write the records."""
        self._database.write(self._records)
        self._records = []

    def __del__(self) -> None:
        if self._records:
            self.commit()


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


class Db:
    """A database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def new_transaction(self) -> Transaction:
        """A transaction, which is committed at its end."""
        return Transaction(self._database)

    def new_cursor(self) -> Cursor:
        """A cursor at the first record."""
        return Cursor(self._database)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def create_db(db_type: str, path: str, mode: int) -> Db:
    """Open a database; raises ``FileError``."""
    return Db(open_database(db_type, path, mode))
