"""The digits net from float to int8 and back into graphc: accuracy, files, report, command line."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import graphc
from graphc.cli.app import graphc as command
from graphc.frontends.netdef import message_class, read_net
from graphc.ir import FileError, GraphcError, evaluate
from graphc.ir.infer import infer_types
from graphc.passes.quantize import parse_table

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")
TARGET = "portable"  # its kernels compile fastest, and give the same integers


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test images as the net reads them, their labels, and the float net's probabilities."""
    with np.load(DIGITS / "test_images.npz") as file:
        return file["images"][:, None].astype(np.float32) / np.float32(255), file["labels"], file["expected"]


@pytest.fixture(scope="module")
def calibration(images: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Forty of the images, moved by a pixel and dimmed: none is a test image."""
    moved = np.roll(images[0][::9], 1, axis=3) * np.float32(0.9)
    return [moved[i : i + 10] for i in range(0, 40, 10)]


@pytest.fixture(scope="module")
def quantized(calibration: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> tuple:
    found = graphc.quantize(NET, INIT, calibration, inputs={"data": (10, 1, 8, 8)}, attribute=True, target=TARGET)
    folder = tmp_path_factory.mktemp("int8")
    found.save(folder)
    return found, folder


def test_accuracy_is_kept(quantized: tuple, images: tuple[np.ndarray, ...]) -> None:
    data, labels, expected = images
    probabilities = quantized[0].compile(TARGET).run({"data": data})["softmax"]
    accuracy, before = ((p.argmax(1) == labels).mean() for p in (probabilities, expected))
    assert accuracy >= before - 0.005
    assert np.abs(probabilities - expected).mean() < 0.003


def test_the_pair_computes_what_the_graph_does(quantized: tuple, images: tuple[np.ndarray, ...]) -> None:
    found, folder = quantized
    again = graphc.import_model(folder / "predict_net.pb", folder / "init_net.pb", {"data": (10, 1, 8, 8)})
    infer_types(again)
    batch = {"data": images[0][:10]}
    assert np.array_equal(evaluate(again, batch)["softmax"], evaluate(found.graph, batch)["softmax"])


def test_the_pair_compiled_and_by_the_reference(quantized: tuple, images: tuple[np.ndarray, ...]) -> None:
    """Every 8-bit value is the same integer, whichever computes it."""
    pair = "+".join(str(quantized[1] / name) for name in ("predict_net.pb", "init_net.pb"))
    found = graphc.compare(f"{pair}@reference", f"{pair}@{TARGET}", {"data": images[0][:3]}, tolerance=1e-6)
    int8 = [e for e in found.blobs if e.dtypes == ("uint8", "uint8")]
    assert len(int8) >= 4
    assert all(e.max_abs == 0 for e in int8)
    assert found.ok


def test_the_pair_is_legal_and_small(quantized: tuple) -> None:
    folder = quantized[1]
    for name in ("predict_net.pb", "init_net.pb"):
        content = (folder / name).read_bytes()
        message = message_class("NetDef").FromString(content)
        known = message_class("NetDef").FromString(content)
        known.DiscardUnknownFields()
        assert known.SerializeToString() == message.SerializeToString()
    types = [op.type for op in message_class("NetDef").FromString((folder / "predict_net.pb").read_bytes()).op]
    assert {"Int8Quantize", "Int8ConvRelu", "Int8MaxPool", "Int8FC", "Int8Dequantize"} <= set(types)
    sizes = [path.stat().st_size for path in (folder / "init_net.pb", Path(INIT))]
    assert sizes[0] < 0.3 * sizes[1]


def test_files_that_belong_together_change_together(quantized: tuple, tmp_path: Path) -> None:
    """A new net beside old weights would run, and be wrong."""
    (tmp_path / "predict_net.pb").write_text("old")
    (tmp_path / "report.svg").mkdir()
    with pytest.raises(FileError, match=r"cannot write .*report\.svg"):
        quantized[0].save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predict_net.pb", "report.svg"]
    assert (tmp_path / "predict_net.pb").read_text() == "old"


def test_reports_tell_the_same(quantized: tuple) -> None:
    found, folder = quantized
    data = json.loads((folder / "report.json").read_text())
    rows = list(csv.DictReader((folder / "report.csv").open()))
    assert [r["name"] for r in rows] == [layer["name"] for layer in data["layers"]]
    assert data["loss"] == found.report.loss < 0.05
    assert data["samples"] == 40
    int8 = [layer for layer in data["layers"] if layer["precision"] == "int8"]
    assert len(int8) >= 4
    assert all(layer["sqnr"] > 20 for layer in int8)
    assert all(0 < layer["alone"] < 0.05 for layer in data["layers"] if layer["operator"] in ("Conv Relu", "FC"))
    drawing = ET.parse(folder / "report.svg").getroot()
    text = "".join(drawing.itertext())
    assert all(layer["name"] in text for layer in data["layers"])
    assert parse_table((folder / "scales.txt").read_text()) == found.table
    assert "loss" in str(found.report)


def test_the_command(tmp_path: Path, calibration: list[np.ndarray]) -> None:
    np.savez(tmp_path / "samples.npz", data=np.concatenate(calibration))
    arguments = ["quantize", NET, "--init", INIT, "--calibrate", str(tmp_path / "samples.npz")]
    arguments += ["--input", "data=10,1,8,8", "--samples", "10", "--target", TARGET, "--json"]
    done = CliRunner().invoke(command, [*arguments, "-o", str(tmp_path / "int8")], catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["samples"] == 10
    assert read_net(tmp_path / "int8" / "predict_net.pb").ops
    (tmp_path / "file").write_text("")
    for extra in (["-o", str(tmp_path / "file")], ["--report", "x.txt", "-o", "int8"], ["--ranges", "best", "-o", "x"]):
        assert CliRunner().invoke(command, [*arguments, *extra]).exit_code == 2


def test_what_cannot_be_done_is_told(calibration: list[np.ndarray]) -> None:
    shapes = {"data": (10, 1, 8, 8)}
    for arguments, said in (
        ({"ranges": "best"}, "no range rule 'best'"),
        ({"max_loss": 0.0}, "max_loss is 0.0"),
        ({"in_float": ["conv9"]}, "no layer 'conv9'"),
    ):
        with pytest.raises(GraphcError, match=said):
            graphc.quantize(NET, INIT, calibration, inputs=shapes, **arguments)
    with pytest.raises(GraphcError, match="there is no calibration data"):
        graphc.quantize(NET, INIT, [], inputs=shapes)


def test_what_is_in_8_bits_already_is_told(quantized: tuple, calibration: list[np.ndarray]) -> None:
    predict, init = (str(quantized[1] / name) for name in ("predict_net.pb", "init_net.pb"))
    with pytest.raises(GraphcError, match=r"in 8 bits already: .*Int8Quantize"):
        graphc.quantize(predict, init, calibration, inputs={"data": (10, 1, 8, 8)}, target=TARGET)


def test_outputs_that_cannot_be_written_are_told_first(tmp_path: Path) -> None:
    """Before anything is calibrated: the data here is no data."""
    (tmp_path / "samples.npz").write_bytes(b"")
    (tmp_path / "file").write_text("")
    arguments = ["quantize", NET, "--init", INIT, "--calibrate", str(tmp_path / "samples.npz")]
    for extra, option in (
        (["-o", str(tmp_path / "file" / "int8")], "--output"),
        (["-o", str(tmp_path / "gone" / "int8.pkl")], "--output"),
        (["-o", str(tmp_path / "new" / "int8"), "--report", str(tmp_path / "gone" / "r.svg")], "--report"),
    ):
        done = CliRunner().invoke(command, [*arguments, *extra])
        assert done.exit_code == 2
        assert f"Invalid value for {option}: there is no folder" in done.output


def test_layers_go_to_float_until_the_loss_holds(quantized: tuple, calibration: list[np.ndarray]) -> None:
    loss = quantized[0].report.all_int8
    found = graphc.quantize(
        NET, INIT, calibration, inputs={"data": (10, 1, 8, 8)}, max_loss=0.7 * loss, equalize=False, target=TARGET
    )
    assert found.report.loss <= 0.7 * loss
    kept = [layer.name for layer in found.report.layers if layer.precision == "float"]
    assert set(found.table.in_float) <= set(kept)
    assert found.compile(TARGET).run({"data": calibration[0]})["softmax"].shape == (10, 10)
