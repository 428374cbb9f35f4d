"""Nets compiled for a card and run in the emulator, beside the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from emulated_card import EmulatedCard
from one_net import nets, reference

import graphc
from graphc.backends.cuda.cubin import Cubin
from graphc.frontends.netdef import Operator
from graphc.plan import Plan

TARGET = "cuda:sm_90a"


def emulated_plan(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray],
    target: str = TARGET,
) -> Plan:
    """The plan of a net, without machine code, on an emulated card."""
    predict, init = nets(ops, inputs, outputs, weights)
    graph = graphc.import_model(predict, init if weights else None, inputs)
    plan = graphc.compile_graph(graph, target=target, prepare=False)
    on_emulated_card(plan)
    return plan


def on_emulated_card(plan: Plan) -> EmulatedCard:
    """Have a plan run in the emulator, which asks for no machine code; gives the card."""
    sources = {spec.name: source for spec, source in plan.kernels.items()}
    plan.code.objects = {s.name: Cubin(s.name, b"\x7fELF", s.int("threads"), 0, 0, 0, 0).pack() for s in plan.kernels}
    plan.code.card = EmulatedCard(sources.__getitem__)
    return plan.code.card


def answers(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray] | None = None,
    tolerance: float = 2e-6,
) -> tuple[Plan, list[np.ndarray]]:
    """The plan and its outputs, which must be the reference's up to ``tolerance`` of the largest element.

    The default is what sums of some hundred products lose in float32.
    """
    plan = emulated_plan(ops, inputs, outputs, weights or {})
    got = plan.run(inputs)
    for name, want in zip(outputs.split(), reference(ops, inputs, outputs, weights)):
        assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype), name
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=0)) if want.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(got[name], want, rtol=0, atol=tolerance * scale, err_msg=name)
    return plan, [got[name] for name in outputs.split()]
