"""A ranking net from float to 8- and 4-bit tables: integers, errors and files, with and without data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import ranking_net
from click.testing import CliRunner
from ranking_net import COLUMNS, ROWS, batch, forward, pair

import graphc
from graphc.cli.app import graphc as command
from graphc.frontends.netdef import Net, Operator, message_class, write_net
from graphc.ir import GraphcError, evaluate
from graphc.ir.infer import infer_types
from graphc.quantization import Quantized
from graphc.quantization.calibration import load_batches

TARGET = "portable"
BATCHES = [batch(seed) for seed in range(4)]
PREDICT, INIT = (write_net(net) for net in pair())
OPERATORS = {
    "users": "SparseLengthsSumFused8BitRowwise",
    "items": "SparseLengthsWeightedSumFused8BitRowwise",
    "cities": "GatherFused8BitRowwise",
}


def packed_by_hand(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and biases as Caffe2's FloatToFused8BitRowwiseQuantized makes them."""
    low, high = table.min(1, keepdims=True), table.max(1, keepdims=True)
    codes = np.rint((table - low) * (np.float32(255) / (high - low + np.float32(1e-8))))
    return codes, (high - low) / np.float32(255), low


def decoded_weights() -> dict[str, np.ndarray]:
    """The net's weights with the tables rounded to 8 bits."""
    own = ranking_net.weights()
    for name in ROWS:
        codes, scales, low = packed_by_hand(own[name])
        own[name] = codes.astype(np.float32) * scales + low
    return own


@pytest.fixture(scope="module")
def quantized() -> Quantized:
    """Tables and FC in 8 bits, calibrated on batches whose numbers of indices differ."""
    return graphc.quantize(PREDICT, INIT, BATCHES, equalize=False, target=TARGET)


@pytest.fixture(scope="module")
def tables_only() -> Quantized:
    """Only the tables in 8 bits, without data; typed for the first batch."""
    return graphc.quantize(PREDICT, INIT, inputs=dict(BATCHES[0]), tables_only=True)


def test_the_float_net_is_what_numpy_says() -> None:
    graph = graphc.import_model(PREDICT, INIT, dict(BATCHES[0]))
    infer_types(graph)
    wanted = forward(ranking_net.weights(), BATCHES[0])
    np.testing.assert_allclose(evaluate(graph, BATCHES[0])["click"], wanted, rtol=1e-4)


def test_tables_hold_caffe2s_integers(quantized: Quantized, tables_only: Quantized) -> None:
    for found in (quantized, tables_only):
        constants = {c.name: c.data for c in found.graph.constants if c.uses}
        for name, rows in ROWS.items():
            codes, scales, low = packed_by_hand(ranking_net.weights()[name])
            data = constants[f"{name}_int8"]
            assert data is not None
            assert data.shape == (rows, COLUMNS + 8)
            np.testing.assert_array_equal(data[:, :COLUMNS], codes)
            np.testing.assert_array_equal(data[:, COLUMNS:].copy().view(np.float32), np.hstack([scales, low]))
            assert name not in constants


def test_answers_are_those_of_the_decoded_tables(tables_only: Quantized) -> None:
    found = evaluate(tables_only.graph, BATCHES[0])["click"]
    np.testing.assert_allclose(found, forward(decoded_weights(), BATCHES[0]), rtol=1e-4)


def test_the_error_of_eight_bit_tables_is_within_half_a_step_of_each_number() -> None:
    """Half a step of its row is the most that a number of a table can be wrong by."""
    exact, rounded = ranking_net.weights(), decoded_weights()
    for name in ROWS:
        step = np.ptp(exact[name], axis=1, keepdims=True) / 255
        assert (np.abs(exact[name] - rounded[name]) <= 0.501 * step).all()
    for x in BATCHES:
        assert np.abs(forward(exact, x) - forward(rounded, x)).max() < 0.003


def test_int8_layers_and_tables_together(quantized: Quantized) -> None:
    signal = noise = 0.0
    for x in BATCHES:
        exact = forward(ranking_net.weights(), x)
        gap = quantized.compile(TARGET).run(x)["click"] - exact
        signal, noise = signal + np.square(exact).sum(), noise + np.square(gap).sum()
    assert quantized.report.loss == pytest.approx(np.sqrt(noise / signal), rel=1e-3)
    assert quantized.report.loss < 0.01
    assert quantized.report.samples == 48
    ops = {node.op for node in quantized.graph.nodes}
    assert {"Int8FC", *OPERATORS.values()} <= ops


def test_the_written_pair_gives_exactly_the_same(quantized: Quantized, tmp_path: Path) -> None:
    quantized.save(tmp_path)
    types = {v.name: v.type for v in quantized.graph.inputs}
    again = graphc.import_model(tmp_path / "predict_net.pb", tmp_path / "init_net.pb", types)
    infer_types(again)
    x = BATCHES[0]
    np.testing.assert_array_equal(evaluate(again, x)["click"], evaluate(quantized.graph, x)["click"])
    predict, init = (
        message_class("NetDef").FromString((tmp_path / f"{n}_net.pb").read_bytes()) for n in ("predict", "init")
    )
    readers = {i: op.type for op in predict.op for i in op.input}
    fills = {op.output[0]: op for op in init.op}
    for name, op in OPERATORS.items():
        assert readers[f"{name}_int8"] == op
        fill = fills[f"{name}_int8"]
        values = {a.name: a for a in fill.arg}
        assert fill.type == "GivenTensorByteStringToUInt8Fill"
        assert [len(s) for s in values["values"].strings] == [ROWS[name] * (COLUMNS + 8)]


