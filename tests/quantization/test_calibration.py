"""Calibration data from folders, files and iterables; what is wrong with it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphc.ir import FileError, Graph, GraphcError
from graphc.ir.builder import Builder
from graphc.pictures import Preparation, load_picture
from graphc.quantization.calibration import constant_inputs, load_batches, sample_count


def net(*types: str) -> Graph:
    graph = Graph("net", "typed")
    build = Builder(graph)
    for name, type in zip(("data", "info"), types):
        build.output(build.op("Relu", [build.input(name, type)], name=f"{name}_out"))
    return graph


IMAGES = net("float[1,3,8,8]")


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for i in range(5):
        Image.new("RGB", (20, 10), (10 * i, 0, 255)).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    how = Preparation(8, mean=(1, 2, 3), bgr=True)
    found = load_batches(tmp_path, IMAGES, how, 100)
    assert [list(b) for b in found] == [["data"]] * 5
    assert np.array_equal(found[2]["data"][0], load_picture(tmp_path / "2.png", how))
    assert np.array_equal(found[2]["data"][0, :, 0, 0], np.array([254, -2, 17], np.float32))
    assert load_batches(tmp_path, IMAGES, None, 100)[0]["data"].shape == (1, 3, 8, 8)
    few = load_batches(tmp_path, IMAGES, how, 2)
    assert [b["data"][0, 2, 0, 0] for b in few] == [-3.0, 17.0]  # the first and the third


def test_arrays_of_a_file_in_pieces(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(0, 1, (20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", data=data)
    found = load_batches(tmp_path / "x.npz", IMAGES, None, 18)
    assert sample_count(found) == 18
    assert np.array_equal(np.concatenate([b["data"] for b in found]), data[:18])


def test_iterables_of_arrays_and_of_mappings() -> None:
    batches = [np.full((2, 3, 8, 8), i, np.float32) for i in range(3)]
    assert sample_count(load_batches(batches, IMAGES, None, 100)) == 6
    assert sample_count(load_batches(({"data": b} for b in batches), IMAGES, None, 3)) == 4
    both = net("float[1,3,8,8]", "float[1,3]")
    found = load_batches([{"data": batches[1], "info": np.zeros((2, 3), np.float32)}], both, None, 9)
    assert constant_inputs(found) == ["data", "info"]


def test_nets_that_fix_the_number_of_samples(tmp_path: Path) -> None:
    """A Reshape to a literal shape takes that batch only: files are read so, and the rest is left out."""
    graph = Graph("fixed", "typed")
    build = Builder(graph)
    x = build.input("data", "float[4,3,8,8]")
    build.output(build.node("Reshape", [x], {"shape": (4, 192)}, ["rows", "old"]).results[0])
    data = np.random.default_rng(0).normal(0, 1, (10, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", data=data)
    found = load_batches(tmp_path / "x.npz", graph, None, 100)
    assert [b["data"].shape[0] for b in found] == [4, 4]
    assert np.array_equal(found[1]["data"], data[4:8])
    with pytest.raises(FileError, match="takes 4 samples at once, there are 3"):
        load_batches(tmp_path / "x.npz", graph, None, 3)
    (tmp_path / "pictures").mkdir()
    for i in range(5):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    (batch,) = load_batches(tmp_path / "pictures", graph, None, 100)
    assert batch["data"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_wrong_data_is_told(tmp_path: Path) -> None:
    good = np.ones((1, 3, 8, 8), np.float32)
    bad: list[tuple[Callable[[], object], str]] = [
        (list, "there is no calibration data"),
        (lambda: 7, "calibration data is a int"),
        (lambda: good, "is a single batch"),
        (lambda: {"data": good}, "is a single batch"),
        (lambda: tmp_path / "x.npy", "without the name of an input"),
        (lambda: [good[:, :2]], r"has the shape \[1, 2, 8, 8\]"),
        (lambda: [good[0]], r"is float32\[3, 8, 8\]"),
        (lambda: [good.astype(np.int64)], "is int64"),
        (lambda: [good[:0]], "is empty"),
        (lambda: [good * np.nan], "has NaN or infinite"),
        (lambda: [{"image": good}], "input 'data' is missing; there is no input 'image'"),
        (lambda: tmp_path, "holds no pictures"),
        (lambda: tmp_path / "gone.npz", "does not exist"),
    ]
    np.save(tmp_path / "x.npy", good)
    for source, said in bad:
        with pytest.raises(GraphcError, match=said):
            load_batches(source(), IMAGES, None, 10)  # type: ignore[arg-type]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(FileError, match=r"x\.npz is not an \.npz file"):
        load_batches(tmp_path / "x.npz", IMAGES, None, 10)
    np.savez(tmp_path / "y.npz", data=np.ones((2, 3, 8, 8)), info=np.ones((3, 3)))
    with pytest.raises(FileError, match="different numbers of samples"):
        load_batches(tmp_path / "y.npz", IMAGES, None, 10)
    (tmp_path / "broken.png").write_bytes(b"no png")
    with pytest.raises(FileError, match=r"broken\.png is not a picture"):
        load_batches(tmp_path, IMAGES, None, 10)
    with pytest.raises(GraphcError, match="reads 2 inputs"):
        load_batches(tmp_path, net("float[1,3,8,8]", "float[1,3]"), None, 10)
    for type, said in (
        ("float[1,3]", "is no picture"),
        ("float[1,8,8,3]", "three planes"),
        ("float[1,3,8,6]", "square"),
    ):
        with pytest.raises(GraphcError, match=said):
            load_batches(tmp_path, net(type), None, 10)
