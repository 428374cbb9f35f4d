"""Nets of which a part runs on the card and a part on the CPU: who runs what, what is copied, and the answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from emulated import TARGET, emulated_plan, on_emulated_card
from made_weights import init_net, made_types, made_values
from one_net import imported, nets, operator, reference

import graphc
from graphc.frontends.netdef import Device, Operator, write_net
from graphc.ir import Graph, evaluate, infer_types
from graphc.ir.device import wants_host
from graphc.ir.parser import parse
from graphc.ir.printer import print_graph
from graphc.ir.verify import verify
from graphc.passes import O2, run_pipeline, with_block, with_devices
from graphc.passes.place_devices import BY_REQUEST, LITTLE_WORK, UNKNOWN, place_devices
from graphc.passes.plain_layout import is_blocked
from graphc.passes.segments import resident_outputs
from graphc.plan import Plan
from graphc.readiness import readiness
from graphc.targets import find, library_for

CPU, CUDA, HIP = 0, 1, 6
RNG = np.random.default_rng(3)
X = RNG.standard_normal((1, 3, 9, 9)).astype(np.float32)
WEIGHTS = {
    "w": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "b": RNG.standard_normal(4).astype(np.float32),
    "w2": RNG.standard_normal((4, 4, 3, 3)).astype(np.float32),
}


def at(device: int, *args: str, **kwargs: object) -> Operator:
    """An operator with a DeviceOption."""
    made = operator(*args, **kwargs)
    made.device = Device(device)
    return made


SANDWICH = [
    at(CUDA, "Conv", "x w b", "c", kernel=3),
    at(CPU, "Relu", "c", "r"),
    at(CPU, "Sqrt", "r", "s"),
    at(CUDA, "Conv", "s w2 b", "d", kernel=3),
    at(CUDA, "Softmax", "d", "y"),
]


def device_of(graph: Graph) -> dict[str, str]:
    """The device of what computes each value; copies are left out."""
    return {n.results[0].name: n.device for n in graph.nodes if not n.op.startswith("g.copy")}


def assert_right(plan: Plan, ops: list[Operator], inputs: dict[str, np.ndarray], outputs: str) -> None:
    """Answers within a few roundings of the reference interpreter's."""
    got = plan.run(inputs)
    for name, want in zip(outputs.split(), reference(ops, inputs, outputs, WEIGHTS)):
        np.testing.assert_allclose(got[name], want, rtol=0, atol=2e-6 * float(np.abs(want).max()), err_msg=name)


def test_an_operator_on_the_cpu_in_the_middle() -> None:
    plan = emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, beside=True)
    assert device_of(plan.graph) == {"c": "cuda:0", "s": "cpu:0", "d": "cuda:0", "y": "cuda:0"}
    assert [n.op for n in plan.graph.nodes if n.op.startswith("g.copy")] == ["g.copy_to_host", "g.copy_to_card"]
    assert [part.beside for part in plan.cut.parts] == [False, True, False]
    assert_right(plan, SANDWICH, {"x": X}, "y")
    middle = 4 * 7 * 7 * 4
    assert plan.code.card.moved == [("up", X.nbytes), ("down", middle), ("up", middle), ("down", 4 * 5 * 5 * 4)]


def test_the_dump_parses_back() -> None:
    plan = emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, beside=True)
    text = print_graph(plan.graph)
    assert print_graph(parse(text)) == text


def test_values_between_can_be_fetched() -> None:
    plan = emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, beside=True)
    got = plan.run({"x": X}, fetch=["c", "s"])
    for name, want in zip(("c", "s"), reference(SANDWICH[:3], {"x": X}, "c s", WEIGHTS)):
        np.testing.assert_allclose(got[name], want, rtol=0, atol=1e-5)


def test_other_sizes() -> None:
    plan = emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, beside=True)
    assert_right(plan, SANDWICH, {"x": RNG.standard_normal((2, 3, 7, 11)).astype(np.float32)}, "y")


def test_a_saved_plan_opens_without_running_code(tmp_path: Path) -> None:
    plan = emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, beside=True)
    plan.save(tmp_path / "net.pkl")
    loaded = graphc.load(tmp_path / "net.pkl")
    assert not loaded.code.objects
    assert not loaded.code.beside.objects
    on_emulated_card(loaded, beside=True)
    assert [part.beside for part in loaded.cut.parts] == [False, True, False]
    assert_right(loaded, SANDWICH, {"x": X}, "y")


