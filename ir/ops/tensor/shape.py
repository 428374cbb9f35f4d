"""Shapes: views, copies, transposition, and what a shape is; elements are moved but not changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Infer, Trait, op
from graphc.ir.ops._rules import LARGEST, Shape, agree, axis_of, bounded, constant_ints, product, require, same_type
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

VIEW = Trait.VIEW
IDENTITY = Trait.IDENTITY


def _identity(
    name: str, doc: str, *args: Arg, inputs: str = "X", inplace: bool = False, infer: Infer = same_type
) -> None:
    op(
        name,
        infer,
        family=__name__,
        inputs=inputs,
        outputs="Y",
        args=args,
        traits=IDENTITY,
        inplace=((0, 0),) if inplace else (),
        reference=lambda call, x, *rest: [x],
        doc=doc,
    )


def _named_type(call: Call) -> list[TensorType]:
    """The type of X; the argument ``name`` has to be given."""
    if not call.given("name"):
        call.fail("argument 'name' is missing", "give the other name of the blob, or use Copy")
    return list(same_type(call))


_identity("Copy", "The input.")
_identity("Alias", "The input, in the same memory.")
_identity(
    "AliasWithName",
    "The input under another name.",
    Arg("name", "string", None, "the other name"),
    Arg("is_backward", "int", 0, "the gradient has the name"),
    inplace=True,
    infer=_named_type,
)
_identity("StopGradient", "The input; no gradient flows back.", inplace=True)
_identity("EnsureDense", "The input; its gradient is made dense.", inplace=True)
_identity("EnsureCPUOutput", "The input, on the CPU.")
_identity("CopyFromCPUInput", "The input, from the CPU.")
_identity("CopyCPUToGPU", "The input, on the card.")
_identity("CopyGPUToCPU", "The input, on the CPU.")
_identity("CopyOnDeviceLike", "The input, on the device of dst.", inputs="X dst")
_identity("CopyCPUToIDEEP", "The input; layouts of engines are graphc's own matter.")
_identity("CopyIDEEPToCPU", "The input; layouts of engines are graphc's own matter.")


def _no_outputs(call: Call) -> list[TensorType]:
    """No outputs at all."""
    call.type(0)
    return []


op(
    "ZeroGradient",
    _no_outputs,
    inputs="X",
    reference=lambda call, x: [],
    doc="Nothing; the gradient that flows back is zero.",
)


def _reshape_reference(call: Call, x: np.ndarray, *rest: np.ndarray) -> Sequence[np.ndarray]:
    """Row-major elements under the inferred shape."""
    return [x.reshape(call.opdef.infer(call)[0].static_shape)]


def _view(name: str, infer: Infer, doc: str, *args: Arg, inputs: str = "X", inplace: bool = False) -> None:
    op(
        name,
        infer,
        inputs=inputs,
        outputs="Y",
        args=args,
        traits=VIEW,
        inplace=((0, 0),) if inplace else (),
        reference=_reshape_reference,
        doc=doc,
    )


def _target(call: Call) -> tuple[int, ...] | None:
    """The wanted shape of a Reshape; None where it is an input that is not a weight."""
    if call.has(1):
        if call.given("shape"):
            call.fail("the shape is given twice", "give the argument shape or the second input")
        return constant_ints(call, 1)
    if not call.given("shape"):
        call.fail("the shape is missing", "give the argument shape or a second input")
    return tuple(call.arg("shape"))


def _resolve(call: Call, shape: Shape, target: tuple[int, ...]) -> Shape:
    """``target`` with 0 replaced by the input's dimension and -1 by what is left over; of an empty input both are 0."""
    if target.count(-1) > 1 or any(not -1 <= d <= LARGEST for d in target):
        call.fail(f"shape {list(target)} is not a shape", "use sizes, 0 to keep a dimension, and -1 at most once")
    if 0 in shape:
        empty = tuple(max(d, 0) for d in target)
        agree(call, math.prod(empty), 0, "elements of the new shape", "the number of elements must stay")
        return empty
    if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
        call.fail(f"shape {list(target)} keeps a dimension that the input ({len(shape)} dimensions) does not have")
    kept = {i for i, d in enumerate(target) if d == 0}
    rest = product([d for i, d in enumerate(shape) if i not in kept])
    fixed = math.prod(d for d in target if d > 0)
    out: list[Dim] = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    if -1 not in target:
        agree(call, fixed, rest, "elements of the new shape", "the number of elements must stay")
        return tuple(out)
    out[target.index(-1)] = _left_over(call, shape, kept, fixed)
    return tuple(out)


