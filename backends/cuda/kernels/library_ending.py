"""What NVIDIA's libraries and their rules share: who computes the epilogue of a call."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.pointwise import bind_text
from graphc.backends.cuda.kernels.pointwise_blocked import bind_blocked
from graphc.backends.cuda.rules import is_floating
from graphc.backends.cuda.target import CudaTarget
from graphc.ir.engine import CUDNN, chosen_engine
from graphc.ir.library_call import ALIGNMENT
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, KernelSpec, Step, View
from graphc.ir.types import PLAIN, DType

NOTHING, RELU = "y=x0", "y=max(0.0,x0)"
"""The texts of the epilogues that libraries know."""
ENDINGS = {NOTHING: "a bias", RELU: "a bias and a Relu"}
"""What these are, for people."""
FIRST = -1.0
"""The cost of what was asked for: below that of every kernel."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Nothing to compile: a note for people."""
    return f"# the library {spec.library} does this\n"


def is_asked(call: Call) -> bool:
    """A user asks a library for the call."""
    return chosen_engine(call.node) == CUDNN


def ending_refused(call: Call, known: Sequence[str]) -> str:
    """Why a library does not do the call for its element types or its epilogue, whose text is none of the known; else
    nothing.

    A kernel of graphc's does any other epilogue behind it, where all values are float32: rounded to halves before it
    would be another result.
    """
    if not is_floating(call):
        return "not all of its operands are float32 or, in half precision, halves"
    text = Epilogue.of_call(call).text
    values = [v for v in (*call.node.operands, *call.node.results) if v is not None]
    if text in known or all(v.type.dtype is DType.FLOAT for v in values):
        return ""
    return (
        f"in halves a library does no more behind it than {' or '.join(ENDINGS[k] for k in known)}, here it is {text}"
    )


def bare_bytes(call: Call, known: Sequence[str]) -> int:
    """Bytes of workspace for the result before an epilogue that the library does not do; 0 where it does."""
    if Epilogue.of_call(call).text in known:
        return 0
    return -(-call.node.results[0].type.nbytes // ALIGNMENT) * ALIGNMENT


def bare_result(y: View, place: Address) -> View:
    """A dense value like the result, elsewhere."""
    strides = [1] * len(y.strides)
    for i in reversed(range(len(strides) - 1)):
        strides[i] = strides[i + 1] * y.type.static_shape[i + 1]
    return View(place, y.type, tuple(strides))


def finish(call: Call, bare: View, ins: Sequence[View | None], y: View) -> list[Step]:
    """The steps that compute the epilogue of a float32 result; bare: what the library computes, plain."""
    epilogue, shape = Epilogue.of_call(call), y.type.static_shape
    ones = (1,) * len(shape)
    shapes = {"same": shape, "scalar": ones, "channel": (1, *shape[1:2], *ones[2:])}
    operands = [v for v in ins[call.n_inputs :] if v is not None]
    wide = [shape, *(shapes[kind] for kind in epilogue.kinds)]
    bind = bind_text if y.type.layout == PLAIN else bind_blocked
    return bind(epilogue.text, [bare, *operands], wide, y, call.node.results[0].name)
