"""Nets compiled for a card and run in the emulator, beside the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from emulated_card import EmulatedCard
from one_net import nets, reference

import graphc
from graphc.backends.cuda.cubin import Cubin
from graphc.frontends.netdef import Operator
from graphc.ir.schedule import KernelSpec
from graphc.plan import Plan

TARGET = "cuda:sm_90a"


def data(*shape: int) -> np.ndarray:
    """Seeded floats."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def emulated_plan(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray],
    target: str = TARGET,
    beside: bool = False,
    precision: graphc.compiler.Precision = "float",
) -> Plan:
    """The plan of a net, without machine code, on an emulated card; beside: parts of it may run on the CPU."""
    predict, init = nets(ops, inputs, outputs, weights)
    graph = graphc.import_model(predict, init if weights else None, inputs)
    plan = graphc.compile_graph(graph, target=target, prepare=False, precision=precision)
    on_emulated_card(plan, beside)
    return plan


def on_emulated_card(plan: Plan, beside: bool = False) -> EmulatedCard:
    """Have a plan run in the emulator, which asks for no machine code; gives the card.

    beside: parts of it may run on the CPU; otherwise raises ``LoweringError`` with the first operator that does.
    """
    for part in plan.cut.parts:
        if (part.host or part.beside) and not beside:
            raise graphc.LoweringError(f"{part.graph.nodes[0].op} has no kernel on target '{plan.target}'")
    sources: dict[str, str] = {}

    def load(specs: Sequence[KernelSpec], progress: object = None) -> None:
        made = [spec for spec in specs if not spec.library]
        sources.update((spec.name, plan.code.source(spec)) for spec in made)
        packed = {s.name: Cubin(s.name, b"\x7fELF", s.int("threads"), 0, 0, 0, 0).pack() for s in made}
        plan.code.objects = {**plan.code.objects, **packed}

    load(plan.codes[plan.code])
    plan.code.load = load  # a run at other sizes can ask for kernels more
    plan.code.card = EmulatedCard(sources.__getitem__)
    return plan.code.card


def answers(
    ops: Sequence[Operator],
    inputs: Mapping[str, np.ndarray],
    outputs: str,
    weights: Mapping[str, np.ndarray] | None = None,
    tolerance: float = 2e-6,
    precision: graphc.compiler.Precision = "float",
) -> tuple[Plan, list[np.ndarray]]:
    """The plan and its outputs, which must be the float32 reference's up to ``tolerance`` of the largest element.

    The default is what sums of some hundred products lose in float32.
    """
    plan = emulated_plan(ops, inputs, outputs, weights or {}, precision=precision)
    got = plan.run(inputs)
    for name, want in zip(outputs.split(), reference(ops, inputs, outputs, weights)):
        assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype), name
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=0)) if want.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(got[name], want, rtol=0, atol=tolerance * scale, err_msg=name)
    return plan, [got[name] for name in outputs.split()]
