"""Packed photos to planes and back, on every target."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, Placement, build_call, run_call

from graphc.ir.reference import evaluate_node

PREPROCESS = "PackedInt8BGRANHWCToNCHWCStylizerPreprocess"
DEPROCESS = "BRGNCHWCToPackedInt8BGRAStylizerDeprocess"
MEAN = np.array([103.939, 116.779, 123.68], np.float32)
rng = np.random.default_rng(11)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 7), (3, 19, 33)])
@pytest.mark.parametrize("noise", [{"noise_std": 0.0}, {"noise_std": 5.0}, {"noise_std": 2.0, "noise_size": 2}])
def test_preprocess(machine: Machine, shape: tuple[int, ...], noise: dict) -> None:
    x = rng.integers(0, 256, (*shape, 4)).astype(np.uint8)
    place = Placement(halo_out=(1, 2, 0, 1), slices=True)
    call = build_call(PREPROCESS, [x, MEAN], constants=(1,), target=machine.target, place=place, attrs=noise)
    np.testing.assert_array_equal(run_call(machine, call, [x, MEAN], place)[0], evaluate_node(call.node, [x, MEAN])[0])


def test_noise_runs_over_channels_then_pixels_and_starts_anew_with_each_image() -> None:
    from graphc.backends.cpu.target import native
    from graphc.ir.ops.image.image import stylizer_noise

    x = np.zeros((2, 3, 4, 4), np.uint8)
    call = build_call(PREPROCESS, [x, MEAN * 0], constants=(1,), target=native(), attrs={"noise_size": 7})
    y = evaluate_node(call.node, [x, MEAN * 0])[0]
    noise = stylizer_noise(call)
    for image in range(2):
        for pixel in range(12):
            for c in range(3):
                assert y[image, c, pixel // 4, pixel % 4] == noise[(3 * pixel + c) % 7]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 7), (3, 19, 33)])
def test_deprocess(machine: Machine, shape: tuple[int, ...]) -> None:
    n, h, w = shape
    x = rng.uniform(-300, 300, (n, 3, h, w)).astype(np.float32)
    place = Placement(slices=True)
    call = build_call(DEPROCESS, [x, MEAN], constants=(1,), target=machine.target, place=place)
    np.testing.assert_array_equal(run_call(machine, call, [x, MEAN], place)[0], evaluate_node(call.node, [x, MEAN])[0])
