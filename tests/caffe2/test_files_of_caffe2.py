"""Blobs and databases byte for byte as real Caffe2 wrote them (shared/golden_files)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.caffe2 import core, workspace

SAVED = {
    "save_all": ("f32 f64 f16 i32 i64 i8 u8 i16 u16 bool scalar empty nan big strs", {}),
    "save_chunked": ("big f32", {"chunk_size": 1000}),
    "save_q8": ("q8 q32", {}),
}
"""Database -> what it holds, and the arguments of Save."""


@pytest.fixture
def files(shared: Path) -> Path:
    folder: Path = shared / "golden_files"
    return folder


@pytest.fixture
def recorded(files: Path) -> Any:
    return np.load(files / "blobproto.npz")


def test_blobs(recorded: Any) -> None:
    names = [key.removeprefix("blob.") for key in recorded if key.startswith("blob.")]
    assert len(names) == 18
    for name in names:
        data = recorded[f"blob.{name}"].tobytes()
        workspace.DeserializeBlob(name, data)
        assert workspace.SerializeBlob(name) == data, name
        if f"value.{name}" in recorded:
            want = recorded[f"value.{name}"]
            found = workspace.FetchBlob(name)
            assert (found.dtype, found.shape) == (want.dtype, want.shape)
            assert np.array_equal(found, want, equal_nan=want.dtype.kind == "f")
    assert workspace.FetchBlob("strs").tolist() == [b"a", b"", b"\0\xff", b"hello"]
    assert workspace.FetchBlob("stdstr") == b"plain std::string \0 blob"
    assert workspace.FetchInt8Blob("q8").data.tolist() == [[0, 1, 2], [128, 254, 255]]
    assert workspace.FetchInt8Blob("q32")[1:] == (0.125, 0)


@pytest.mark.parametrize("name", SAVED)
def test_databases(files: Path, recorded: Any, name: str, tmp_path: Path) -> None:
    names, arguments = SAVED[name]
    workspace.RunOperatorOnce(
        core.CreateOperator("Load", [], [], db=str(files / f"{name}.minidb"), db_type="minidb", load_all=1)
    )
    assert workspace.Blobs() == sorted(names.split())
    path = tmp_path / "again.minidb"
    workspace.RunOperatorOnce(
        core.CreateOperator("Save", names.split(), [], db=str(path), db_type="minidb", absolute_path=1, **arguments)
    )
    assert path.read_bytes() == (files / f"{name}.minidb").read_bytes()
