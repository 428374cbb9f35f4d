"""Host operators that read text files: one record a line, tabs between its fields. Rules from Caffe2's
``text_file_reader.cc``."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.ir import DType, FileError


@dataclass
class TextFile:
    """A file that is read ``passes`` times; threads may share it. types: those of the fields."""

    path: str
    passes: int
    types: list[DType]
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _lines: Iterator[bytes] | None = field(default=None, repr=False)

    def read(self, count: int) -> list[list[bytes]]:
        """The fields of the next lines, fewer at the end; raises ``FileError``."""
        with self.lock:
            if self._lines is None:
                self._lines = self._all()
            return [line.split(b"\t") for line in itertools.islice(self._lines, count)]

    def _all(self) -> Iterator[bytes]:
        for _ in range(self.passes):
            try:
                with open(self.path, "rb") as file:
                    yield from (line.rstrip(b"\r\n") for line in file)
            except OSError as error:
                raise FileError(f"{self.path} cannot be read: {error.strerror}", "check the path") from None


@host_operator("CreateTextFileReader")
def create_text_file_reader(call: HostCall) -> None:
    """A reader of ``filename``; ``field_types``: FLOAT or STRING for each field."""
    types = [DType(int(t)) for t in call.op.args.get("field_types", ())]
    if not types or not set(types) <= {DType.FLOAT, DType.STRING}:
        call.fail("argument field_types is needed: FLOAT or STRING for each field", "other types are not read")
    call.write(0, TextFile(str(call.arg("filename", "")), call.arg("num_passes", 1), types))


@host_operator("TextFileReaderRead")
def text_file_reader_read(call: HostCall) -> None:
    """The next ``batch_size`` records: a vector for each field, empty at the end."""
    file = call.object(0, TextFile)
    if call.n_outputs != len(file.types):
        call.fail(f"it has {call.n_outputs} outputs, the file {len(file.types)} fields", "name one for each")
    rows = file.read(call.arg("batch_size", 1))
    odd = next((row for row in rows if len(row) != len(file.types)), None)
    if odd is not None:
        call.fail(f"a line has {len(odd)} fields, not {len(file.types)}: {odd!r:.80}", "put tabs between the fields")
    for i, dtype in enumerate(file.types):
        call.write(i, _column(call, [row[i] for row in rows], dtype))


def _column(call: HostCall, texts: list[bytes], dtype: DType) -> np.ndarray:
    if dtype is DType.STRING:
        column = np.empty(len(texts), object)
        column[:] = texts
        return column
    try:
        return np.array([float(text) for text in texts], np.float32)
    except ValueError as error:
        call.fail(f"a field is no number: {error}", "declare it as STRING")
