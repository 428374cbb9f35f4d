"""Nets that come without weights: types with open channel counts, and the compiled net with weights of our making."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from bare_nets import DETECTION, INT8, NETS, RECURRENT, load, nets, predict_net
from made_weights import Made

import graphc
from graphc.backends.cpu.target import native
from graphc.ir import Sym, evaluate, infer_types
from graphc.ir.types import UNKNOWN


def wanted(files: tuple[bytes, bytes], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by the meaning of the operators."""
    graph = graphc.import_model(*files, inputs)
    infer_types(graph)
    return evaluate(graph, inputs)


def assert_close(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> None:
    """1e-4 of the largest magnitude, because sums run in another order; results of int8 nets are exact."""
    assert got.keys() == want.keys()
    for name, answer in want.items():
        assert (got[name].shape, got[name].dtype) == (answer.shape, answer.dtype), name
        scale = float(np.abs(answer).max(initial=0))
        np.testing.assert_allclose(got[name], answer, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("name", NETS)
def test_types_without_any_weight(shared: Path, name: str) -> None:
    """Nothing is known of the weights, not even their ranks: neither is then the rank of a product with one."""
    graph = load(predict_net(shared, name), NETS[name].arrays())
    infer_types(graph)
    assert all(node.results[0].type.rank in (4, None) for node in graph.nodes if node.op == "Conv")


@pytest.mark.parametrize("name", NETS)
def test_open_channel_counts_are_symbols(shared: Path, name: str) -> None:
    graph = load(predict_net(shared, name), NETS[name].arrays())
    Made().walk(graph)
    weights = [v.type for v in graph.inputs if v.name not in NETS[name].arrays()]
    assert weights
    assert all(type.shape is not None and not type.is_static for type in weights)
    for node in graph.nodes:
        if node.op != "If":
            for result in node.results:
                known = result.type.shape is not None and UNKNOWN not in result.type.shape
                assert known or result.name == "LSTM/step_workspaces", result
    scores = graph.outputs[0].type.shape
    assert scores
    assert isinstance(scores[0 if name in DETECTION else 1 if name not in RECURRENT else 2], Sym)


@pytest.mark.parametrize("name", NETS)
def test_compiled_with_made_weights(shared: Path, name: str, tmp_path: Path) -> None:
    files, inputs = nets(shared, name), NETS[name].arrays()
    plan = graphc.compile(*files, inputs=inputs, threads=1)
    got = plan.run(inputs)
    assert all(array.size for array in got.values())
    assert_close(got, wanted(files, inputs))
    plan.save(tmp_path / "plan.pkl")
    again = graphc.load(tmp_path / "plan.pkl").run(inputs)
    for blob, array in got.items():
        np.testing.assert_array_equal(again[blob], array)


@pytest.mark.parametrize("name", INT8)
def test_int8_net_with_its_own_window(shared: Path, name: str) -> None:
    case = NETS[name]
    inputs = {blob: np.zeros((1, 3, 193, 193), np.float32) for blob in case.inputs}
    folder = shared / "models" / "without_weights" / name
    plan = graphc.compile(folder / case.file, nets(shared, name)[1], inputs=inputs, threads=2)
    (probabilities,) = plan.run(inputs).values()
    np.testing.assert_allclose(probabilities.sum(), 1, atol=0.02)
    loops = [kernel for schedule in plan.schedules for kernel in schedule.kernels if kernel.template == "loop"]
    assert not loops or not native().fma, loops


@pytest.mark.parametrize("name", DETECTION)
def test_no_proposals(shared: Path, name: str) -> None:
    """An image without size has no box inside: zero rows reach the second half of the net."""
    files, inputs = nets(shared, name), NETS[name].arrays()
    plan = graphc.compile(*files, inputs=inputs, threads=2)
    empty = inputs | {"im_info": np.array([[0, 0, 1]], np.float32)}
    got = plan.run(empty)
    assert [got[blob].shape for blob in plan.outputs[:3]] == [(0,), (0, 4), (0,)]
    assert_close(got, wanted(files, empty))
    assert_close(plan.run(inputs), wanted(files, inputs))


@pytest.mark.parametrize("name", DETECTION)
def test_proposals_without_a_detection(shared: Path, name: str) -> None:
    """All boxes are background."""
    files, inputs = nets(shared, name, {"cls_score_b": 1000.0}), NETS[name].arrays()
    got = graphc.compile(*files, inputs=inputs, threads=1).run(inputs)
    assert got["score_nms"].size == 0
    assert_close(got, wanted(files, inputs))


@pytest.mark.parametrize("name", DETECTION)
def test_other_numbers_of_boxes_need_no_other_kernels(shared: Path, name: str) -> None:
    files, inputs = nets(shared, name), NETS[name].arrays()
    plan = graphc.compile(*files, inputs=inputs, threads=1)
    plan.run(inputs)
    compiled, counts = dict(plan.code.addresses), set()
    for seed in range(2, 8):
        image = NETS[name].arrays(seed)
        began = time.perf_counter()
        scores = plan.run(image)["score_nms"]
        first = time.perf_counter()
        plan.run(image)
        print(f"{name}: {scores.size} boxes, {first - began:.4f} s at first, {time.perf_counter() - first:.4f} s then")
        counts.add(scores.size)
    assert len(counts) > 1
    assert plan.code.addresses == compiled
