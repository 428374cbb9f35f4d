"""Gradients of Conv and ConvTranspose in float32: of the filter, the bias, and the input, each a launch or two.

ConvTranspose computes an image from a result, so that the gradient of its output is an image, and that of its input a
result (``conv_products.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.conv_products import Sweep, make_spec, make_task, pieces_of
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.reduce import Reduction, dense_reduction, sum_bytes, sum_steps
from graphc.backends.cuda.rules import Rule, is_float32
from graphc.backends.cuda.target import ALIGNMENT, CudaTarget
from graphc.backends.nest import Nest
from graphc.ir.opdef import Call
from graphc.ir.ops._window import transposed_window, window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, View

NOTHING = Epilogue("y=x0", (), ())
BARE = {"ConvTransposeGradient": ("result", True)} | dict.fromkeys(
    (f"Conv{n}Gradient" for n in ("", "1D", "2D", "3D")), ("image", False)
)
"""Operator -> the form of its input's gradient, and whether it is that of ConvTranspose."""


def _sweep(call: Call) -> Sweep:
    x, dy = call.type(0).static_shape, call.type(2).static_shape
    transposed = BARE[call.node.op][1]
    return Sweep.of(transposed_window(call), dy, x) if transposed else Sweep.of(window(call), x, dy)


def _filter_spec(sweep: Sweep, target: CudaTarget) -> KernelSpec:
    return make_spec("filter", sweep, False, NOTHING, target)


def _bias(call: Call) -> Reduction | None:
    """The bias's gradient: dY over all but its channels."""
    if call.arg("no_bias") or call.n_outputs < 2:
        return None
    shape = call.type(2).static_shape
    kept = len(shape) - 1 if _sweep(call).last else 1
    return dense_reduction(shape, [i for i in range(len(shape)) if i != kept])


def _joined(sweep: Sweep, pieces: int) -> Reduction:
    """The filter's gradient from that of each piece."""
    size = sweep.filter_size
    return Reduction(Nest((size,), ((1,), (1,))), ((pieces, size),))


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    rank = call.type(0).rank or 0
    if not is_float32(call) or not 3 <= rank <= 5 or not all(call.type(i).size for i in range(3)):
        return None
    return Choice("conv_gradient", _filter_spec(_sweep(call), target))


def _room(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _pieces_bytes(call: Call, target: CudaTarget) -> int:
    sweep = _sweep(call)
    pieces, _ = pieces_of(sweep, _filter_spec(sweep, target), target)
    return _room(4 * pieces * sweep.filter_size) if pieces > 1 else 0


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    bias = _bias(call)
    nbytes = _pieces_bytes(call, target) + (sum_bytes(bias, target) if bias else 0)
    return Needs(dense=frozenset({0, 1, 2}), dense_out=True, workspace=nbytes)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, filters, dy = (v.address for v in ins[:3] if v is not None)
    sweep, names = _sweep(call), [r.name for r in call.node.results]
    form, transposed = BARE[call.node.op]
    image, result = (dy, x) if transposed else (x, dy)
    spec, bias = _filter_spec(sweep, target), _bias(call)
    cut = pieces_of(sweep, spec, target)
    to = workspace if cut[0] > 1 else outs[0].address
    tasks = [make_task(spec, sweep, (image, filters, result, to), [], names[0], cut)]
    if call.n_outputs > (1 if call.arg("no_bias") else 2):
        dx = outs[-1].address
        bare = make_spec(form, sweep, False, NOTHING, target)
        tasks.append(make_task(bare, sweep, (image, filters, result, dx), [], names[-1]))
    steps: list[Step] = [tuple(tasks)]
    if cut[0] > 1:
        made = _joined(sweep, cut[0])
        steps.append((made.task(made.spec("sum", False, target), (outs[0].address, workspace), names[0]),))
    if bias is not None:
        room = workspace.plus(_pieces_bytes(call, target))
        steps += sum_steps(bias, outs[1].address, dy, room, target, names[1])
    return steps


RULES = (Rule("conv_gradient", tuple(BARE), _choose, _needs, _bind),)
