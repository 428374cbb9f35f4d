"""Data sets of nested fields, against slices made by hand and the answers of real Caffe2."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from golden import difference, tensor

from graphc.caffe2 import core, workspace
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.workspace.cpp_shuffle import std_shuffle

FIELDS = ["id", "a:lengths", "a:values:k", "a:values:b:lengths", "a:values:b:values"]


def run(*args: object, **kwargs: object) -> None:
    workspace.RunOperatorOnce(core.CreateOperator(*args, **kwargs))


@pytest.fixture
def fields() -> None:
    """Two rows: the first of one list element that holds two values, the second of two, with one value and none."""
    columns = ([7, 8], [1, 2], [10, 20, 30], [2, 1, 0], [1, 2, 3])
    for name, column in zip(FIELDS, columns):
        workspace.FeedBlob(name, np.array(column, np.int32))
    run("CreateTreeCursor", [], "cursor", fields=FIELDS)


def fetch(*names: str) -> list[list[int]]:
    return [workspace.FetchBlob(name).tolist() for name in names]


@pytest.mark.usefixtures("fields")
def test_batches() -> None:
    outputs = list("vwxyz")
    read = core.CreateOperator("ReadNextBatch", ["cursor", *FIELDS], outputs, batch_size=1)
    workspace.RunOperatorOnce(read)
    assert fetch(*outputs) == [[7], [1], [10], [2], [1, 2]]
    workspace.RunOperatorOnce(read)
    assert fetch(*outputs) == [[8], [2], [20, 30], [1, 0], [3]]
    workspace.RunOperatorOnce(read)
    assert fetch(*outputs) == [[], [], [], [], []]
    run("GetCursorOffset", "cursor", "place")
    assert fetch("place") == [[2, 3, 3]]
    run("ResetCursor", "cursor", [])
    run("ReadNextBatch", ["cursor", *FIELDS], outputs, batch_size=3, enforce_batch_size=1)
    assert fetch("v") == [[]]


@pytest.mark.usefixtures("fields")
def test_offsets_and_random_batches() -> None:
    run("ComputeOffset", ["cursor", *FIELDS], "offsets")
    assert fetch("offsets") == [[[0, 0, 0], [1, 1, 2], [2, 3, 3]]]
    workspace.FeedBlob("order", np.array([1, 0]))
    outputs = list("vwxyz")
    run("ReadRandomBatch", ["cursor", "order", "offsets", *FIELDS], outputs, batch_size=2)
    assert fetch(*outputs) == [[8, 7], [2, 1], [20, 30, 10], [1, 0, 2], [3, 1, 2]]
    workspace.FeedBlob("order", np.array([2]))
    with pytest.raises(RuntimeError, match="names rows from 2 to 2"):
        run("ReadRandomBatch", ["cursor", "order", "offsets", *FIELDS], outputs)


@pytest.mark.usefixtures("fields")
def test_records() -> None:
    run("PackRecords", FIELDS, "packed", fields=FIELDS)
    outputs = list("vwxyz")
    run("UnPackRecords", "packed", outputs, fields=FIELDS)
    assert fetch(*outputs) == fetch(*FIELDS)
    workspace.FeedBlob("a:lengths", np.array([1, 1], np.int32))
    with pytest.raises(RuntimeError, match="field 'a:values:k' has 3 rows, 2 are needed"):
        run("PackRecords", FIELDS, "packed", fields=FIELDS)


def test_append() -> None:
    run("CreateMutex", [], "m")
    for name, column in (("a", []), ("b", [1]), ("c", [2, 3]), ("d", [4])):
        workspace.FeedBlob(name, np.array(column, np.int32))
    run("AtomicAppend", ["m", "a", "b", "c", "d"], ["a", "b"])
    assert fetch("a", "b") == [[2, 3], [1, 4]]


@pytest.mark.parametrize("name", ["net0001", "net0007", "net0014", "net0211", "net0469"])
def test_nets_of_real_caffe2(shared: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location("golden_io", shared / "golden" / "golden_io.py")
    assert spec is not None
    assert spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    recorded = reader.load_net(str(shared / "golden_nets" / f"{name}.npz"))
    for blob, value in recorded.inputs:
        workspace.FeedBlob(blob, tensor(value))
    workspace.RunNetOnce(caffe2_pb2.NetDef.FromString(recorded.net))
    wanted = [(blob, want) for blob, want in recorded.outputs if want is not None and not isinstance(want, tuple)]
    found = workspace.FetchBlobs([blob for blob, _ in wanted])
    assert difference(reader, SimpleNamespace(outputs=wanted, op=recorded.net), found) == ""


def test_shuffles_are_those_of_the_gnu_library():
    """Printed by a C++ program: ``std::shuffle(begin, end, std::default_random_engine())``, compiled by GCC."""
    numbers = list(range(10))
    std_shuffle(numbers)
    assert numbers == [2, 7, 1, 6, 8, 0, 4, 9, 5, 3]
    many, checksum = list(range(46341)), 0
    std_shuffle(many)
    for number in many:
        checksum = (checksum * 31 + number) % 1000003
    assert checksum == 401366
