"""What a call of a library reads and writes: how far from each address on, proved from its shapes and strides alone."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.errors import PlanError
from graphc.ir.library_call import ALIGNMENT, CONVOLUTION, TF32, LibraryCall, Operand
from graphc.ir.schedule import Address

SIZES = {"f4": 4, "f2": 2, "bf": 2, TF32: 4}
"""Bytes of an element."""
WRITABLE = ("arena", "out")
"""Spaces that a call may write to."""


@dataclass(frozen=True)
class Span:
    """The bytes that a call touches from an address on. name: which operand's, for people."""

    name: str
    place: Address
    nbytes: int


def spans(call: LibraryCall) -> list[Span]:
    """The spans of all operands and of the workspace; raises ``PlanError`` where shapes, strides, window and element
    types do not agree, so that a library could read or write elsewhere."""
    try:
        _require_sizes(call)
        (_require_convolution if call.library == CONVOLUTION else _require_product)(call)
        found = [Span(name, _address(name, o), _reach(o)) for name, o in _named(call).items()]
        return [*found, _workspace(call)]
    except ValueError as error:
        raise PlanError(
            f"the plan's call of a library does not agree with itself: {error}",
            "the plan is damaged or was altered: compile the net again",
        ) from None


def _named(call: LibraryCall) -> dict[str, Operand]:
    bias = {} if call.bias is None else {"bias": call.bias}
    return {"input": call.x, "weights": call.w, **bias, "result": call.y}


def _reach(o: Operand) -> int:
    """Bytes from the first element to the end of the last one."""
    return SIZES[o.kind] * (1 + sum((n - 1) * stride for n, stride in zip(o.shape, o.strides)))


def _address(name: str, o: Operand) -> Address:
    if not isinstance(o.place, Address):
        raise ValueError(f"the {name} is at {o.place}, which is no address")
    if name == "result" and o.place.space not in WRITABLE:
        raise ValueError(f"the result would be written to {o.place.space}")
    return o.place


def _workspace(call: LibraryCall) -> Span:
    place = call.workspace
    if not isinstance(place, Address) or place.space != "arena":
        raise ValueError("the workspace is not in the arena")
    if call.room < ALIGNMENT:
        raise ValueError(f"a workspace of {call.room} bytes, less than the {ALIGNMENT} of its alignment")
    return Span("workspace", place, call.room)


def _require_sizes(call: LibraryCall) -> None:
    """There are elements, and no stride leads backwards; operands of one type, bias and result of one, which is float32
    where operands are rounded to TF32."""
    for name, o in _named(call).items():
        if min(o.shape) < 1 or min(o.strides) < 0:
            raise ValueError(f"the {name} has the shape {o.shape}, strides {o.strides}")
    agree = call.x.kind == call.w.kind and (call.bias is None or call.bias.kind == call.y.kind)
    if not agree or call.y.kind == TF32 or (call.x.kind == TF32 and call.y.kind != "f4"):
        raise ValueError(f"element types {', '.join(o.kind for o in call.operands)}")


def _require(name: str, o: Operand | None, shape: tuple[int, ...]) -> None:
    if o is not None and o.shape != shape:
        raise ValueError(f"the {name} has the shape {o.shape}, the others make it {shape}")


def _require_convolution(call: LibraryCall) -> None:
    """The result is as large as input, window and filters make it."""
    (n, channels, *image), (maps, depth, *kernel) = call.x.shape, call.w.shape
    stride, dilation, heads, tails = (call.window[i : i + 2] for i in range(0, 8, 2))
    if min(*stride, *dilation) < 1 or min(*heads, *tails) < 0:
        raise ValueError(f"the window {call.window}")
    if channels % depth or maps % (channels // depth):
        raise ValueError(f"{maps} filters of {depth} channels for {channels} channels")
    room = [image[i] + heads[i] + tails[i] - dilation[i] * (kernel[i] - 1) - 1 for i in range(2)]
    if min(room) < 0:
        raise ValueError(f"windows of {kernel} in an image of {image}")
    _require("result", call.y, (n, maps, *(room[i] // stride[i] + 1 for i in range(2))))
    _require_bias(call, maps)


def _require_product(call: LibraryCall) -> None:
    """Matrices match, and each lies row by row or column by column, which is all that cublasLt is told of."""
    (count, rows, inner), columns = call.x.shape, call.w.shape[2]
    _require("weights", call.w, (count, inner, columns))
    _require("result", call.y, (count, rows, columns))
    _require_bias(call, columns)
    for name, o in (("input", call.x), ("weights", call.w), ("result", call.y)):
        by_rows = _is_steady(o.shape[1:], o.strides[1:])
        by_columns = _is_steady(o.shape[:0:-1], o.strides[:0:-1])
        if not (by_rows or (by_columns and name != "result")):
            raise ValueError(f"the {name} has the shape {o.shape}, strides {o.strides}")


def _is_steady(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Lines of elements side by side, which do not overlap."""
    return (shape[1] == 1 or strides[1] == 1) and (shape[0] == 1 or strides[0] >= shape[1])


def _require_bias(call: LibraryCall, maps: int) -> None:
    _require("bias", call.bias, (maps,))
    if call.bias is not None and maps > 1 and call.bias.strides != (1,):
        raise ValueError(f"the elements of the bias are {call.bias.strides[0]} apart")
