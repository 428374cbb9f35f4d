"""Outputs that stay on the card, runs that nobody waits for, and what a caller's stream is told."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from emulated import emulated_plan
from emulated_card import EmulatedCard
from one_net import operator, reference
from test_card_arrays import put
from test_two_devices import SANDWICH, WEIGHTS

import graphc
from graphc.plan import Plan
from graphc.runtime import dlpack
from graphc.runtime.card import CardMemory, Replay, Transfer, Work
from graphc.runtime.card_array import CardArray
from graphc.runtime.card_stream import CallerStream, caller_stream

X = np.random.default_rng(8).standard_normal((2, 3, 4, 4)).astype(np.float32)
OPS = [operator("Relu", "x", "r"), operator("Negative", "r", "y"), operator("Exp", "x", "z")]


class LateCard(EmulatedCard):
    """Does nothing before somebody waits."""

    def __init__(self, source: Callable[[str], str]) -> None:
        super().__init__(source)
        self.due: list[Callable[[], None]] = []

    def record(self, work: Sequence[Work]) -> Replay:
        now = super().record(work)

        def replay(first: Sequence[Transfer], wait: bool) -> None:
            self.due.append(lambda: now(first, False))
            if wait:
                self.wait()

        return replay

    def copy(self, transfers: Sequence[Transfer], stream: CallerStream | None = None) -> None:
        self.due.append(lambda: EmulatedCard.copy(self, transfers, stream))
        if stream is None:
            self.wait()

    def wait(self) -> None:
        due, self.due = self.due, []
        for each in due:
            each()
        super().wait()

    def upload(self, place: CardMemory, array: np.ndarray) -> None:
        self.wait()
        super().upload(place, array)

    def download(self, address: int, nbytes: int, behind: int | None = None) -> np.ndarray:
        self.wait()
        return super().download(address, nbytes, behind)


@pytest.fixture
def plan() -> Iterator[Plan]:
    plan = emulated_plan(OPS, {"x": X}, "y z", {})
    plan.code.card = LateCard(plan.code.card._source)
    yield plan
    plan.code.card.wait()  # not whenever it is collected


def test_all_outputs_cost_one_wait(plan: Plan) -> None:
    got = plan.run({"x": X}, on_card=True)
    assert plan.code.card.waits == [None, None]  # the first is what the card notes of the copies
    for name, want in zip("yz", reference(OPS, {"x": X}, "y z", {})):
        np.testing.assert_allclose(got[name].numpy(), want, rtol=1e-6)


def test_a_run_on_a_stream_is_not_waited_for(plan: Plan) -> None:
    """NumPy arrays lie in pinned memory until they were copied: the next run waits before it overwrites them."""
    card = plan.code.card
    plan.run({"x": X})
    card.waits.clear()
    first = plan.run({"x": X}, on_card=True, stream=77)
    assert (card.followed, card.waits) == ([77], [])
    second = plan.run({"x": -X}, on_card=True, stream=77)
    assert card.waits == [77, None]
    for x, got in ((X, first), (-X, second)):
        for name, want in zip("yz", reference(OPS, {"x": x}, "y z", {})):
            assert got[name].stream == 77
            np.testing.assert_allclose(got[name].numpy(), want, rtol=1e-6)


def test_results_for_the_host_are_waited_for(plan: Plan) -> None:
    got = plan.run({"x": X}, stream=77, fetch=["r"] if "r" in plan.schedules[0].views else [])
    for name, want in zip("yz", reference(OPS, {"x": X}, "y z", {})):
        np.testing.assert_allclose(got[name], want, rtol=1e-6)


def test_refused_data_is_told_by_the_run(plan: Plan) -> None:
    ops = [operator("Gather", "x i", "y")]
    x, i = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2, 0], np.int32)
    plan = emulated_plan(ops, {"x": x, "i": i}, "y", {})
    plan.code.card = LateCard(plan.code.card._source)
    np.testing.assert_array_equal(plan.run({"x": x, "i": i}, on_card=True, stream=77)["y"].numpy(), x[i])
    with pytest.raises(graphc.RunError, match="INDICES"):
        plan.run({"x": x, "i": i + 2}, on_card=True, stream=77)


def test_a_run_that_fails_reads_no_more(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no memory for the outputs, and the input is the caller's again."""
    card = plan.code.card
    plan.run({"x": X}, on_card=True, stream=77)["y"].numpy()

    def full(nbytes: int, stream: object = None) -> CardMemory:
        raise graphc.RunError("no memory")

    monkeypatch.setattr(card, "allocate", full)
    with pytest.raises(graphc.RunError, match="no memory"):
        plan.run({"x": X}, on_card=True, stream=77)
    assert not card.due


def test_a_part_on_the_cpu_between_parts_on_the_card() -> None:
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 9)).astype(np.float32)
    plan = emulated_plan(SANDWICH, {"x": x}, "y", WEIGHTS, beside=True)
    plan.code.card = card = LateCard(plan.code.card._source)
    got = plan.run({"x": x}, on_card=True, stream=77)["y"]
    assert card.due
    (want,) = reference(SANDWICH, {"x": x}, "y", WEIGHTS)
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=2e-6)