def _left_over(call: Call, shape: Shape, kept: set[int], fixed: int) -> Dim:
    """The size that -1 stands for: the elements that are not kept, divided by the given sizes."""
    rest = [d for i, d in enumerate(shape) if i not in kept]
    known = math.prod(d for d in rest if isinstance(d, int))
    symbols = product([d for d in rest if not isinstance(d, int)])
    if symbols == 1:
        if fixed == 0 or known % fixed:
            call.fail(f"{known} elements cannot be divided into rows of {fixed}", "check the shape")
        return known // fixed
    return symbols * (known // fixed) if known % fixed == 0 else product(rest) // fixed


def _reshape_infer(call: Call) -> list[TensorType]:
    """reshaped: the input under the wanted shape; old_shape: the input's shape, int64."""
    x = call.type(0)
    old = TensorType(DType.INT64, (UNKNOWN if x.rank is None else x.rank,))
    if call.has(1):
        require(call, 1, (DType.INT32, DType.INT64))
        if call.type(1).rank not in (None, 1):
            call.fail(f"the new shape has {call.type(1).rank} dimensions, a vector is needed")
    target = _target(call)
    if target is None:
        length = call.type(1).shape
        rank = length[0] if length else None
        return [x.with_shape((UNKNOWN,) * rank if isinstance(rank, int) else None), old]
    if x.shape is None:
        return [x.with_shape(tuple(d if d > 0 else UNKNOWN for d in target)), old]
    return [x.with_shape(_resolve(call, x.shape, target)), old]


def _copy_all(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y.flat[i] = x.flat[i]


def _put_shape(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim > 0:
        for d in range(y.size):
            y[d] = x.shape[d]


def _reshape_loop(x: np.ndarray, new_shape: np.ndarray, y: np.ndarray, old: np.ndarray) -> None:
    """Where ``old_shape`` is read; a Reshape is else a view."""
    _copy_all(x, y)
    _put_shape(x, old)


def _reshape(call: Call, x: np.ndarray, *shape: np.ndarray) -> Sequence[np.ndarray]:
    wanted = tuple(int(d) for d in np.ravel(shape[0])) if shape else tuple(call.arg("shape"))
    sizes = tuple(d for d in _resolve(call, x.shape, wanted) if isinstance(d, int))
    return [x.reshape(sizes), np.array(x.shape, np.int64)]


op(
    "Reshape",
    _reshape_infer,
    inputs="data new_shape?",
    outputs="reshaped old_shape",
    args=(Arg("shape", "ints", (), "the new shape; 0 keeps a dimension, -1 is what is left"),),
    loop=_reshape_loop,
    constants=lambda call: [],
    reference=_reshape,
    traits=VIEW,
    shape_inputs=(1,),
    inplace=((0, 0),),
    doc="The elements under another shape.",
)


def _flatten_infer(call: Call) -> list[TensorType]:
    """Y: a matrix, the dimensions before ``axis`` and those from it on."""
    x, axis = call.type(0), call.arg("axis")
    if x.shape is None:
        return [x.with_shape((UNKNOWN, UNKNOWN))]
    if not 0 <= axis <= len(x.shape):
        call.fail(f"axis {axis} is outside an input of {len(x.shape)} dimensions", f"use 0 <= axis <= {len(x.shape)}")
    return [x.with_shape((product(x.shape[:axis]), product(x.shape[axis:])))]


_view("Flatten", _flatten_infer, "A matrix of the elements.", Arg("axis", "int", 1, "first dimension of the columns"))


def _vector_infer(call: Call) -> list[TensorType]:
    """Y: a vector."""
    x = call.type(0)
    return [x.with_shape((UNKNOWN if x.shape is None else product(x.shape),))]


_view("FlattenToVec", _vector_infer, "A vector of the elements.")

DIMS = Arg("dims", "ints", (), "the dimensions, in any order")


def _dims(call: Call) -> list[int]:
    dims = sorted(set(call.arg("dims")))
    if not dims or dims[0] < 0 or dims[-1] > LARGEST:
        call.fail(f"dims {list(call.arg('dims'))} are not dimensions", "give dims that are 0 or more")
    return dims


def _squeeze_infer(call: Call) -> list[TensorType]:
    """Y: X without the dimensions ``dims``, which are 1."""
    x, dims = call.type(0), _dims(call)
    if x.shape is None:
        return [x]
    if dims[-1] >= len(x.shape):
        call.fail(f"dims {dims} are outside an input of {len(x.shape)} dimensions", "remove the dims that do not exist")
    for d in dims:
        agree(call, x.shape[d], 1, f"dimension {d}, which is squeezed", "only dimensions of 1 can be removed")
    return [x.with_shape(tuple(d for i, d in enumerate(x.shape) if i not in dims))]


def _expand_infer(call: Call) -> list[TensorType]:
    """Y: X with dimensions of 1 where ``dims`` says, counted in Y."""
    x, dims = call.type(0), _dims(call)
    if x.shape is None:
        return [x]
    rank = len(x.shape) + len(dims)
    if dims[-1] >= rank:
        call.fail(f"dims {dims} leave a gap behind an input of {len(x.shape)} dimensions", f"use dims below {rank}")
    old = iter(x.shape)
    return [x.with_shape(tuple(1 if i in dims else next(old) for i in range(rank)))]


_view("Squeeze", _squeeze_infer, "Without some dimensions of 1.", DIMS, inplace=True)
_view("ExpandDims", _expand_infer, "With dimensions of 1 put in.", DIMS, inplace=True)


def _like_infer(call: Call) -> list[TensorType]:
    """Y: the elements of X in the shape of the second input."""
    x, like = call.type(0), call.type(1).shape
    if x.shape is not None and like is not None:
        agree(call, product(x.shape), product(like), "elements of the new shape")
    return [x.with_shape(like)]


_view("ResizeLike", _like_infer, "The elements of X in the shape of Y.", inputs="X like")


def _prepend_infer(call: Call) -> list[TensorType]:
    """Y: the first dimension d as (dim_size, d / dim_size)."""
    x, size = call.type(0), bounded(call, call.arg("dim_size"), 1, "dim_size")
    if x.shape is None:
        return [x]
    first = x.shape[0] if x.shape else 1
    if isinstance(first, int) and first % size:
        call.fail(f"the first dimension, {first}, is not a multiple of dim_size {size}")
    return [x.with_shape((size, first // size, *x.shape[1:]))]


def _merge_infer(call: Call) -> list[TensorType]:
    """Y: the first two dimensions as one."""
    x = call.type(0)
    if x.shape is None:
        return [x]
    if len(x.shape) < 2:
        call.fail(f"the input has {len(x.shape)} dimensions, at least 2 are needed")
    return [x.with_shape((product(x.shape[:2]), *x.shape[2:]))]


_view(
    "PrependDim",
    _prepend_infer,
    "The first dimension split in two.",
    Arg("dim_size", "int", 0, "the new first dimension"),
    inplace=True,
)
_view("MergeDim", _merge_infer, "The first two dimensions made one.", inplace=True)


def _axes(call: Call, rank: int) -> tuple[int, ...]:
    axes = tuple(call.arg("axes")) or tuple(range(rank))[::-1]
    if sorted(axes) != list(range(rank)):
        call.fail(f"axes {list(axes)} are not an order of {rank} dimensions", f"name each of 0 to {rank - 1} once")
    return axes


def _transpose_infer(call: Call) -> list[TensorType]:
    """Y: dimension i of Y is dimension ``axes[i]`` of X."""
    x = call.type(0)
    if x.shape is None:
        n = len(call.arg("axes"))
        return [x.with_shape((UNKNOWN,) * n if n else None)]
    return [x.with_shape(tuple(x.shape[a] for a in _axes(call, len(x.shape))))]


op(
    "Transpose",
    _transpose_infer,
    inputs="X",
    outputs="Y",
    args=(Arg("axes", "ints", (), "the order of the dimensions; default: reversed"),),
    reference=lambda call, x: [x.transpose(_axes(call, x.ndim)).copy()],
    doc="The dimensions in another order.",
)


def channels_last_order(call: Call, rank: int) -> tuple[int, ...]:
    """The ``axes`` of the transposition that NCHW2NHWC or NHWC2NCHW is; fails below 3 dimensions."""
    if rank < 3:
        call.fail(f"the input has {rank} dimensions, at least 3 are needed")
    image = tuple(range(2, rank)) if call.opdef.name == "NCHW2NHWC" else tuple(range(1, rank - 1))
    return (0, *image, 1) if call.opdef.name == "NCHW2NHWC" else (0, rank - 1, *image)


def _order_infer(call: Call) -> list[TensorType]:
    """Y: X with the channels moved."""
    x = call.type(0)
    if x.shape is None:
        return [x]
    return [x.with_shape(tuple(x.shape[a] for a in channels_last_order(call, len(x.shape))))]


def _order_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    return [np.ascontiguousarray(x.transpose(channels_last_order(call, x.ndim)))]


for _name, _text in (("NCHW2NHWC", "last"), ("NHWC2NCHW", "first, after the images")):
    op(
        _name,
        _order_infer,
        inputs="data",
        outputs="output",
        reference=_order_reference,
        doc=f"The channels moved to be {_text}.",
    )


def _shape_infer(call: Call) -> list[TensorType]:
    """shape: int64, one element a dimension, or for each of ``axes``."""
    rank, axes = call.type(0).rank, call.arg("axes")
    if rank is not None:
        for a in axes:
            axis_of(call, a, rank, "axes")
    return [TensorType(DType.INT64, (len(axes) or (UNKNOWN if rank is None else rank),))]


def _shape(x: np.ndarray, y: np.ndarray, axes: Any, n: int) -> None:
    if n == 0:
        _put_shape(x, y)
    else:
        _put_axes(x, y, axes, n)


def _put_axes(x: np.ndarray, y: np.ndarray, axes: Any, n: int) -> None:
    if x.ndim > 0:
        for i in range(n):
            y[i] = x.shape[axes[i]]


def _shape_constants(call: Call) -> list[Any]:
    """The axes counted from the front, and how many they are."""
    rank, axes = call.type(0).rank or 0, call.arg("axes")
    return [tuple(axis_of(call, a, rank, "axes") for a in axes) or (0,), len(axes)]


op(
    "Shape",
    _shape_infer,
    inputs="X",
    outputs="shape",
    args=(Arg("axes", "ints", (), "the dimensions wanted; default: all"),),
    loop=_shape,
    constants=_shape_constants,
    doc="The dimensions of X.",
)


def _scalar(dtype: DType) -> Infer:
    def infer(call: Call) -> list[TensorType]:
        """A single element without dimensions."""
        call.type(0)
        return [TensorType(dtype, ())]

    return infer


def _size(x: np.ndarray, y: np.ndarray) -> None:
    y.flat[0] = x.size


def _is_empty(x: np.ndarray, y: np.ndarray) -> None:
    y.flat[0] = x.size == 0


op(
    "Size",
    _scalar(DType.INT64),
    inputs="X",
    outputs="size",
    loop=_size,
    doc="The number of elements.",
)
op(
    "IsEmpty",
    _scalar(DType.BOOL),
    inputs="tensor",
    outputs="is_empty",
    loop=_is_empty,
    doc="Whether there are no elements.",
)


def _has_elements_infer(call: Call) -> list[TensorType]:
    """A single bool without dimensions."""
    if call.n_inputs < 1:
        call.fail("there are no inputs", "give at least one")
    return [TensorType(DType.BOOL, ())]


def _has_elements(xs: Any, y: np.ndarray, found: int) -> None:
    """Sizes are known before a run."""
    y.flat[0] = found != 0


def _has_elements_constants(call: Call) -> list[int]:
    return [int(any(call.type(i).size for i in range(call.n_inputs)))]


op(
    "HasElements",
    _has_elements_infer,
    inputs="tensor*",
    outputs="has_elements",
    loop=_has_elements,
    constants=_has_elements_constants,
    doc="Whether any input has elements.",
)


def cast_target(call: Call) -> DType:
    """The dtype that a Cast's ``to`` names, by number or by name in any case; fails for unknown ones."""
    to = call.arg("to")
    try:
        return DType[to.upper()] if isinstance(to, str) else DType(to)
    except (KeyError, ValueError):
        call.fail(f"to={to!r} is not an element type", "use " + ", ".join(d.text for d in DType))


def _cast_infer(call: Call) -> list[TensorType]:
    """Y: the elements of X in another type, also as texts."""
    if call.type(0).dtype is DType.STRING:
        call.fail("strings cannot be cast", "give numbers")
    return [TensorType(cast_target(call), call.type(0).shape)]


def _cast_reference(call: Call, x: np.ndarray) -> Sequence[np.ndarray]:
    if cast_target(call) is DType.STRING:
        return [_texts(x)]
    with np.errstate(invalid="ignore", over="ignore"):
        return [x.astype(cast_target(call).numpy)]


def _texts(x: np.ndarray) -> np.ndarray:
    """Numbers as C++'s ``std::to_string`` writes them: floats with six decimals, truth as 0 or 1."""
    kind = ".6f" if x.dtype.kind == "f" else "d"
    found = np.empty(x.size, object)
    found[:] = [format(v, kind).encode() for v in x.ravel().tolist()]
    return found.reshape(x.shape)


def _cast_traits(call: Call) -> Trait:
    return Trait.HOST if cast_target(call) is DType.STRING else Trait.NONE


op(
    "Cast",
    _cast_infer,
    inputs="X",
    outputs="Y",
    args=(
        Arg("to", "any", DType.FLOAT.value, "the new type: Caffe2's number or name"),
        Arg("from_type", "any", None, "the old type, as some exporters note it"),
    ),
    reference=_cast_reference,
    call_traits=_cast_traits,
    doc="The elements in another type; float to integer cuts off. To strings it runs in Python.",
)
