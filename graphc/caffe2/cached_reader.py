"""``caffe2.python.cached_reader``: another reader's records, kept in a database after they were read once."""

from __future__ import annotations

import os
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.db_file_reader import DBFileReader
from graphc.caffe2.pipeline import pipe
from graphc.caffe2.task import Cluster, TaskGroup


class CachedReader(DBFileReader):
    """A reader of a database, which ``build_cache_step`` makes from another reader if it does not exist.

    loop_over: without end.
    """

    default_name_suffix = "cached_reader"

    def __init__(
        self,
        original_reader: Any,
        db_path: str,
        db_type: str = "LevelDB",
        name: str | None = None,
        batch_size: int = 100,
        loop_over: bool = False,
    ) -> None:
        if original_reader is None:
            raise AssertionError("original_reader can't be None")
        self.original_reader = original_reader
        super().__init__(db_path, db_type, name, batch_size, loop_over)

    def _init_reader_schema(self, field_names: Any = None) -> Any:
        return self.original_reader.schema()

    def build_cache_step(self, overwrite: bool = False) -> Any:
        """A step that reads all records and writes the database; an empty one if that exists, unless ``overwrite``."""
        if os.path.exists(self.db_path) and not overwrite:
            return core.execution_step("build_step", [])
        init_net, save_net = core.Net("init"), core.Net("save")
        self._init_field_blobs_as_empty(init_net)
        with Cluster(), core.NameScope(self.name), TaskGroup() as group:
            pipe(self.original_reader, self.ds.writer(), num_threads=16)
            copy_step = group.to_task().get_step()
        save_net.Save(
            self.ds.get_blobs(),
            [],
            db=self.db_path,
            db_type=self.db_type,
            blob_name_overrides=self.ds.field_names(),
            absolute_path=True,
        )
        return core.execution_step("build_cache", [init_net, copy_step, save_net])
