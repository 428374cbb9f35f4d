"""Convolutions in float32 that ``conv.py`` and ``conv_transpose.py`` leave: on weights that the net computes, in three
dimensions, in NHWC order. ConvTranspose computes an image from a result (``conv_products.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphc.backends.cuda.kernels.conv_products import FORMS, Sweep, make_spec, make_task
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.rules import Rule, is_float32
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.needs import all_dense
from graphc.ir.opdef import Call
from graphc.ir.ops._window import transposed_window, window
from graphc.ir.schedule import Address, Choice, Param, Step, View

MOST_DIMENSIONS = 3
SLOWER = 100.0
"""Its cost beside that of the kernels for packed weights."""


def _sweep(call: Call) -> tuple[str, Sweep]:
    """The form that a call computes, and its window."""
    x, y = call.type(0).static_shape, call.node.results[0].type.static_shape
    if call.node.op == "ConvTranspose":
        return "image", Sweep.of(transposed_window(call), y, x)
    return "result", Sweep.of(window(call), x, y)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_float32(call) or not 3 <= (call.type(0).rank or 0) <= 2 + MOST_DIMENSIONS:
        return None
    (form, sweep), epilogue = _sweep(call), Epilogue.of_call(call)
    spec = make_spec(form, sweep, call.has(2), epilogue, target)
    return Choice("conv_computed", spec, {}, SLOWER * prod(call.type(0).static_shape))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (form, sweep), (x, filters), y = _sweep(call), ins[:2], outs[0]
    assert x is not None
    assert filters is not None
    assert choice.spec is not None
    spec = choice.spec.but(kernel="x".join(map(str, sweep.kernel)))
    extra: list[Param] = [v.address for v in ins[2:3] if v is not None and call.has(2)]
    kinds = Epilogue.of_call(call).kinds
    for kind, view in zip(kinds, ins[call.n_inputs :]):
        assert view is not None
        extra += [view.address, *([0] * 4 if kind == "same" else [])]  # dense like the result: it lies as that does
    places = {"filter": filters.address, "to": y.address, form: y.address, _source(form): x.address}
    given = tuple(places[name] for name in ("image", "filter", "result", "to"))
    return [(make_task(spec, sweep, given, extra, call.node.results[0].name),)]


def _source(form: str) -> str:
    """The operand that is no filter."""
    return FORMS[1 - FORMS.index(form)]


RULES = (Rule("conv_computed", ("Conv", "Conv1D", "Conv2D", "Conv3D", "ConvTranspose"), _choose, all_dense, _bind),)
