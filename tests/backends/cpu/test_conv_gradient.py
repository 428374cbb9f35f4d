"""Gradients of convolutions against the NumPy reference: borders, strides, dilation, groups, few images at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import build_call, run_call

from graphc.backends.cpu.kernels import conv_gradient
from graphc.backends.cpu.kernels.planes import Planes, gather, scatter
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.ir.ops._window import Window
from graphc.ir.reference import evaluate_node

# All have five maps and 27 columns a group, so that they share their kernels.
CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((3, 3, 9, 21), (5, 3, 3, 3), {"kernel": 3}),
    ((2, 3, 8, 7), (5, 3, 3, 3), {"kernel": 3, "pad": 1}),
    ((2, 3, 40, 33), (5, 3, 3, 3), {"kernel": 3, "pads": (2, 0, 1, 3), "stride": 2}),
    ((2, 6, 13, 12), (10, 3, 3, 3), {"kernel": 3, "dilation": 2, "stride": 3, "pad": 1, "group": 2}),
    ((1, 3, 5, 9), (5, 3, 3, 3), {"kernel": 3, "stride": 5, "no_bias": 1}),
    ((2, 3, 5, 6), (5, 3, 3, 3), {"kernel": 3, "legacy_pad": 2, "stride": 2}),
    ((0, 3, 5, 6), (5, 3, 3, 3), {"kernel": 3}),
]


def _call(machine: Any, shape: tuple[int, ...], filters: tuple[int, ...], attrs: dict[str, Any], outputs: int) -> Any:
    rng = np.random.default_rng(4)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, filters))
    forward = {k: v for k, v in attrs.items() if k != "no_bias"}
    y = build_call("Conv", [x, w], target=machine.target, attrs=forward).node.results[0].type.static_shape
    operands = [x, w, rng.standard_normal(y).astype(np.float32)]
    return build_call("ConvGradient", operands, target=machine.target, attrs=attrs, results=outputs), operands


def _compare(machine: Any, call: Any, operands: list[np.ndarray]) -> None:
    assert machine.library.choose(call).rule == "conv_gradient"
    got, want = run_call(machine, call, operands), evaluate_node(call.node, operands)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * max(np.abs(b).max(initial=0), 1))


def test_gradients(machine: Any) -> None:
    for shape, filters, attrs in CASES:
        for all_of_them in (True, False):
            outputs = (3 if all_of_them else 2) - attrs.get("no_bias", 0)
            _compare(machine, *_call(machine, shape, filters, attrs, outputs))


def test_one_image_at_a_time(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_gradient, "COPIES", 1)
    _compare(machine, *_call(machine, *CASES[1], 3))


def test_rows(machine: Any) -> None:
    """One spatial dimension; nine channels of three taps are 27 columns as well."""
    rng = np.random.default_rng(5)
    operands = [rng.standard_normal(s).astype(np.float32) for s in ((2, 9, 30), (5, 9, 3), (2, 5, 16))]
    attrs = {"kernels": (3,), "pads": (1, 2), "strides": (2,)}
    _compare(
        machine, *(build_call("Conv1DGradient", operands, target=machine.target, attrs=attrs, results=2), operands)
    )


def test_runs_of_pixels() -> None:
    """A tap is found where the offset says, and zeros where it is beyond the image: by brute force over all pixels."""
    w = Window((3, 2), (2, 3), (1, 2), (1, 2, 1, 0))
    image, result = (7, 10), (4, 4)
    planes = Planes.of(image, (2, 3), [(result, gather(w))])
    run = np.zeros(planes.floats)
    pixels = np.arange(1.0, 71.0).reshape(image)
    for k, (row, column) in enumerate(planes.phases):
        for i, part in enumerate(pixels[row::2, column::3]):
            start = k * planes.phase_floats + planes.origin + i * planes.pitch
            run[start : start + len(part)] = part
    grown = np.pad(pixels, ((1, 1), (2, 0)))
    for tap in gather(w):
        i, j = divmod(tap.index, 2)
        for r in range(result[0]):
            got = [run[planes.origin + planes.offset(tap) + r * planes.pitch + c] for c in range(result[1])]
            assert got == [grown[2 * r + i, 3 * c + 2 * j] if 3 * c + 2 * j < 12 else 0 for c in range(result[1])]


def test_each_pixel_meets_its_results() -> None:
    """Pixel, tap and result of ``scatter`` are those of ``gather``."""
    w = Window((3, 4), (2, 3), (2, 1), (1, 2, 3, 0))
    image, result = (11, 9), (6, 3)
    here = set()
    for tap in gather(w):
        for r in range(result[0]):
            for c in range(result[1]):
                pixel = (2 * (r + tap.at[0]) + tap.phase[0], 3 * (c + tap.at[1]) + tap.phase[1])
                if 0 <= pixel[0] < image[0] and 0 <= pixel[1] < image[1]:
                    here.add((pixel, tap.index, (r, c)))
    there = set()
    for part in scatter(w, image):
        for tap in part.taps:
            for i in range(part.size[0]):
                for j in range(part.size[1]):
                    place = (i + tap.at[0], j + tap.at[1])
                    if 0 <= place[0] < result[0] and 0 <= place[1] < result[1]:
                        pixel = (part.start[0] + i * w.stride[0], part.start[1] + j * w.stride[1])
                        there.add((pixel, tap.index, place))
    assert here == there


def test_images_in_nhwc_order_have_the_loop() -> None:
    library = CpuLibrary(find("native"))
    operands = [np.zeros(s, np.float32) for s in ((1, 5, 5, 2), (3, 3, 3, 2), (1, 3, 3, 3))]
    call = build_call("ConvGradient", operands, target=library.target, attrs={"kernel": 3, "order": b"NHWC"}, results=3)
    assert library.choose(call).rule == "loop"