def test_the_cpu_beside_the_card_can_be_chosen(tmp_path: Path) -> None:
    plan = emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, TARGET + "+portable", beside=True)
    assert plan.target == TARGET
    assert [code.library.target_name for code in plan.codes] == [TARGET, "portable"]
    plan.save(tmp_path / "net.pkl")
    loaded = graphc.load(tmp_path / "net.pkl")
    assert [code.library.target_name for code in loaded.codes] == [TARGET, "portable"]
    with pytest.raises(graphc.GraphcError, match="unknown target 'avx9'"):
        emulated_plan(SANDWICH, {"x": X}, "y", WEIGHTS, TARGET + "+avx9", beside=True)


def test_devices_change_nothing_for_a_cpu() -> None:
    graph = graphc.import_model(*nets(SANDWICH, {"x": X}, "y", WEIGHTS), {"x": X})
    plan = graphc.compile_graph(graph, prepare=False)
    assert len(plan.segments) == 1
    assert not [n for n in plan.graph.nodes if n.op.startswith("g.copy")]


@pytest.mark.parametrize("device", [None, Device(CPU)])
def test_a_net_for_the_cpu_goes_to_the_card_as_a_whole(device: Device | None) -> None:
    """Exporters say CPU of most operators and nothing of the others: one flag moves such a net."""
    ops = [operator("Conv", "x w b", "c", kernel=3), operator("Relu", "c", "r"), operator("Softmax", "r", "y")]
    ops[1].device = device
    plan = emulated_plan(ops, {"x": X}, "y", WEIGHTS)
    assert set(device_of(plan.graph).values()) == {"cuda:0"}


def test_copies_of_caffe2_say_nothing_new() -> None:
    """``InjectCrossDeviceCopies`` writes them; the devices of the operators around them already ask for copies."""
    ops = [
        at(HIP, "Conv", "x w b", "c", kernel=3),
        at(HIP, "CopyGPUToCPU", "c", "c_cpu"),
        at(CPU, "EnsureCPUOutput", "c_cpu", "e"),
        at(CPU, "Sqrt", "e", "s"),
        at(HIP, "CopyFromCPUInput", "s", "f"),
        at(HIP, "CopyCPUToGPU", "f", "g"),
        at(HIP, "Conv", "g w2 b", "d", kernel=3),
        at(HIP, "CopyGPUToCPU", "d", "y"),
    ]
    plan = emulated_plan(ops, {"x": np.abs(X)}, "y", WEIGHTS | {"w": np.abs(WEIGHTS["w"])}, beside=True)
    assert [n.op for n in plan.graph.nodes] == ["Conv", "g.copy_to_host", "Sqrt", "g.copy_to_card", "Conv"]


# ---- what decides ----------------------------------------------------------------------------------------------------


def test_little_work_between_operators_of_the_cpu_stays_there() -> None:
    ops = [
        at(CPU, "Sqrt", "x", "a"),
        operator("Transpose", "a", "t", axes=[0, 2, 3, 1]),
        at(CPU, "Log", "t", "l"),
        at(CUDA, "Negative", "l", "y"),
    ]
    graph = imported(ops, {"x": X}, "y")
    stays = {stay.node.results[0].name: (stay.reason, stay.remedy) for stay in place_devices(graph, card())}
    assert stays == {"a": BY_REQUEST, "t": LITTLE_WORK, "l": BY_REQUEST}
    assert device_of(graph)["y"] == "cuda:0"


def test_much_work_goes_to_the_card() -> None:
    ops = [at(CPU, "Sqrt", "x", "a"), operator("Transpose", "a", "t", axes=[0, 2, 3, 1]), at(CUDA, "Exp", "z", "y")]
    ops += [at(CPU, "Log", "t", "l")]
    graph = imported(ops, {"x": np.ones((16, 64, 64, 64), np.float32), "z": X}, "l y")
    assert not any(stay.node.op == "Transpose" for stay in place_devices(graph, card()))


def test_placing_twice_changes_nothing() -> None:
    graph = imported(SANDWICH, {"x": X}, "y", WEIGHTS)
    place_devices(graph, card())
    text = print_graph(graph)
    place_devices(graph, card())
    assert print_graph(graph) == text


