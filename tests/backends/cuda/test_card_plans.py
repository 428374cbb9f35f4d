"""Plans for a card without one: files, launch tables, and what a user is told."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import numpy as np
import pytest
from emulated import TARGET, emulated_plan, on_emulated_card
from emulated_card import NullCard
from one_net import operator, reference

import graphc
from graphc import benchmark
from graphc.backends.cuda import compile as cuda_compile
from graphc.backends.cuda.target import find
from graphc.plan import Plan
from graphc.runtime import nvidia

X = np.random.default_rng(7).standard_normal((1, 3, 9, 9)).astype(np.float32)
WEIGHTS = {"w": np.ones((4, 3, 3, 3), np.float32) / 9, "b": np.arange(4, dtype=np.float32)}
OPS = [
    operator("Conv", "x w b", "c", kernel=3),
    operator("Relu", "c", "r"),
    operator("MaxPool", "r", "p", kernel=2, stride=2),
    operator("Softmax", "p", "y"),
]


@pytest.fixture
def plan() -> Plan:
    return emulated_plan(OPS, {"x": X}, "y", WEIGHTS)


def test_a_saved_plan_runs_with_its_own_machine_code(plan: Plan, tmp_path: Path) -> None:
    path = str(tmp_path / "net.pkl")
    plan.save(path)
    loaded = graphc.load(path, allow_native=True)
    assert loaded.target == TARGET
    assert sorted(loaded.code.objects) == sorted(k.name for k in plan.kernels)
    on_emulated_card(loaded)
    (want,) = reference(OPS, {"x": X}, "y", WEIGHTS)
    np.testing.assert_allclose(loaded.run({"x": X})["y"], want, rtol=0, atol=1e-6)


def test_a_run_is_one_recorded_sequence(plan: Plan) -> None:
    plan.code.card = card = NullCard()
    plan.run({"x": X})
    plan.run({"x": X})
    once = card.launches[: len(card.launches) // 2]
    assert card.launches == once * 2
    assert [launch.kernel.split("_")[0] for launch in once] == ["conv", "pool", "softmax"]
    assert [launch.blocks for launch in once] == [t.units for step in plan.schedules[0].steps for t in step]


def test_other_sizes_need_no_other_kernels(plan: Plan) -> None:
    for shape in ((2, 3, 9, 9), (1, 3, 14, 11), (3, 3, 5, 6)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        (want,) = reference(OPS, {"x": x}, "y", WEIGHTS)
        np.testing.assert_allclose(plan.run({"x": x})["y"], want, rtol=0, atol=1e-6)


def test_blobs_can_be_fetched(plan: Plan) -> None:
    got = plan.run({"x": X}, fetch=["p"])["p"]
    (want,) = reference(OPS[:3], {"x": X}, "p", WEIGHTS)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_what_needs_memory_of_the_process_says_so(plan: Plan) -> None:
    with pytest.raises(graphc.GraphcError, match="has on a card"):
        plan.executor()


def test_no_compiler(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise cuda_compile.PackageNotFoundError(name)

    path = str(tmp_path / "net.pkl")
    plan.save(path)
    monkeypatch.setattr(cuda_compile, "version", missing)
    cuda_compile.compiler_versions.cache_clear()
    with pytest.raises(graphc.GraphcError, match="not installed: numba-cuda") as told:
        graphc.load(path).prepare()
    assert "graphc[cuda]" in told.value.help
    assert "--allow-native" in told.value.help
    cuda_compile.compiler_versions.cache_clear()


def test_no_driver_or_package(plan: Plan) -> None:
    """Where there is neither card nor extra, whichever is missing first is told."""
    if glob("/dev/nvidia[0-9]*"):
        pytest.skip("this machine has a card")
    with pytest.raises(graphc.GraphcError, match=r"driver|card") as told:
        nvidia.NvidiaCard("sm_90a", find(TARGET).serves)
    assert told.value.help


def test_unknown_targets() -> None:
    with pytest.raises(graphc.GraphcError, match="unknown target 'cuda:sm_75'") as told:
        emulated_plan(OPS, {"x": X}, "y", WEIGHTS, "cuda:sm_75")
    assert TARGET in told.value.help


def test_which_cards_run_a_target() -> None:
    """NVIDIA's rule: the same major version, the minor at least; an "a" target its own capability alone."""
    assert find("cuda:sm_80").serves(8, 0)
    assert find("cuda:sm_80").serves(8, 6)
    assert not find("cuda:sm_80").serves(9, 0)
    assert find(TARGET).serves(9, 0)
    assert not find(TARGET).serves(10, 0)


def test_an_operator_without_kernel_is_told() -> None:
    with pytest.raises(graphc.LoweringError, match="no kernel on target 'cuda:sm_90a'"):
        emulated_plan([operator("Unique", "x", "y")], {"x": np.arange(4, dtype=np.int32)}, "y", {})


def test_bench_of_a_plan_for_a_card(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "COPIED", 1 << 20)
    plan.code.card = NullCard()
    timing = benchmark.measure(plan, 0.01)
    assert [step.label.split()[0] for step in timing.steps] == ["conv", "pool", "softmax"]
    assert [step.seconds for step in timing.steps] == pytest.approx(
        [1e-9 * launch.blocks * launch.threads for launch in plan.code.card.launches[:3]]
    )
    assert timing.bandwidth == pytest.approx(2e9)
    assert timing.peak_flops == 0


def test_weights_leave_the_card_with_the_last_run_that_reads_them() -> None:
    """Nets whose loops are unrolled pack weights anew for each length."""
    plan = emulated_plan(OPS, {"x": X}, "y", WEIGHTS)
    plan.run({"x": X})
    code, before = plan.code, dict(plan.code._constants)
    assert before
    other = np.ones(4, np.float32)
    place = code._constant(other)
    assert code._constant(other) is place
    assert [*code._constants.values()] == [*before.values(), place]
    del other
    assert code._constants == before
