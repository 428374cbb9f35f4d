"""The example that writes and reads a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.caffe2.examples import lmdb_create_example


def test_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "data.minidb")
    assert lmdb_create_example.main(["--output_file", path, "--db_type", "minidb"]) == 0
    written, read = (line.split(": ")[1] for line in capsys.readouterr().out.splitlines())
    assert written == read
    with pytest.raises(AssertionError, match="what is read adds up to"):
        lmdb_create_example.read_db_with_caffe2(path, float(written) + 1000, "minidb")


def test_what_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmdb_create_example.main(["--output_file", str(tmp_path / "a"), "--db_type", "leveldb"]) == 1
    assert "no databases of type 'leveldb'" in capsys.readouterr().err