def test_the_report_has_a_row_for_each_table(quantized: Quantized, tables_only: Quantized) -> None:
    rows = {layer.name: layer for layer in quantized.report.layers}
    for name, count in ROWS.items():
        exact = ranking_net.weights()[name].astype(np.float64)
        sqnr = 10 * np.log10(np.square(exact).sum() / np.square(exact - decoded_weights()[name]).sum())
        assert rows[name].precision == "int8"
        assert rows[name].sqnr == pytest.approx(sqnr, abs=0.01)
        assert (rows[name].float_bytes, rows[name].int8_bytes) == (count * 32, count * 16)
    assert "loss not measured (no data)" in str(tables_only.report)
    assert json.loads(tables_only.report.to_json())["loss"] is None


def test_a_net_of_look_ups_alone_needs_no_data() -> None:
    predict, init = pair()
    fills = [op for op in init.ops if op.outputs[0] == "users"]
    ops = [op for op in predict.ops if op.type == "SparseLengthsSum"]
    only = Net("bag", ops, ["user_ids", "user_counts", "users"], ["user"])
    found = graphc.quantize(write_net(only), write_net(Net("bag_init", fills, [], ["users"])))
    assert [node.op for node in found.graph.nodes] == ["SparseLengthsSumFused8BitRowwise"]
    with pytest.raises(GraphcError, match="no layer and no embedding table"):
        graphc.quantize(write_net(Net("none", [Operator("Relu", ["x"], ["y"], {})], ["x"], ["y"])))


def test_four_bits_and_tables_kept_in_float() -> None:
    found = graphc.quantize(PREDICT, INIT, tables_only=True, embeddings=4, in_float=["items"])
    shapes = {c.name: c.type.static_shape for c in found.graph.constants if c.uses}
    assert (shapes["users_int4"], shapes["cities_int4"], shapes["items"]) == ((50, 8), (30, 8), (40, 8))
    assert found.table.in_float == ["items"]
    assert [layer.precision for layer in found.report.layers] == ["int4", "float", "int4"]


def test_tables_that_cost_most_go_back_to_float() -> None:
    """Where tables alone are rounded, the error is theirs, and the bound is met by giving some of them back."""
    exact, rounded = ([forward(w, x) for x in BATCHES] for w in (ranking_net.weights(), decoded_weights()))
    loss = np.sqrt(np.square(np.subtract(rounded, exact)).sum() / np.square(exact).sum())
    found = graphc.quantize(PREDICT, INIT, BATCHES, tables_only=True, max_loss=0.8 * loss, target=TARGET).report
    assert found.all_int8 == pytest.approx(loss, rel=1e-3)
    assert found.loss is not None
    assert found.loss <= 0.8 * loss
    alone = {layer.name: layer.alone or 0 for layer in found.layers}
    kept = [layer.name for layer in found.layers if layer.precision == "float"]
    assert kept
    assert min(alone[name] for name in kept) >= max([alone[n] for n in alone if n not in kept], default=0)


def test_a_folder_of_batches(tmp_path: Path) -> None:
    for i, arrays in enumerate(BATCHES):
        np.savez(tmp_path / f"{i}.npz", **arrays)
    graph = graphc.import_model(PREDICT, INIT)
    found = load_batches(tmp_path, graph, None, 30)
    assert len(found) == 3  # of 12 samples each
    assert all(np.array_equal(found[2][n], BATCHES[2][n]) for n in ranking_net.INPUTS)
    none = batch(7)
    none |= {"user_ids": none["user_ids"][:0], "user_counts": none["user_counts"] * 0}
    assert load_batches([none], graph, None, 30) == [none]  # a batch without any user


def test_the_command_without_data(tmp_path: Path) -> None:
    files = [tmp_path / "predict.pb", tmp_path / "init.pb"]
    for path, content in zip(files, (PREDICT, INIT)):
        path.write_bytes(content)
    arguments = ["quantize", str(files[0]), "--init", str(files[1]), "-o", str(tmp_path / "int8")]
    done = CliRunner().invoke(command, [*arguments, "--tables-only", "--embeddings", "4"])
    assert done.exit_code == 0, done.output
    assert "int4" in done.output
    assert (tmp_path / "int8" / "init_net.pb").stat().st_size < files[1].stat().st_size
    told = CliRunner().invoke(command, arguments)
    assert isinstance(told.exception, GraphcError)
    assert "--tables-only" in str(told.exception)


def test_what_cannot_be_done_is_told() -> None:
    def with_batch(**arrays: np.ndarray) -> list[dict[str, np.ndarray]]:
        return [BATCHES[0], BATCHES[1] | arrays]

    far, short = BATCHES[1]["user_ids"].copy(), BATCHES[1]["item_counts"].copy()
    far[2], short[0] = 50, 0
    cases = (
        (
            {"calibrate": with_batch(user_ids=far)},
            r"batch 2 of 2: 'user_ids' has the index 50, the table 'users' has 50",
        ),
        ({"calibrate": with_batch(city_ids=BATCHES[1]["city_ids"] - 40)}, r"'city_ids' has the index -\d+"),
        ({"calibrate": with_batch(item_counts=short)}, r"'item_counts' adds up to \d+, 'item_ids' has \d+ indices"),
        ({}, r"the ranges of 4 layers \('low_relu', ...\) cannot be measured"),
        ({"tables_only": True, "max_loss": 0.1}, "the loss cannot be measured"),
        ({"tables_only": True, "embeddings": None}, "nothing is left to quantise"),
        ({"embeddings": 16}, "embeddings is 16"),
        ({"tables_only": True, "in_float": ["shops"]}, "no layer 'shops'"),
    )
    for arguments, said in cases:
        with pytest.raises(GraphcError, match=said):
            graphc.quantize(PREDICT, INIT, **arguments)  # type: ignore[arg-type]
