"""Borders of images that have no pixels."""

from __future__ import annotations

import numpy as np
from operator_calls import answer, refusal


def test_an_edge_needs_pixels() -> None:
    assert "no edge to repeat" in refusal("PadImage", "float[1,2,0,4]", pad=1, mode="edge")
    assert "no edge to repeat" in refusal("PadImage", "float[1,2,4,0]", pads=(0, 1, 0, 0), mode="edge")
    empty = np.zeros((1, 2, 0, 4), np.float32)
    assert answer("PadImage", empty, pad=1, value=3.0).tolist() == np.full((1, 2, 2, 6), 3.0).tolist()


def test_planes_are_normalised_in_float_alone() -> None:
    for i in range(3):
        types = ["float[1,3,4,4]", "float[1,3]", "float[1,3]"]
        types[i] = types[i].replace("float", "double")
        assert f"input {i}" in refusal("NormalizePlanarYUV", *types)
