"""``graphc allocate``: answers, written files, exit codes, and errors that name the line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graphc.cli.app import graphc
from graphc.ir import FileError

TABLE = 'id,lower,upper,size,note\na,0,2,3,x\nb,1,3,2,"y,z"\nc,2,4,3,w\n'
"""a and c never meet: 5 bytes are enough, and 5 live while b does."""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(graphc, ["allocate", *arguments])


def written(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_rows_get_an_offset_and_keep_their_columns(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = call(written(tmp_path, TABLE), "-o", str(out))
    assert done.exit_code == 0
    assert "height 5, lower bound 5, proven optimal" in done.output
    rows = list(csv.DictReader(out.open()))
    assert [row["note"] for row in rows] == ["x", "y,z", "w"]
    place = {row["id"]: (int(row["offset"]), int(row["offset"]) + int(row["size"])) for row in rows}
    assert place["a"] == place["c"]
    assert place["a"][1] <= place["b"][0] or place["b"][1] <= place["a"][0]


def test_an_offset_column_is_replaced_and_columns_go_by_name(tmp_path: Path) -> None:
    text = "size,offset,UPPER,lower,id\n3,99,2,0,a\n"
    out = tmp_path / "out.csv"
    assert call(written(tmp_path, text), "-o", str(out)).exit_code == 0
    assert out.read_text() == "size,UPPER,lower,id,offset\n3,2,0,a,0\n"


def test_a_file_without_header(tmp_path: Path) -> None:
    done = call(written(tmp_path, "0,0,3,4\n1,3,9,4\n"), "--json")
    assert json.loads(done.output)["height"] == 4


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("t.5.csv", (), 0),
        ("t.4.csv", (), 1),
        ("t.4.csv", ("--capacity", "5"), 0),
        ("t.csv", ("--capacity", "4"), 1),
        ("t.csv", ("--alignment", "4", "--capacity", "5"), 1),
    ],
)
def test_the_exit_code_tells_whether_the_capacity_is_met(
    tmp_path: Path, name: str, options: tuple[str, ...], code: int
) -> None:
    done = call(written(tmp_path, TABLE, name), "--json", *options)
    assert done.exit_code == code
    assert json.loads(done.output)["met"] is (code == 0)


@pytest.mark.parametrize(("text", "said"), [
    ("", "has no buffers"),
    ("id,lower,upper,size\n", "has no buffers"),
    ("id,lower,upper\na,0,1\n", "line 1: no column size"),
    ("id,lower,upper,size,size\na,0,1,1,1\n", "line 1: column size is there twice"),
    ("id,lower,upper,size\na,0,1,1\nb,0,1\n", "line 3: 3 cells instead of 4"),
    ("id,lower,upper,size\na,0,1,1\na,0,1,1\n", "line 3: id 'a' is that of line 2 too"),
    ("id,lower,upper,size\na,0,x,1\n", "line 2: upper 'x' is not a whole number"),
    ("id,lower,upper,size\na,0,1,1.5\n", "line 2: size '1.5' is not a whole number"),
    ("id,lower,upper,size\na,0,1,-1\n", "line 2: size -1 is negative"),
    ("id,lower,upper,size\na,2,2,1\n", "which is never"),
    (f"id,lower,upper,size\na,0,1,{2**63}\n", "is beyond 2^62"),
    (f"id,lower,upper,size\na,0,1,{2**61}\nb,0,1,{2**61}\n", "beyond 2^62"),
    (b"\x7fELF\x02\x01\x01\0\xff\xfe", "is not a text file"),
    (b"id,lower\0", "is not a text file"),
    ('id,lower,upper,size\n"a,0,1,1\n', "line 2"),
])  # fmt: skip
def test_bad_files_are_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    done = call(written(tmp_path, text))
    assert isinstance(done.exception, Exception)
    assert said in str(done.exception)
    assert isinstance(done.exception, FileError) or "2^62" in said


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    done = call(written(tmp_path, TABLE), "-o", str(tmp_path / "none" / "out.csv"))
    assert isinstance(done.exception, FileError)