def test_one_copy_serves_all_readers() -> None:
    ops = [at(CUDA, "Conv", "x w b", "c", kernel=3)]
    ops += [at(CPU, "Sqrt", "c", "s"), at(CPU, "Log", "c", "l"), at(CPU, "Mul", "s l", "y")]
    graph = imported(ops, {"x": X}, "y", WEIGHTS)
    place_devices(graph, card())
    assert [n.op for n in graph.nodes if n.op.startswith("g.copy")] == ["g.copy_to_host"]


def test_what_goes_from_card_to_card_stays_there() -> None:
    """The second convolution is fused with the product, which waits for the CPU."""
    ops = [
        at(CUDA, "Conv", "x w b", "c", kernel=3),
        at(CUDA, "Conv", "c w2 b", "d", kernel=3, pad=1),
        at(CPU, "Sigmoid", "c", "s"),
        at(CUDA, "Mul", "d s", "y"),
    ]
    plan = emulated_plan(ops, {"x": X}, "y", WEIGHTS, beside=True)
    first = resident_outputs(plan.cut, 1, False)[0]
    assert [plan.cut.parts[0].graph.outputs[k].name for k in first] == ["c"]
    assert_right(plan, ops, {"x": X}, "y")
    size = 4 * 7 * 7 * 4
    assert sorted(plan.code.card.moved) == sorted(
        [("up", X.nbytes), ("down", size), ("up", size), ("inside", size), ("down", size)]
    )


def card() -> object:
    return library_for(find(TARGET))


@pytest.mark.parametrize("stays", range(4))
def test_blocks_of_channels_are_the_cards_own(stays: int) -> None:
    """In half precision values lie in blocks of channels; an operator of the CPU gets plain ones."""
    weights = {"w": np.tile(WEIGHTS["w2"], (4, 2, 1, 1)), "b": np.tile(WEIGHTS["b"], 4)}
    weights["v"] = RNG.standard_normal((16, 16, 1, 1)).astype(np.float32)
    ops = [operator("Conv", "x w b", "c", kernel=3), operator("MaxPool", "c", "p", kernel=2, stride=2)]
    ops += [operator("Sigmoid", "p", "q"), operator("Conv", "q v b", "y", kernel=1)]
    for k, op in enumerate(ops):
        op.device = Device(CPU if k == stays else CUDA)
    inputs = {"x": RNG.standard_normal((1, 8, 6, 6)).astype(np.float32)}
    graph = imported(ops, inputs, "y", weights)
    run_pipeline(graph, with_block(with_devices(O2), 8))
    want = evaluate(graph, inputs)["y"]
    place_devices(graph, card())
    verify(graph)
    assert not any(is_blocked(node) for node in graph.nodes if wants_host(node))
    np.testing.assert_array_equal(evaluate(graph, inputs)["y"], want)
    assert any(is_blocked(node) for node in graph.nodes)


def test_a_recurrent_net_is_on_the_card_if_its_steps_are(shared: Path) -> None:
    folder = shared / "models" / "without_weights" / "char_lstm"
    inputs = {
        "input_blob": RNG.standard_normal((3, 2, 5)).astype(np.float32),
        "hidden_init": np.zeros((1, 2, 4), np.float32),
        "cell_init": np.zeros((1, 2, 4), np.float32),
        "seq_lengths": np.array([3, 2], np.int32),
    }
    net = (folder / "lstm_predict_net.pbtxt").read_bytes()
    weights = made_types(lambda: graphc.import_model(net, inputs=inputs))
    init = write_net(init_net(weights, made_values(weights)))
    plan = graphc.compile_graph(graphc.import_model(net, init, inputs), target=TARGET, prepare=False)
    assert len(plan.segments) == 1
    on_emulated_card(plan)
    graph = graphc.import_model(net, init, inputs)
    infer_types(graph)
    got = plan.run(inputs)
    for name, want in evaluate(graph, inputs).items():
        np.testing.assert_allclose(got[name], want, rtol=0, atol=1e-5, err_msg=name)
    longer = inputs | {"input_blob": np.ones((5, 2, 5), np.float32)}
    before = large(plan)
    assert before
    plan.run(longer)
    assert large(plan) == before


def large(plan: Plan) -> list[object]:
    """The weights on the card but for numbers of time steps."""
    return [place for place in plan.code._constants.values() if place.nbytes > 16]


