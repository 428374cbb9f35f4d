"""Layers and nets on a real card, at the sizes of real nets. Skipped where there is none.

``make test-cuda`` runs them, and times kernels and nets afterwards (``benchmarks/on_card.py``).
"""

from __future__ import annotations

import threading
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from one_net import nets, operator, reference
from tiles import TILES, use_only

import graphc
from graphc.backends.cuda.kernels import tensor_tile
from graphc.backends.cuda.target import TARGETS
from graphc.frontends.netdef import Device
from graphc.ir.schedule_text import print_schedule
from graphc.passes import LEVELS, with_native_int8
from graphc.plan import Plan
from graphc.runtime.card_array import CardArray
from graphc.runtime.nvidia import NvidiaCard

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not glob("/dev/nvidia[0-9]*"), reason="this machine has no CUDA device"),
]


@pytest.fixture(scope="module")
def target() -> str:
    """The target that this machine's card runs."""
    for name, target in TARGETS.items():
        try:
            NvidiaCard(target.arch, target.serves)
        except graphc.PlanError:
            continue
        return name
    pytest.skip("graphc has no target for this machine's card")


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


# shape, maps, kernel, stride, pad, group
CONVOLUTIONS = [
    ((8, 64, 56, 56), 64, 3, 1, 1, 1),
    ((8, 256, 56, 56), 128, 1, 2, 0, 1),
    ((8, 3, 224, 224), 64, 7, 2, 3, 1),
    ((8, 512, 7, 7), 512, 3, 1, 1, 1),
    ((4, 32, 28, 28), 64, 3, 1, 1, 2),
    ((4, 96, 28, 28), 96, 3, 2, 1, 96),
]


