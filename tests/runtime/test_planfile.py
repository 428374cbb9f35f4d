"""Plan files: round trip, damage, malice."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from graphc.ir import FileError, PlanError
from graphc.runtime.planfile import read_plan, write_plan

BODY = {"graph": "g", "offsets": [0, 64]}
ARRAYS = [np.arange(3, dtype=np.int64), np.linspace(0, 1, 5, dtype=np.float32)]


def written(folder: Path) -> Path:
    path = folder / "plan.pkl"
    write_plan(path, BODY, ARRAYS, 84)
    return path


def test_round_trip(tmp_path: Path) -> None:
    body, tail = read_plan(written(tmp_path))
    assert body["graph"] == "g"
    np.testing.assert_array_equal(tail[:24].view(np.int64), ARRAYS[0])
    np.testing.assert_array_equal(tail[64:84].view(np.float32), ARRAYS[1])


def test_the_file_is_a_pickle_of_plain_data(tmp_path: Path) -> None:
    head = pickle.loads(written(tmp_path).read_bytes())
    assert head["format"] == "graphc-plan"


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch hacked",)


def test_opening_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"format": Malice()}, protocol=4))
    with pytest.raises(PlanError, match="plain data only"):
        read_plan(path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("keep", [0, 1, 2, 10, 100, 4095, 4097, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PlanError):
        read_plan(path)


@pytest.mark.parametrize("at", [40, 120, 160, 4096, 4170])
def test_altered(tmp_path: Path, at: int) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(PlanError):
        read_plan(path)


def test_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "plan.pkl"
    path.write_bytes(pickle.dumps({"format": "graphc-plan", "version": 99, "digest": b"", "body": b""}, protocol=4))
    with pytest.raises(PlanError, match="format 99"):
        read_plan(path)


def test_an_unwritable_place_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot write"):
        write_plan(tmp_path / "no" / "plan.pkl", BODY, ARRAYS, 84)


def test_a_failed_write_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        write_plan(path, {**BODY, "graph": "new"}, ARRAYS, 84)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