# ---- a detection net -------------------------------------------------------------------------------------------------

BOXES = {
    "w": WEIGHTS["w"],
    "b": WEIGHTS["b"],
    "ws": RNG.standard_normal((1, 4, 1, 1)).astype(np.float32),
    "bs": np.zeros(1, np.float32),
    "wd": RNG.standard_normal((4, 4, 1, 1)).astype(np.float32) / 20,
    "bd": np.zeros(4, np.float32),
    "anchors": np.array([[0, 0, 7, 7]], np.float32),
    "wf": RNG.standard_normal((2, 16)).astype(np.float32),
    "bf": np.zeros(2, np.float32),
    "wb": RNG.standard_normal((8, 16)).astype(np.float32) / 20,
    "bb": np.zeros(8, np.float32),
}
DETECTION = [
    operator("Conv", "x w b", "c", kernel=3, pad=1),
    operator("Relu", "c", "f"),
    operator("Conv", "f ws bs", "s", kernel=1),
    operator("Sigmoid", "s", "scores"),
    operator("Conv", "f wd bd", "deltas", kernel=1),
    operator("GenerateProposals", "scores deltas im_info anchors", "rois roi_scores", spatial_scale=0.5, min_size=0.0),
    operator("RoIAlign", "f rois", "p", spatial_scale=0.5, pooled_h=2, pooled_w=2),
    operator("FC", "p wf bf", "l"),
    operator("Softmax", "l", "prob"),
    operator("FC", "p wb bb", "pred"),
    operator("BBoxTransform", "rois pred im_info", "box"),
    operator("BoxWithNMSLimit", "prob box", "score_nms bbox_nms class_nms", score_thresh=0.3),
]


def test_a_detection_net() -> None:
    """Proposals and suppression on the CPU, layers before and behind on the card, sizes that depend on data."""
    inputs = {"x": X, "im_info": np.array([[18, 18, 1]], np.float32)}
    plan = emulated_plan(DETECTION, inputs, "score_nms bbox_nms class_nms", BOXES, beside=True)
    places = device_of(plan.graph)
    assert {places[name] for name in ("f", "scores", "deltas", "prob", "pred")} == {"cuda:0"}
    assert {places[name] for name in ("rois", "score_nms")} == {"cpu:0"}
    assert len(plan.schedules) < len(plan.segments)
    got = plan.run(inputs)
    assert got["score_nms"].size > 1
    for name, want in zip(got, reference(DETECTION, inputs, "score_nms bbox_nms class_nms", BOXES)):
        np.testing.assert_allclose(got[name], want, rtol=0, atol=2e-5 * float(np.abs(want).max()), err_msg=name)


def test_the_report_lists_what_stays() -> None:
    inputs = {"x": X, "im_info": np.array([[18, 18, 1]], np.float32)}
    files = nets(DETECTION, inputs, "score_nms bbox_nms class_nms", BOXES)
    types = {v.name: v.type for v in imported(DETECTION, inputs, "score_nms", BOXES).inputs}
    report = readiness(*files, types, TARGET)
    assert report.ok
    rows = {operator: (blob, reason[: len(UNKNOWN[0])]) for operator, blob, reason, _ in report.on_cpu}
    assert rows["GenerateProposals"] == ("rois", UNKNOWN[0])
    assert rows["BoxWithNMSLimit"] == ("score_nms", UNKNOWN[0])
    assert "runs in order" in str(report)
    assert "operators that stay on the CPU: " in str(report)
    assert report.to_dict()["on_cpu"][0].keys() == {"operator", "blob", "reason", "remedy"}
    assert not readiness(*files, types, "native").on_cpu


@pytest.mark.parametrize(
    "name", ["cuda:sm_90a+nope", "cuda:sm_90a+", "cuda:sm_90a+cuda:sm_80", "cuda:sm_90a+avx2+avx2"]
)
def test_a_cpu_that_is_none_is_an_error_also_where_it_has_no_work(name: str) -> None:
    with pytest.raises(graphc.GraphcError, match=f"unknown target '{re.escape(name.partition('+')[2])}'"):
        find(name)
    predict, _ = nets([operator("Relu", "x", "y")], {"x": X}, "y", {})
    with pytest.raises(graphc.GraphcError, match="unknown target"):
        graphc.compile(predict, None, inputs={"x": X.shape}, target=name)
