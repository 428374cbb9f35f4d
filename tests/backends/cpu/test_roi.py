"""RoIAlign's kernel against the loop of the operator's record: sizes of maps, bins and boxes; refused boxes."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Machine, Placement, bind_call, build_call, run_call

from graphc.ir.reference import evaluate_node

CASES = (
    ((1, 1, 1, 1), {"pooled_h": 1, "pooled_w": 1, "sampling_ratio": 2}),
    ((2, 5, 9, 20), {"pooled_h": 7, "pooled_w": 7, "sampling_ratio": 2, "spatial_scale": 0.5}),
    ((2, 3, 40, 37), {"pooled_h": 7, "pooled_w": 7, "sampling_ratio": 0, "aligned": 1}),
    ((1, 33, 17, 16), {"pooled_h": 14, "pooled_w": 14, "sampling_ratio": 2, "spatial_scale": 0.25}),
    ((3, 2, 20, 50), {"pooled_h": 3, "pooled_w": 19, "sampling_ratio": 1}),
    ((1, 4, 13, 70), {"pooled_h": 11, "pooled_w": 33, "sampling_ratio": 0}),
)


def boxes_of(shape: tuple[int, ...], scale: float, columns: int, count: int) -> np.ndarray:
    """Boxes of all sizes, some of them across the borders and some outside."""
    rng = np.random.default_rng(count)
    n, _, h, w = shape
    corner = (rng.random((count, 2)) * 1.4 - 0.2) * (w, h)
    size = rng.random((count, 2)) ** 2 * (w, h)
    size[:2] = 0
    images = rng.integers(0, n, (count, 1))
    rois = np.concatenate([images, corner / scale, (corner + size) / scale], 1).astype(np.float32)
    return rois if columns == 5 else np.ascontiguousarray(rois[:, 1:])


@pytest.mark.parametrize(("shape", "args"), CASES)
@pytest.mark.parametrize(("columns", "count"), [(5, 40), (4, 3), (5, 0)])
def test_align(machine: Machine, shape: tuple[int, ...], args: dict, columns: int, count: int) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    arrays = [x, boxes_of(shape, args.get("spatial_scale", 1.0), columns, count)]
    call = build_call("RoIAlign", arrays, target=machine.target, attrs=args)
    assert machine.library.choose(call).rule == "roi_align"
    place = Placement(slices=True, halo_out=(1, 1, 1, 1))
    want = evaluate_node(call.node, arrays)[0]
    np.testing.assert_allclose(run_call(machine, call, arrays, place)[0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("bad", "code"), [((2, 0, 0, 1, 1), 1), ((-1, 0, 0, 1, 1), 1), ((0, 3, 0, 1, 1), 2)])
def test_refused(machine: Machine, bad: tuple[int, ...], code: int) -> None:
    rois = np.array([[0, 0, 0, 1, 1], bad, [0, np.nan, 0, 1, 1]][: 3 if code == 2 else 2], np.float32)
    arrays = [np.zeros((2, 3, 4, 5), np.float32), rois]
    call = build_call("RoIAlign", arrays, target=machine.target, attrs={"aligned": 1, "sampling_ratio": 2})
    bound = bind_call(machine, call, arrays)
    machine.compile([t.kernel for s in bound.steps for t in s])
    bound.run()
    assert bound.status[0] == code
