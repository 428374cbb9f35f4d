"""Files that are written whole or not at all, and places that are looked at before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.ir import FileError
from graphc.runtime.atomic import replacing, require_place


@pytest.mark.parametrize("name", ["", ".", "none/file", "file/below", "/dev/null", "x" * 5000])
def test_no_place(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody begins the work, and writing says the same."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("old")
    with pytest.raises(FileError, match="cannot write") as before:
        require_place(name)
    with pytest.raises(FileError) as behind, replacing(name):
        pytest.fail("there is a file")
    assert str(before.value) == str(behind.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_place_is_left_as_it_was(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("old")
    for path in (old, tmp_path / "new"):
        require_place(path)
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert old.read_text() == "old"