def test_a_blob_is_fetched_alone() -> None:
    ops = [operator("Conv", "x w b", "c", kernel=3, pad=1), operator("MaxPool", "c", "p", kernel=2, stride=2)]
    ops += [operator("Conv", "p w2 b", "d", kernel=3, pad=1), operator("Softmax", "d", "y")]
    plan = emulated_plan(ops, {"x": X}, "y", WEIGHTS)
    card, sizes = plan.code.card, list[int]()
    download = card.download

    def noted(address: int, nbytes: int, behind: int | None = None) -> np.ndarray:
        sizes.append(nbytes)
        return download(address, nbytes, behind)

    card.download = noted  # type: ignore[method-assign]
    got = plan.run({"x": X}, fetch=["c", "p"])
    for name, want in zip("cp", reference(ops[:2], {"x": X}, "c p", WEIGHTS)):
        np.testing.assert_allclose(got[name], want, rtol=0, atol=1e-5)
    assert sorted(sizes) == [got["p"].nbytes, got["c"].nbytes]


def test_too_little_memory_is_told_with_the_card(plan: Plan) -> None:
    """What there is counts, and what a run gives back for larger memory; weights that are there do not count again."""
    card, weights = plan.code.card, np.zeros(1 << 20, np.uint8)
    card.free_bytes = lambda: 1 << 20  # type: ignore[method-assign]
    schedule = plan.schedules[0]
    with pytest.raises(
        graphc.RunError, match=r"needs 0\.0 GiB on card 0 \(emulated\), which has 0\.0 GiB free"
    ) as told:
        plan.code.require_memory(schedule, [weights], 1, 0)
    assert "nvidia-smi" in told.value.help
    plan.code._constant(weights)
    plan.code.require_memory(schedule, [weights], 1, 0)


# ---- what others are told --------------------------------------------------------------------------------------------


def taken(capsule: object) -> dlpack.Told:
    return dlpack.read_capsule(capsule)


def test_dlpack_of_outputs(plan: Plan) -> None:
    card = plan.code.card
    made: CardArray = plan.run({"x": X}, on_card=True)["y"]
    assert made.__dlpack_device__() == (2, 0)
    for stream, reader in ((None, 1), (1, 1), (2, 2), (99, 99), (-1, None)):
        told = taken(made.__dlpack__(stream=stream))
        assert told == (made.address, X.shape, None, np.dtype(np.float32))
        assert card.lent == (None, reader)
    for wrong in (0, -2):
        with pytest.raises(ValueError, match="give CUDA's handle"):
            made.__dlpack__(stream=wrong)
    for given in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
        with pytest.raises(BufferError):
            made.__dlpack__(**given)
    taken(made.__dlpack__(max_version=(1, 1), dl_device=(2, 0), copy=False))
    later = plan.run({"x": X}, on_card=True, stream=77)["y"]
    later.__dlpack__(stream=99)
    assert card.lent == (77, 99)
    assert later.__cuda_array_interface__["stream"] == 77
    assert made.__cuda_array_interface__["stream"] is None


def test_dlpack_keeps_the_memory_until_its_consumer_is_done(plan: Plan) -> None:
    held = dlpack._GIVEN
    made = plan.run({"x": X}, on_card=True)["y"]
    capsule = made.__dlpack__()
    assert len(held) == 1
    del capsule  # that nobody took
    assert not held
    capsule = made.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    place = pointer(capsule, b"dltensor")
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = b"used_dltensor"
    rename(capsule, name)
    del capsule
    assert list(held) == [place]
    deleter = dlpack._Managed.from_address(place).deleter
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(place)
    assert not held


def test_outputs_go_in_again_by_dlpack(plan: Plan) -> None:
    class Foreign:
        def __init__(self, array: CardArray) -> None:
            self.array = array

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

        def __dlpack__(self, stream: int | None = None) -> object:
            return self.array.__dlpack__(stream=stream)

    made = plan.run({"x": X}, on_card=True)["z"]
    got = plan.run({"x": Foreign(made)})["z"]
    np.testing.assert_allclose(got, np.exp(np.exp(X)), rtol=1e-5)


def test_a_stream_of_zero_is_ambiguous(plan: Plan) -> None:
    with pytest.raises(graphc.RunError, match="its stream is 0"):
        plan.run({"x": put(plan.code.card, X, stream=0)})


class Told:
    """An object with the protocol."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __cuda_stream__(self) -> Any:
        return self.answer


@pytest.mark.parametrize(("given", "handle"), [(0, 1), (1, 1), (2, 2), (np.int64(4096), 4096), (Told((0, 512)), 512)])
def test_streams(given: object, handle: int) -> None:
    assert caller_stream(given) == CallerStream(handle, given)


@pytest.mark.parametrize("wrong", [True, -1, 1.5, "1", Told(5), Told((1, 512)), Told((0, None))])
def test_what_is_no_stream(wrong: object) -> None:
    with pytest.raises(graphc.RunError, match="stream") as told:
        caller_stream(wrong)
    assert "__cuda_stream__" in told.value.help