PRECISIONS = ["float", "tf32", "float16", "bfloat16"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, precision: str, target: str) -> None:
    shape, maps, kernel, stride, pad, group = case
    weights = {"w": data(maps, shape[1] // group, kernel, kernel), "b": data(maps)}
    ops = [
        operator("Conv", "x w b", "c", kernel=kernel, stride=stride, pad=pad, group=group),
        operator("Relu", "c", "y"),
    ]
    check(ops, {"x": data(*shape)}, weights, target, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1, 64])
def test_fc_and_softmax(rows: int, precision: str, target: str) -> None:
    ops = [operator("FC", "x w b", "f"), operator("Softmax", "f", "y")]
    check(ops, {"x": data(rows, 2048)}, {"w": data(1000, 2048) / 50, "b": data(1000)}, target, precision)


def test_pointwise_and_reductions(target: str) -> None:
    ops = [
        operator("Tanh", "x", "a"),
        operator("Mul", "a c", "b", broadcast=1, axis=1),
        operator("ReduceMean", "b", "y", axes=[2, 3], keepdims=0),
    ]
    check(ops, {"x": data(16, 256, 56, 56), "c": data(256)}, {}, target)


TOLERANCES = {"float": 1e-4, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}
"""Of the largest element: sums in another order; elements of 11, 11 and 8 bits."""


def check(
    ops, inputs: dict[str, np.ndarray], weights: dict[str, np.ndarray], target: str, precision: str = "float"
) -> Plan:
    """A net with the output y, against the reference; gives the plan."""
    predict, init = nets(ops, inputs, "y", weights)
    plan = graphc.compile(predict, init if weights else None, inputs=inputs, target=target, precision=precision)
    (want,) = reference(ops, inputs, "y", weights)
    got = plan.run(inputs)["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCES[precision] * float(np.abs(want).max()))
    return plan


def test_an_operator_on_the_cpu_in_the_middle(target: str) -> None:
    ops = [
        operator("Conv", "x w b", "c", kernel=3),
        operator("Tanh", "c", "t"),
        operator("Conv", "t v b", "y", kernel=3),
    ]
    for op, device in zip(ops, (1, 0, 1)):
        op.device = Device(device)
    weights = {"w": data(64, 64, 3, 3) / 24, "v": data(64, 64, 3, 3) / 24, "b": data(64)}
    plan = check(ops, {"x": data(4, 64, 56, 56)}, weights, target)
    assert [part.beside for part in plan.cut.parts] == [False, True, False]


RELU = [operator("Relu", "x", "r"), operator("Add", "r r", "y")]


def test_outputs_on_the_card_are_inputs_again(target: str) -> None:
    x = data(4, 64, 56, 56)
    plan = check(RELU, {"x": x}, {}, target)
    made = plan.run({"x": x}, on_card=True)["y"]
    assert isinstance(made, CardArray)
    plan.run({"x": -x})
    np.testing.assert_array_equal(made.numpy(), 2 * np.maximum(x, 0))
    np.testing.assert_array_equal(plan.run({"x": made})["y"], 4 * np.maximum(x, 0))


def test_tensors_of_pytorch(target: str) -> None:
    """Behind work on a stream of its own, by DLPack, and as what PyTorch makes of an output."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch without CUDA")
    x = data(4, 64, 56, 56)
    plan = check(RELU, {"x": x}, {}, target)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        tensor = torch.from_numpy(x).cuda(non_blocking=True)
        for _ in range(50):
            tensor = tensor + 1
        found = plan.run({"x": tensor}, on_card=True)["y"]
    wanted = 2 * np.maximum(x + 50, 0)
    np.testing.assert_allclose(torch.as_tensor(found, device="cuda").cpu().numpy(), wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(graphc.RunError, match="not in row-major order"):
        plan.run({"x": tensor.contiguous(memory_format=torch.channels_last)})


def test_a_stream_of_pytorch(target: str) -> None:
    """Nobody waits between work on the stream, the run, and more work there; both ways of giving outputs on."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch without CUDA")
    x = data(4, 64, 56, 56)
    plan = check(RELU, {"x": x}, {}, target)
    side, found = torch.cuda.Stream(), []
    with torch.cuda.stream(side):
        for k in range(20):
            tensor = torch.from_numpy(x).cuda() + k
            made = plan.run({"x": tensor}, on_card=True, stream=side.cuda_stream)["y"]
            taken = torch.from_dlpack(made) if k % 2 else torch.as_tensor(made, device="cuda")
            found.append((k, taken.sum()))
            del made, taken, tensor
    for k, total in found:
        wanted = 2 * np.maximum(x.astype(np.float64) + k, 0).sum()
        np.testing.assert_allclose(float(total), wanted, rtol=1e-4)


def test_the_callers_context_stays_current(target: str) -> None:
    driver = pytest.importorskip("cuda.bindings.driver")
    before: list[int] = []

    def work() -> None:  # in a thread that has no context
        before.append(int(driver.cuCtxGetCurrent()[1]))
        plan.run({"x": x}, on_card=True)["y"].numpy()
        with pytest.raises(graphc.RunError):
            plan.code.card.allocate(plan.code.card.free_bytes() + (256 << 20))
        before.append(int(driver.cuCtxGetCurrent()[1]))

    x = data(1, 1, 8, 8)
    plan = check(RELU, {"x": x}, {}, target)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert before == [0, 0]


def test_threads_share_a_plan(target: str) -> None:
    x = data(4, 64, 56, 56)
    plan, wrong = check(RELU, {"x": x}, {}, target), []

    def work(factor: int) -> None:
        for _ in range(20):
            if not np.array_equal(plan.run({"x": factor * x})["y"], 2 * np.maximum(factor * x, 0)):
                wrong.append(factor)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_memory_leaves_the_card_usable(target: str) -> None:
    plan = check(RELU, {"x": data(1, 1, 8, 8)}, {}, target)
    card = plan.code.card
    with pytest.raises(graphc.RunError, match="OUT_OF_MEMORY"):
        card.allocate(card.free_bytes() + (256 << 20))

    class Large:
        """Input and output need more than there is; the address is not looked at."""

        rows = card.free_bytes() // (2 * 4 << 20) + 64
        shape = rows, 1, 1024, 1024
        __cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (256, False), "version": 2}

    with pytest.raises(graphc.RunError, match=r"GiB on card 0 \(.*\), which has .* GiB free"):
        plan.run({"x": Large()})
    np.testing.assert_array_equal(plan.run({"x": data(1, 1, 8, 8)})["y"], 2 * np.maximum(data(1, 1, 8, 8), 0))


