"""Convolutions that cuDNN does, where a user asks for it (``ir/engine.py``), with bias and Relu.

float32 in NCHW order stays there. Halves, and float32 in nets of halves or of TF32, lie in blocks of channels, which
cuDNN does not know: they are turned to NHWC order before and back behind, in the workspace. An epilogue of float32 that
cuDNN does not do is graphc's own kernel behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels.copy import copy_task
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.library_ending import (
    FIRST,
    NOTHING,
    RELU,
    bare_bytes,
    emit,
    ending_refused,
    finish,
    is_asked,
)
from graphc.backends.cuda.kernels.typed import code_of, itemsize, multiplied, stored
from graphc.backends.cuda.rules import Rule, Template
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.weights import elements
from graphc.ir.library_call import ALIGNMENT, CONVOLUTION, LibraryCall, Operand, library_spec
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, Needs, Step, View
from graphc.ir.types import PLAIN

LEAST = 16
"""Bytes: cuDNN takes addresses that are multiples of it."""
ROOM = 64 << 20
"""Bytes of workspace, unless the operator's ``ws_nbytes_limit`` says otherwise: as in Caffe2."""


def _of_one_kind(call: Call) -> str | None:
    """The code of input, weights and result where they share it, else None."""
    codes = {code_of(t) for t in (call.type(0), call.type(1), call.node.results[0].type)}
    return codes.pop() if len(codes) == 1 else None


def refused(call: Call) -> str:
    """Why cuDNN does not do a convolution; nothing where it does."""
    reason = ending_refused(call, _known(call))
    c = None if reason else ConvCall.read(call, (4,), window)
    if c is None:
        return reason or "it is no convolution of images with a plain window"
    if _of_one_kind(call) is None:
        return "its input, weights and result are of different element types"
    if not c.constant:
        return "its weights are computed"
    if 0 in (*c.shape, *c.result):
        return "it has no elements"
    return "its padding is negative" if min(c.window.pads) < 0 else ""


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_asked(call) or refused(call):
        return None
    known, kind, last, has_bias = _known(call), multiplied(call), code_of(call.type(0)), call.has(2)
    relu = RELU in known and Epilogue.of_call(call).text == RELU
    kinds = ",".join([kind, kind, *([last] if has_bias else []), last])
    choice = Choice("library_conv", library_spec(CONVOLUTION, kinds, bias=has_bias, relu=relu), {}, FIRST)
    weights, bias = elements(call, 1), elements(call, 2) if has_bias else None
    if weights is not None and (_is_turned(call) or kind != code_of(call.type(1))):
        choice.packed[1] = stored(weights.transpose(0, 2, 3, 1) if _is_turned(call) else weights, kind)
    if bias is not None and code_of(call.type(2)) != last:
        choice.packed[2] = stored(bias, last)
    return choice


def _is_turned(call: Call) -> bool:
    """cuDNN is asked in NHWC order: for halves, and where input or result lies in blocks of channels."""
    types = (call.type(0), call.node.results[0].type)
    return code_of(types[0]) != "f4" or any(t.layout != PLAIN for t in types)


def _known(call: Call) -> tuple[str, ...]:
    """What cuDNN does behind the sums: it has no kernel for a Relu without a bias in float32."""
    return (NOTHING, RELU) if call.has(2) else (NOTHING,)


def _room(call: Call) -> int:
    """Bytes that cuDNN may use, as Caffe2's argument says."""
    given = call.node.attrs.get("ws_nbytes_limit")
    return given if isinstance(given, int) and given > 0 else ROOM


def _rooms(call: Call) -> list[int]:
    """Bytes for copies of input and result: in NHWC order, where they have to be turned, or at addresses that cuDNN
    takes, where they may be pieces of larger values, which lie anywhere; that is, of a single image. A bare result has
    its own place."""
    kind, types = code_of(call.type(0)), (call.type(0), call.node.results[0].type)
    if not _is_turned(call) and types[0].static_shape[0] != 1:
        return [0, 0]
    x, y = (-(-prod(t.static_shape) * itemsize(kind) // ALIGNMENT) * ALIGNMENT for t in types)
    return [x, 0 if bare_bytes(call, _known(call)) else y]


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    workspace = sum(_rooms(call)) + bare_bytes(call, _known(call)) + _room(call) + ALIGNMENT
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=workspace)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (x, weights), y, w = ins[:2], outs[0], window(call)
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    rooms, turned, label = _rooms(call), _is_turned(call), call.node.results[0].name
    kind, *_, last = str(choice.spec["kinds"]).split(",")
    bare, free = bare_bytes(call, _known(call)), workspace.plus(sum(rooms))
    before: list[Step] = []
    behind: list[Step] = []
    if turned or x.address.offset % LEAST:
        inside, x = x, _copy_of(x, workspace, turned)
        before = [(replace(copy_task(inside, x), label=label),)]
    if bare:
        y = _copy_of(y, free, turned)
        behind = finish(call, y, ins, outs[0])
    elif turned or y.address.offset % LEAST:
        outside, y = y, _copy_of(y, workspace.plus(rooms[0]), turned)
        behind = [(replace(copy_task(y, outside), label=label),)]
    shape = tuple(call.type(1).static_shape)
    m, c, kh, kw = shape
    filters = (c * kh * kw, 1, kw * c, c) if turned else (c * kh * kw, kh * kw, kw, 1)
    bias = [Operand(last, (m,), (1,), v.address) for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    made = LibraryCall(
        CONVOLUTION,
        _image(x, kind),
        Operand(kind, shape, filters, weights.address),
        bias[0] if bias else None,
        _image(y, last),
        bool(choice.spec.int("relu")),
        (*w.stride, *w.dilation, *w.heads, *w.tails),
        free.plus(bare),
        _room(call) + ALIGNMENT,
    )
    flops = 2 * y.type.size * c * kh * kw
    traffic = x.type.nbytes + y.type.nbytes + weights.type.nbytes
    return [*before, (made.task(label, flops, traffic),), *behind]


def _copy_of(view: View, place: Address, turned: bool) -> View:
    """A value elsewhere, as it is, or as an image in NHWC order."""
    if not turned:
        return View(place, view.type, view.strides)
    _, c, h, w = view.type.static_shape
    return View(place, replace(view.type, layout=PLAIN), (h * w * c, 1, w * c, c), dense=False)


def _image(view: View, kind: str) -> Operand:
    return Operand(kind, view.type.static_shape, image_strides(view), view.address)


OPS = ("Conv", "Conv2D")
RULES = (Rule("library_conv", OPS, _choose, _needs, _bind, half=True),)
TEMPLATES = (Template(CONVOLUTION, emit),)
