"""Nets in half precision, and in TF32, on an emulated card, beside the reference interpreter in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated import on_emulated_card

import graphc
from graphc.ir import evaluate, infer_types

# folder, how much of a picture, precision, the most that rounding may cost of the largest number
NETS = [
    ("squeezenet_v1.1", (slice(3, 4), slice(None), slice(None, None, 2), slice(None, None, 2)), "float16", 2e-3),
    ("squeezenet_v1.1", (slice(3, 4), slice(None), slice(None, None, 2), slice(None, None, 2)), "bfloat16", 2e-2),
    ("resnet50_small", (slice(1), slice(None), slice(193), slice(193)), "float16", 2e-3),
    ("squeezenet_v1.1", (slice(3, 4), slice(None), slice(None, None, 2), slice(None, None, 2)), "tf32", 2e-3),
]


@pytest.mark.parametrize(
    ("name", "part", "precision", "tolerance"), NETS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_net_of_pictures(name: str, part: tuple[slice, ...], precision: str, tolerance: float, shared: Path) -> None:
    folder = shared / "models" / name
    given = np.load(folder / "inputs.npz")
    inputs = {key: given[key][part] if given[key].ndim == 4 else given[key] for key in given.files}
    model = (str(folder / "predict_net.pb"), str(folder / "init_net.pb"), inputs)
    graph = graphc.import_model(*model)
    plan = graphc.compile_graph(graph, target="cuda:sm_90a", precision=precision, prepare=False)
    card = on_emulated_card(plan)
    got = plan.run({key: inputs[key] for key in plan.inputs})
    graph = graphc.import_model(*model)
    infer_types(graph)
    for key, want in evaluate(graph, inputs).items():
        np.testing.assert_allclose(got[key], want, rtol=0, atol=tolerance * float(np.abs(want).max()))
    products = [k for k in plan.kernels if k.template in ("conv_tensor", "tensor_part")]
    names = {k.name for k in products}
    assert sum(launch.kernel in names for launch in card.launches) >= 25
