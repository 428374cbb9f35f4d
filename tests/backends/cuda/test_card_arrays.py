"""Arrays in a card's memory as inputs and outputs: the array interface for CUDA, DLPack, and what is refused."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from emulated import emulated_plan
from emulated_card import EmulatedCard
from one_net import nets, operator, reference

import graphc
from graphc.plan import Plan
from graphc.runtime.card_array import CardArray, card_array, is_on_card
from graphc.runtime.card_stream import LEGACY_STREAM

X = np.random.default_rng(5).standard_normal((2, 3, 4, 4)).astype(np.float32)
OPS = [operator("Relu", "x", "r"), operator("Add", "r z", "y")]
Z = np.ones_like(X)


@pytest.fixture
def plan() -> Plan:
    return emulated_plan(OPS, {"x": X, "z": Z}, "y", {})


class Interface:
    """An array as CuPy, Numba and PyTorch tell of theirs."""

    def __init__(self, told: dict[str, Any], owner: object = None) -> None:
        self.__cuda_array_interface__, self.owner = told, owner


def put(card: EmulatedCard, array: np.ndarray, **more: Any) -> Interface:
    """A copy in the card's memory."""
    place = card.allocate(array.nbytes)
    card.upload(place, array)
    told = {"shape": array.shape, "typestr": array.dtype.str, "data": (place.address, False), "version": 3}
    return Interface(told | {"strides": None, "stream": None} | more, place)


class Packed:
    """An array as DLPack tells of it: NumPy's capsule, said to be of a card."""

    def __init__(self, array: np.ndarray, address: int = 0, number: int = 0) -> None:
        self.array, self.address, self.number = array, address, number
        self.streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.number

    def __dlpack__(self, stream: int | None = None) -> object:
        self.streams.append(stream)
        capsule = self.array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        if self.address:
            ctypes.c_void_p.from_address(pointer(capsule, b"dltensor")).value = self.address
        return capsule


def test_an_input_on_the_card_makes_no_trip_through_the_host(plan: Plan) -> None:
    card = plan.code.card
    (want,) = reference(OPS, {"x": X, "z": Z}, "y", {})
    for _ in range(2):
        card.moved.clear()
        np.testing.assert_array_equal(plan.run({"x": put(card, X), "z": Z})["y"], want)
        assert card.moved == [("inside", X.nbytes), ("up", Z.nbytes), ("down", want.nbytes)]
    card.moved.clear()
    np.testing.assert_array_equal(plan.run({"x": put(card, X), "z": put(card, Z)})["y"], want)
    assert card.moved == [("inside", X.nbytes)] * 2 + [("down", want.nbytes)]


def test_outputs_can_stay_on_the_card(plan: Plan) -> None:
    card = plan.code.card
    (want,) = reference(OPS, {"x": X, "z": Z}, "y", {})
    made = plan.run({"x": X, "z": Z}, on_card=True)["y"]
    assert isinstance(made, CardArray)
    assert "down" not in {direction for direction, _ in card.moved}
    plan.run({"x": -X, "z": Z}, on_card=True)  # does not write where the first answer lies
    np.testing.assert_array_equal(made.numpy(), want)
    np.testing.assert_array_equal(np.asarray(made), want)
    with pytest.raises(ValueError, match="leave out copy=False"):
        made.__array__(copy=False)
    again = plan.run({"x": made, "z": Z})["y"]
    np.testing.assert_array_equal(again, np.maximum(want, 0) + Z)


def test_a_plan_for_a_cpu_returns_numpy_arrays_whatever_is_asked() -> None:
    graph = graphc.import_model(*_files(), {"x": X, "z": Z})
    plan = graphc.compile_graph(graph, target="native")
    assert isinstance(plan.run({"x": X, "z": Z}, on_card=True)["y"], np.ndarray)
    with pytest.raises(graphc.RunError, match="input 'x' is in the memory of a card, the plan runs on") as told:
        plan.run({"x": Interface({"shape": X.shape, "typestr": "<f4", "data": (256, False), "version": 3}), "z": Z})
    assert "numpy" in told.value.help


def _files() -> tuple[bytes, None]:
    return nets(OPS, {"x": X, "z": Z}, "y", {})[0], None


def test_dlpack(plan: Plan) -> None:
    card = plan.code.card
    place = card.allocate(X.nbytes)
    card.upload(place, X)
    (want,) = reference(OPS, {"x": X, "z": Z}, "y", {})
    np.testing.assert_array_equal(plan.run({"x": Packed(X, place.address), "z": Z})["y"], want)


def test_the_producer_of_a_capsule_waits_for_our_stream() -> None:
    packed = Packed(X)
    found = card_array("x", packed, 77, lambda a: np.zeros(0))
    assert packed.streams == [77]
    assert found.stream is None
    assert (found.shape, found.dtype, found.address) == (X.shape, X.dtype, X.ctypes.data)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "i4", "i8", "u1", "u2", "b1"])
def test_element_types_of_dlpack(dtype: str) -> None:
    array = np.zeros((2, 5), dtype)
    assert card_array("x", Packed(array), 0, lambda a: array).dtype == array.dtype


def test_a_stream_is_waited_for() -> None:
    """An array that names none has its work on the default stream, as PyTorch's have; None says that all is done."""
    told = {"shape": (4,), "typestr": "<f4", "data": (256, False), "version": 2}
    for more, stream in (({}, LEGACY_STREAM), ({"stream": None}, None), ({"stream": 99}, 99)):
        assert card_array("x", Interface(told | more), 0, lambda a: X).stream == stream


@pytest.mark.parametrize(
    ("more", "message", "remedy"),
    [
        ({"strides": (16, 192, 64, 4)}, "not in row-major order", "contiguous"),
        ({"strides": (16, 4)}, "not in row-major order", "contiguous"),
        ({"typestr": ">f4"}, "not in this machine's order of bytes", "convert"),
        ({"typestr": "<f8"}, "has dtype float64, the plan takes float32", "astype"),
        ({"shape": (2, 48)}, r"has shape \(2, 48\), the plan takes 4 dimensions", ""),
        ({"mask": X}, "masked", "plain array"),
        ({"data": None}, "cannot be read", "plain array"),
        ({"data": (-4, False)}, "is elsewhere", ""),
    ],
)
def test_what_is_refused(plan: Plan, more: dict[str, Any], message: str, remedy: str) -> None:
    with pytest.raises(graphc.RunError, match=f"input 'x'.*{message}") as told:
        plan.run({"x": put(plan.code.card, X, **more), "z": Z})
    assert remedy in told.value.help
    (want,) = reference(OPS, {"x": X, "z": Z}, "y", {})
    np.testing.assert_array_equal(plan.run({"x": X, "z": Z})["y"], want)


def test_bfloat16_elements_are_refused() -> None:
    class Brain(Packed):
        def __dlpack__(self, stream: int | None = None) -> object:
            capsule = super().__dlpack__(stream)
            pointer = ctypes.pythonapi.PyCapsule_GetPointer
            ctypes.c_uint8.from_address(pointer(capsule, b"dltensor") + 20).value = 4
            return capsule

    with pytest.raises(graphc.RunError, match="DLPack kind 4, 16 bits"):
        card_array("x", Brain(np.zeros(3, np.uint16)), 0, lambda a: X)


def test_arrays_of_the_process_are_none_of_a_card() -> None:
    assert not any(is_on_card(value) for value in (X, [1, 2], X.T, "text", None))
    assert is_on_card(Packed(X))
