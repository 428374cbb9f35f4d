"""Caffe2's generator against numbers that Caffe2, PyTorch and the Mersenne Twister's authors published."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import operator_cases
import pytest

from graphc.frontends.netdef import import_net, read_net
from graphc.ir.opdef import Call
from graphc.ir.ops._caffe2_random import Caffe2Generator, seed_of
from graphc.ir.ops.image.image import stylizer_noise

STYLIZER = "PackedInt8BGRANHWCToNCHWCStylizerPreprocess"


def call(op: str, device: str, *inputs: np.ndarray, **args: object) -> Call:
    made = operator_cases.make_call(op, list(inputs), ["Y"], dict(args))
    made.node.device = device
    return made


def fill(op: str, device: str = "cpu:0 random_seed=7", **args: object) -> np.ndarray:
    return operator_cases.run(call(op, device, **args), [])[0]


def test_words_are_those_of_mt19937() -> None:
    """The authors' first output for their default seed, and the 10 000th, which the C++ standard gives."""
    words = Caffe2Generator(5489).words(10_000)
    assert words.dtype == np.uint32
    assert (words[0], words[-1]) == (3499211612, 4123659995)


def test_uniform_numbers_are_those_of_pytorch() -> None:
    """``torch.manual_seed(0); torch.rand(5)``, which draws by the same rule."""
    got = Caffe2Generator(0).uniform(0.0, 1.0, (5,))
    np.testing.assert_allclose(got, [0.4963, 0.7682, 0.0885, 0.1320, 0.3074], atol=5e-5)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("UniformFill", {"shape": (3,)}),
        ("GaussianFill", {"shape": (3,)}),
        ("XavierFill", {"shape": (2, 3)}),
        ("UniformIntFill", {"shape": (5,), "min": 0, "max": 100}),
    ],
)
def test_fills_are_caffe2s_to_the_last_bit(shared: Path, op: str, args: dict[str, object]) -> None:
    """Caffe2's own record of seed 7."""
    records = json.loads((shared / "golden" / "quirks.json").read_text())
    (text,) = [r["returned"] for r in records if r["case"].startswith(f"{op} with random_seed=7")]
    want = ast.literal_eval(text)
    got = fill(op, **args)
    assert got.tolist() == (want[0] if op == "UniformFill" else want)


def test_numbers_come_in_pairs_of_words() -> None:
    """An odd number of them draws the word that is left over."""
    five, six = (Caffe2Generator(3).normal(1.0, 2.0, (n,)) for n in (5, 6))
    np.testing.assert_array_equal(five, six[:5])
    assert five.dtype == np.float32
    assert Caffe2Generator(3).normal(0.0, 1.0, (0, 4)).shape == (0, 4)


def test_moments_of_the_normal_numbers() -> None:
    y = Caffe2Generator(11).normal(-2.0, 3.0, (200, 500))
    assert y.mean() == pytest.approx(-2, abs=0.04)
    assert y.std() == pytest.approx(3, rel=0.01)


def test_the_whole_range_of_integers() -> None:
    y = Caffe2Generator(7).integers(-(1 << 31), (1 << 31) - 1, (4,), endpoint=True)
    np.testing.assert_array_equal(y, Caffe2Generator(7).words(4).astype(np.int64) - (1 << 31))


@pytest.mark.parametrize(
    ("device", "seed"),
    [
        ("", None),
        ("cuda:0", None),
        ("cuda:0 random_seed=7", None),
        ("cpu:0 random_seed=7", 7),
        ("cpu:1 random_seed=4294967295", 4294967295),
        ("cpu:0 random_seed=0", 0),
    ],
)
def test_seed_of_a_device(device: str, seed: int | None) -> None:
    assert seed_of(call("UniformFill", device, shape=(2,))) == seed


def test_a_seed_from_the_file_reaches_the_operator() -> None:
    text = b"""name: "n"
      op { type: "UniformFill" output: "a" arg { name: "shape" ints: 2 } device_option { random_seed: 7 } }
      op { type: "UniformFill" output: "b" arg { name: "shape" ints: 2 } device_option { random_seed: 0 } }
      op { type: "UniformFill" output: "c" arg { name: "shape" ints: 2 } }"""
    assert [seed_of(Call(n)) for n in import_net(read_net(text)).nodes] == [7, 0, None]


def test_noise_of_the_stylizer() -> None:
    inputs = [np.zeros((1, 2, 2, 4), np.uint8), np.zeros(3, np.float32)]
    seeded = stylizer_noise(call(STYLIZER, "cpu:0 random_seed=7", *inputs, noise_std=5.0, noise_size=3))
    np.testing.assert_array_equal(seeded, fill("GaussianFill", shape=(3,)) * np.float32(5))
    own = stylizer_noise(call(STYLIZER, "", *inputs, noise_std=5.0))
    np.testing.assert_array_equal(own, stylizer_noise(call(STYLIZER, "cuda:0", *inputs, noise_std=5.0)))
