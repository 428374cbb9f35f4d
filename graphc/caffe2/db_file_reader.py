"""``caffe2.python.db_file_reader``: records whose fields are blobs of a database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import _import_c_extension as C
from graphc.caffe2 import core, scope, workspace
from graphc.caffe2.dataio import Reader
from graphc.caffe2.dataset import Dataset
from graphc.caffe2.schema import from_column_list


class DBFileReader(Reader):
    """A reader of a database that ``Save`` wrote. loop_over: without end. field_names: else those of the blobs, sorted.

    Raises ``AssertionError`` for a type of database that graphc does not have.
    """

    default_name_suffix = "db_file_reader"

    def __init__(
        self,
        db_path: str,
        db_type: str,
        name: str | None = None,
        batch_size: int = 100,
        loop_over: bool = False,
        field_names: Sequence[str] | None = None,
    ) -> None:
        if db_path is None:
            raise AssertionError("db_path can't be None.")
        if db_type not in C.registered_dbs():
            raise AssertionError(f"db_type [{db_type}] is not available; choose one of {C.registered_dbs()}")
        self.db_path, self.db_type = os.path.expanduser(db_path), db_type
        self.name = name or f"{self._extract_db_name_from_db_path()}_{self.default_name_suffix}"
        self.batch_size, self.loop_over = batch_size, loop_over
        super().__init__(self._init_reader_schema(field_names))
        self.ds = Dataset(self._schema, f"{self.name}_dataset")
        self.ds_reader: Any = None

    def _init_reader_schema(self, field_names: Sequence[str] | None = None) -> Any:
        """The record that the names say, or the blobs of the database, which are loaded for that."""
        if field_names:
            return from_column_list(list(field_names))
        with core.NameScope(self.name):
            prefix = scope.CurrentNameScope()
        load = core.CreateOperator(
            "Load",
            [],
            [],
            absolute_path=True,
            db=self.db_path,
            db_type=self.db_type,
            load_all=True,
            add_prefix=prefix,
        )
        workspace.RunOperatorOnce(load)
        names = [name.removeprefix(prefix) for name in sorted(workspace.Blobs()) if name.startswith(prefix)]
        return from_column_list(names)

    def setup_ex(self, init_net: Any, finish_net: Any) -> None:
        """Load the blobs, once, and make the cursor."""
        if self.ds_reader is not None:
            self.ds_reader.setup_ex(init_net, finish_net)
            return
        self._init_field_blobs_as_empty(init_net)
        init_net.Load(
            [],
            self.ds.get_blobs(),
            db=self.db_path,
            db_type=self.db_type,
            absolute_path=True,
            source_blob_names=self.ds.field_names(),
        )
        self.ds_reader = self.ds.random_reader(init_net, batch_size=self.batch_size, loop_over=self.loop_over)
        self.ds_reader.sort_and_shuffle(init_net)
        self.ds_reader.computeoffset(init_net)

    def _init_field_blobs_as_empty(self, init_net: Any) -> None:
        with core.NameScope(self.name):
            self.ds.init_empty(init_net)

    def read(self, read_net: Any) -> tuple[Any, Any]:
        """Add the operators that read a batch; raises ``AssertionError`` before ``setup_ex``."""
        if self.ds_reader is None:
            raise AssertionError("setup_ex must be called first")
        found: tuple[Any, Any] = self.ds_reader.read(read_net)
        return found

    def _extract_db_name_from_db_path(self) -> str:
        """``sample`` of ``folder/sample.db``."""
        return os.path.basename(self.db_path).rsplit(".", 1)[0]