def test_the_cards_clock(target: str) -> None:
    """A run of all kernels takes no less than the longest of them, which takes some time."""
    plan = check(RELU, {"x": data(64, 64, 56, 56)}, {}, target)
    (times,) = plan.card_times({"x": data(64, 64, 56, 56)})
    longest = max(seconds for _, seconds in times.tasks)
    assert 1e-6 < longest < 1.5 * float(np.median(times.whole)) < 1


@pytest.mark.parametrize("precision", ["float", "float16"])
@pytest.mark.parametrize("name", ["squeezenet_v1.1", "resnet50_small", "vgg19_small", "segmentation_mobile"])
def test_real_nets_give_caffe2s_answers(name: str, precision: str, shared: Path, target: str) -> None:
    folder = shared / "models" / name
    inputs, outputs = np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")
    given = {k: inputs[k] for k in inputs.files}
    files = str(folder / "predict_net.pb"), str(folder / "init_net.pb")
    plan = graphc.compile(*files, inputs=given, target=target, precision=precision)
    got = plan.run({k: given[k] for k in plan.inputs})
    for key in outputs.files:
        tolerance = TOLERANCES[precision] * float(np.abs(outputs[key]).max())
        np.testing.assert_allclose(got[key], outputs[key], rtol=0, atol=tolerance)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_of_tensor_cores(
    tile: tensor_tile.TensorTile, parts: int, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More pixels, maps and steps than a tile has, none a multiple of its sizes."""
    if tile.by == "wgmma" and not TARGETS[target].warpgroup_products:
        pytest.skip("tiles for other cards")
    use_only(monkeypatch, tile)
    monkeypatch.setattr(tensor_tile, "PARTS", (parts,))
    ops = [operator("Conv", "x v", "r", kernel=1), operator("Conv", "r w b", "y", kernel=3, pad=1)]
    weights = {"v": data(72, 4, 1, 1), "w": data(330, 72, 3, 3), "b": data(330)}
    check(ops, {"x": data(2, 4, 17, 23)}, weights, target, "float16")


@pytest.mark.parametrize("precision", ["float", "float16"])
def test_tuning(precision: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuned plan gives the reference's answer, and so does the one of the table that it leaves."""
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    ops = [
        operator("Conv", "x v", "r", kernel=1),
        operator("Conv", "r w b", "s", kernel=3, pad=1),
        operator("FC", "s m n", "y"),
    ]
    weights = {"v": data(64, 4, 1, 1), "w": data(96, 64, 3, 3) / 24, "b": data(96)}
    weights |= {"m": data(200, 96 * 14 * 14) / 137, "n": data(200)}
    inputs = {"x": data(8, 4, 14, 14)}
    predict, init = nets(ops, inputs, "y", weights)
    (want,) = reference(ops, inputs, "y", weights)
    options = {"inputs": inputs, "target": target, "precision": precision}
    tuned = graphc.compile(predict, init, tune=True, **options)
    table = graphc.tuning_of(tuned)
    assert len(table.entries) >= 2
    assert all(0 < found.seconds <= found.model_seconds for found in table.entries.values())
    graphc.write_tuning(tmp_path / "tuning.json", table)
    again = graphc.compile(predict, init, tuning=tmp_path / "tuning.json", **options)
    assert print_schedule(again.schedules[0]) == print_schedule(tuned.schedules[0])
    for plan in (tuned, again):
        tolerance = TOLERANCES[precision] * float(np.abs(want).max())
        np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=tolerance)


def test_a_net_in_int8_gives_the_cpus_answer(shared: Path, target: str) -> None:
    folder = shared / "models" / "squeezenet_v1.1"
    inputs = {"data": np.load(folder / "inputs.npz")["data"]}
    files = str(folder / "predict_net.pb"), str(folder / "init_net.pb")
    int8 = graphc.quantize(*files, [inputs], inputs={"data": inputs["data"].shape}).graph
    pipeline = with_native_int8(LEVELS[1])
    want, got = (
        graphc.compile_graph(int8.clone(), target=name, pipeline=pipeline).run(inputs) for name in ("native", target)
    )
    for key, expected in want.items():
        np.testing.assert_allclose(got[key], expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))
