"""Elementwise arithmetic, comparison and logic: one operand, two with broadcasting, or any number of one shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from graphc.ir.loops import run_loop
from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import (
    FLOATS,
    NUMERIC,
    ORDER,
    Shape,
    along,
    broadcast_shapes,
    merge_shapes,
    product,
    require,
    require_rank,
)
from graphc.ir.ops._walk import advance, kept_flags, offset, set_steps, steps_type
from graphc.ir.ops.elementwise._functions import acos, asin, atan, cbrt, cosh, log1p, sinh
from graphc.ir.scalar import Expr, ScalarOps
from graphc.ir.types import DType, TensorType, dims_agree, merge_dims

POINTWISE = Trait.POINTWISE | Trait.BLOCKED
NUMERIC_HALF = (*NUMERIC, DType.FLOAT16)
Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]
INT_BOOL = (DType.BOOL, DType.INT32, DType.INT64)
ANY_NUMBER = (DType.BOOL, *NUMERIC_HALF)


def _unary(
    name: str, doc: str, scalar: Any, dtypes: Sequence[DType] = FLOATS, inplace: bool = True, **fields: Any
) -> None:
    def infer(call: Call) -> list[TensorType]:
        """Y has the type of X."""
        return [require(call, 0, dtypes)]

    op(
        name,
        infer,
        inputs="X",
        outputs="Y",
        scalar=scalar,
        traits=POINTWISE if scalar else Trait.NONE,
        inplace=((0, 0),) if inplace else (),
        doc=doc,
        **fields,
    )


def _numpy(function: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """A reference in NumPy, more exact than the formula or beyond the scalar protocol."""
    return {"reference": lambda call, x: [function(x).astype(x.dtype)]}


def _sign(o: ScalarOps, call: Call, x: Expr) -> Expr:
    zero = o.const(0.0)
    return o.where(o.lt(zero, x), o.const(1.0), o.where(o.lt(x, zero), o.const(-1.0), zero))


_unary("Abs", "|x|", lambda o, call, x: o.abs(x), inplace=False)
_unary("Sqrt", "square root", lambda o, call, x: o.sqrt(x), (*FLOATS, DType.DOUBLE))
_unary("Rsqrt", "1 / sqrt(x)", lambda o, call, x: o.const(1.0) / o.sqrt(x))
_unary("Sqr", "x * x", lambda o, call, x: x * x)
_unary("Cube", "x * x * x", lambda o, call, x: x * x * x, NUMERIC_HALF, inplace=False)
_unary("Exp", "e to the x", lambda o, call, x: o.exp(x))
_unary("Log", "natural logarithm", lambda o, call, x: o.log(x))
_unary("Negative", "-x", lambda o, call, x: -x, NUMERIC_HALF)
_unary("Sign", "-1, 0 or 1", _sign, NUMERIC_HALF, inplace=False)
_unary("Floor", "largest integer not above x", lambda o, call, x: o.floor(x))
_unary("Ceil", "smallest integer not below x", lambda o, call, x: o.ceil(x))
_unary("Reciprocal", "1 / x", lambda o, call, x: o.const(1.0) / x)
_unary("Sin", "sine", lambda o, call, x: o.sin(x), inplace=False)
_unary("Cos", "cosine", lambda o, call, x: o.cos(x), inplace=False)
_unary("Tan", "tangent", lambda o, call, x: o.sin(x) / o.cos(x), inplace=False)
_unary("Erf", "error function", lambda o, call, x: o.erf(x), inplace=False)
_unary(
    "Scale",
    "scale * x",
    lambda o, call, x: x * o.const(call.arg("scale")),
    args=(Arg("scale", "float", 1.0, "the factor"),),
)
_unary("Asin", "inverse sine", lambda o, call, x: asin(o, x), inplace=False, **_numpy(np.arcsin))
_unary("Acos", "inverse cosine", lambda o, call, x: acos(o, x), inplace=False, **_numpy(np.arccos))
_unary("Atan", "inverse tangent", lambda o, call, x: atan(o, x), inplace=False, **_numpy(np.arctan))
_unary("Sinh", "hyperbolic sine", lambda o, call, x: sinh(o, x), inplace=False, **_numpy(np.sinh))
_unary("Cosh", "hyperbolic cosine", lambda o, call, x: cosh(o, x), inplace=False, **_numpy(np.cosh))
_unary("Cbrt", "cube root", lambda o, call, x: cbrt(o, x), **_numpy(np.cbrt))
_unary("Log1p", "log(1 + x), exact near 0", lambda o, call, x: log1p(o, x), inplace=False, **_numpy(np.log1p))
_unary("Not", "logical not", None, (DType.BOOL,), inplace=False, **_numpy(np.logical_not))


def _replace_nan(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.where(o.isnan(x), o.const(call.arg("value")), x)


_unary(
    "ReplaceNaN",
    "x, or value where x is not a number",
    _replace_nan,
    (*FLOATS, DType.DOUBLE),
    args=(Arg("value", "float", 0.0, "what stands for NaN"),),
)


def _is_nan_infer(call: Call) -> list[TensorType]:
    """Y: uint8 of the shape of X, 1 where X is not a number."""
    return [TensorType(DType.UINT8, require(call, 0, (*FLOATS, DType.DOUBLE)).shape)]


op(
    "IsNaN",
    _is_nan_infer,
    inputs="X",
    outputs="Y",
    reference=lambda call, x: [np.isnan(x).astype(np.uint8)],
    doc="1 where x is not a number, else 0.",
)

LEGACY_ARGS = (
    Arg("broadcast", "int", 0, "1: B is aligned to A's dimensions from ``axis`` on; 0: NumPy's broadcasting"),
    Arg("axis", "int", -1, "first dimension of A that B meets; -1: B meets A's last dimensions"),
    Arg("axis_str", "string", b"", "the axis as a letter of ``order``"),
    ORDER,
)


def legacy_axis(call: Call, a: int = 0, b: int = 1) -> int:
    """The dimension of A that B's first one meets under ``broadcast=1``; needs both ranks. a, b: the inputs."""
    rank, mine = call.type(a).rank or 0, call.type(b).rank or 0
    axis, letter = call.arg("axis"), call.arg("axis_str") if call.opdef.has_arg("axis_str") else ""
    if letter:
        axis = call.arg("order").find(letter)
        if axis < 0 or call.arg("axis") != -1:
            call.fail(f"axis_str '{letter}' is not a letter of the order, or axis is given too", "give axis alone")
    if mine > rank:
        call.fail(f"B has more dimensions ({mine}) than A ({rank})", "exchange the operands")
    axis = rank - mine if axis == -1 else axis
    if not 0 <= axis <= rank - mine:
        call.fail(f"axis {axis} does not fit B's {mine} dimensions into A's {rank}", f"use 0 <= axis <= {rank - mine}")
    return int(axis)


def legacy_align(call: Call, i: int, a: int = 0, b: int = 1) -> Shape:
    """Shape under which input ``i`` broadcasts with the output, by NumPy's rules or the legacy ones."""
    shape = call.type(i).shape or ()
    rank = call.type(a).rank
    return shape if i != b or rank is None or not call.arg("broadcast") else aligned_at_axis(call, a, b)


def aligned_at_axis(call: Call, a: int = 0, b: int = 1) -> Shape:
    """The shape of input ``b`` among the dimensions of input ``a``, from its argument ``axis`` on; ranks are known."""
    shape, rank = call.type(b).shape or (), call.type(a).rank or 0
    return (1,) * min(rank, 1) if product(shape) == 1 else along(shape, legacy_axis(call, a, b), rank)


def binary_shape(call: Call, a: int = 0, b: int = 1) -> Shape | None:
    """The shape of the result of inputs ``a`` and ``b``; fails where they do not broadcast."""
    left, right = call.type(a).shape, call.type(b).shape
    if not call.arg("broadcast"):
        if call.arg("axis") != -1 or call.arg("axis_str"):
            call.fail("axis is given without broadcast=1", "set broadcast=1, or remove the axis")
        return broadcast_shapes(call, left, right)
    if left is None or right is None or product(right) == 1:
        return left
    if any(y != 1 and not dims_agree(x, y) for x, y in zip(left, legacy_align(call, b, a, b))):
        axis = legacy_axis(call, a, b)
        call.fail(f"B's dimensions do not agree with A's from axis {axis} on", "check axis and shapes")
    return left


def same_dtypes(call: Call, dtypes: Sequence[DType], a: int = 0, b: int = 1) -> DType | None:
    """The one dtype of inputs ``a`` and ``b``; fails where they differ or are not among ``dtypes``."""
    left, right = require(call, a, dtypes).dtype, require(call, b, dtypes).dtype
    if left is not None and right is not None and left is not right:
        names = f"{call.input_name(a)} is {left.text} and {call.input_name(b)} is {right.text}"
        call.fail(names, "insert a Cast: both operands must have one type")
    return left or right


def _binary(name: str, doc: str, dtypes: Sequence[DType], result: DType | None = None, **fields: Any) -> None:
    def infer(call: Call) -> list[TensorType]:
        """C has the broadcast shape of A and B."""
        dtype = same_dtypes(call, dtypes)
        return [TensorType(result or dtype, binary_shape(call))]

    traits = POINTWISE if "scalar" in fields else Trait.NONE
    fields.setdefault("inplace", ())
    op(name, infer, inputs="A B", outputs="C", args=LEGACY_ARGS, align=legacy_align, traits=traits, doc=doc, **fields)


def _aligned(function: Pair) -> Callable[..., Sequence[np.ndarray]]:
    """A reference that applies ``function`` after the alignment of the operands."""

    def reference(call: Call, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
        return [np.asarray(function(a, b.reshape(_static(legacy_align(call, 1)))))]

    return reference


def _static(shape: Shape) -> tuple[int, ...]:
    return tuple(d for d in shape if isinstance(d, int))


def _divide(call: Call, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
    """Division as in C++: integers towards zero."""
    if a.dtype.kind != "f":
        return run_loop(call, [a, b])
    return [np.asarray(a / b.reshape(_static(legacy_align(call, 1))))]


def quotient(x: Any, y: Any) -> Any:
    """x / y of integers, towards zero; for loops. The least integer over -1 wraps, where the processor would trap."""
    if y == -1:
        return -x
    whole = x // y
    return whole + 1 if whole < 0 and whole * y != x else whole


def _divide_loop(a: Any, b: Any, c: Any, steps: Any, kept_a: Any, kept_b: Any, whole: Any) -> int:
    shape = (1,) + c.shape  # noqa: RUF005  # Numba has no unpacking
    set_steps(steps, 1, shape, kept_a)
    set_steps(steps, 2, shape, kept_b)
    run = shape[len(shape) - 1]
    a_step, b_step = steps[1, len(shape) - 1], steps[2, len(shape) - 1]
    for r in range(c.size // max(run, 1)):
        p, q = offset(steps, 1), offset(steps, 2)
        for i in range(run):
            divisor = b.flat[q + i * b_step]
            if not whole:
                c.flat[r * run + i] = a.flat[p + i * a_step] / divisor
            elif divisor == 0:
                return 1
            else:
                c.flat[r * run + i] = quotient(a.flat[p + i * a_step], divisor)
        advance(steps, shape)
    return 0


def _divide_flags(call: Call) -> list[Any]:
    rank = len(binary_shape(call) or ())
    whole = int(call.type(0).dtype in (DType.INT32, DType.INT64))
    return [kept_flags(call.type(0).shape or (), rank), kept_flags(legacy_align(call, 1), rank), whole]


_BOTH = ((0, 0), (1, 0))
_binary("Add", "A + B", NUMERIC_HALF, scalar=lambda o, call, a, b: a + b, inplace=_BOTH)
_binary("Sub", "A - B", NUMERIC_HALF, scalar=lambda o, call, a, b: a - b, inplace=_BOTH)
_binary("Mul", "A * B", NUMERIC_HALF, scalar=lambda o, call, a, b: a * b, inplace=_BOTH)
_binary(
    "Div",
    "A / B; integers towards zero",
    NUMERIC_HALF,
    scalar=lambda o, call, a, b: a / b,
    reference=_divide,
    loop=_divide_loop,
    scratch=lambda call: [steps_type(len(binary_shape(call) or ()), 2)],
    constants=_divide_flags,
    errors=("an integer divisor is zero",),
    inplace=((0, 0),),
)
_COMPARISONS: tuple[tuple[str, Pair, str], ...] = (
    ("EQ", np.equal, "A == B"),
    ("NE", np.not_equal, "A != B"),
    ("LT", np.less, "A < B"),
    ("LE", np.less_equal, "A <= B"),
    ("GT", np.greater, "A > B"),
    ("GE", np.greater_equal, "A >= B"),
)
for _name, _pair, _text in _COMPARISONS:
    _binary(_name, _text, ANY_NUMBER, DType.BOOL, reference=_aligned(_pair))
_LOGIC: tuple[tuple[str, Pair, Sequence[DType]], ...] = (
    ("And", np.logical_and, (DType.BOOL,)),
    ("Or", np.logical_or, (DType.BOOL,)),
    ("Xor", np.logical_xor, (DType.BOOL,)),
    ("BitwiseAnd", np.bitwise_and, INT_BOOL),
    ("BitwiseOr", np.bitwise_or, INT_BOOL),
    ("BitwiseXor", np.bitwise_xor, INT_BOOL),
)
for _name, _pair, _types in _LOGIC:
    _binary(_name, f"{_name} of A and B", _types, reference=_aligned(_pair), inplace=((0, 0),))


def _pow_infer(call: Call) -> list[TensorType]:
    """Y: X to the power of the argument, or of input 1, which broadcasts as in Add."""
    x = require(call, 0)
    if not call.has(1):
        if not call.given("exponent"):
            call.fail("the exponent is missing", "give the argument exponent, or a second input")
        return [x]
    if call.given("exponent"):
        call.fail("the exponent is given twice", "give either the argument exponent or a second input")
    same_dtypes(call, FLOATS)
    return [x.with_shape(binary_shape(call))]


def _pow(o: ScalarOps, call: Call, x: Expr, *exponent: Expr) -> Expr:
    return o.pow(x, exponent[0] if exponent else o.const(call.arg("exponent")))


op(
    "Pow",
    _pow_infer,
    inputs="X exponent?",
    outputs="Y",
    args=(Arg("exponent", "float", 0.0, "the power, where there is no second input"), *LEGACY_ARGS),
    scalar=_pow,
    align=legacy_align,
    traits=POINTWISE,
    inplace=_BOTH,
    doc="X to the power of exponent.",
)


def _many(name: str, doc: str, dtypes: Sequence[DType], scalar: Any, **fields: Any) -> None:
    def infer(call: Call) -> list[TensorType]:
        """The output has the one shape and dtype of all inputs."""
        first = require(call, 0, dtypes)
        shape, dtype = first.shape, first.dtype
        for i in range(1, call.n_inputs):
            other = require(call, i, dtypes)
            shape = merge_shapes(call, shape, other.shape, f"the shapes of inputs 0 and {i} differ")
            if dtype is not None and other.dtype is not None and dtype is not other.dtype:
                call.fail(f"input {i} is {other.dtype.text}, input 0 is {dtype.text}", "insert a Cast")
            dtype = dtype or other.dtype
        return [TensorType(dtype, shape)]

    op(
        name,
        infer,
        inputs="X*",
        outputs="Y",
        scalar=scalar,
        traits=POINTWISE,
        inplace=((0, 0),),
        doc=doc,
        args=(ORDER,),
        **fields,
    )


_many("Sum", "Sum of the inputs.", NUMERIC_HALF, lambda o, call, *xs: reduce(lambda a, b: a + b, xs))
_many("SumInt", "Sum of the inputs.", NUMERIC_HALF, lambda o, call, *xs: reduce(lambda a, b: a + b, xs))
_many(
    "SumRelu",
    "max(sum of the inputs, 0).",
    (DType.FLOAT, DType.DOUBLE, DType.INT32),
    lambda o, call, *xs: o.maximum(reduce(lambda a, b: a + b, xs), o.const(0.0)),
)
_many("Max", "Largest of the inputs.", FLOATS, lambda o, call, *xs: reduce(o.maximum, xs))
_many("Min", "Smallest of the inputs.", FLOATS, lambda o, call, *xs: reduce(o.minimum, xs))
_many(
    "Mean",
    "Mean of the inputs.",
    FLOATS,
    lambda o, call, *xs: reduce(lambda a, b: a + b, xs) * o.const(1.0 / len(xs)),
)


def _where_infer(call: Call) -> list[TensorType]:
    """Z has the type of X; C is bool of the same shape, or of the rows alone with ``broadcast_on_rows``."""
    require(call, 0, (DType.BOOL,))
    x, y = call.type(1), call.type(2)
    if x.dtype is not None and y.dtype is not None and x.dtype is not y.dtype:
        call.fail(f"X is {x.dtype.text} and Y is {y.dtype.text}", "insert a Cast")
    shape = merge_shapes(call, x.shape, y.shape, "the shapes of X and Y differ")
    if call.arg("broadcast_on_rows"):
        rows = require_rank(call, 0, 1)
        if shape is not None and rows is not None:
            shape = (merge_shapes(call, rows, shape[:1], "C and X differ in rows") or shape[:1]) + shape[1:]
        return [TensorType(x.dtype or y.dtype, shape)]
    return [
        TensorType(x.dtype or y.dtype, merge_shapes(call, shape, call.type(0).shape, "the shapes of C and X differ"))
    ]


def _where_reference(call: Call, c: np.ndarray, x: np.ndarray, y: np.ndarray) -> Sequence[np.ndarray]:
    return [np.where(c.reshape(c.shape + (1,) * (x.ndim - c.ndim)), x, y)]


def _where_loop(c: Any, x: Any, y: Any, z: Any, rows: Any) -> None:
    run = x.size // max(c.size, 1)
    for i in range(c.size):
        for j in range(i * run, i * run + run):
            z.flat[j] = x.flat[j] if c.flat[i] else y.flat[j]


op(
    "Where",
    _where_infer,
    inputs="C X Y",
    outputs="Z",
    args=(Arg("broadcast_on_rows", "int", 0, "C has one element a row"),),
    loop=_where_loop,
    reference=_where_reference,
    doc="X where C, else Y.",
)


def _row_mul_infer(call: Call) -> list[TensorType]:
    """output: mat with row r multiplied by w[r]."""
    mat, w = require(call, 0), require(call, 1)
    if mat.shape == ():
        call.fail("mat is a scalar, it has no rows")
    if mat.shape and w.shape is not None:
        merge_shapes(call, (merge_dims(mat.shape[0], mat.shape[0]),), (product(w.shape),), "w has one element a row")
    return [mat]


op(
    "RowMul",
    _row_mul_infer,
    inputs="mat w",
    outputs="output",
    scalar=lambda o, call, mat, w: mat * w,
    align=lambda call, i: (
        call.type(i).shape or () if i == 0 else along((product(call.type(1).shape or ()),), 0, call.type(0).rank or 1)
    ),
    traits=Trait.POINTWISE,
    doc="Row r of mat times w[r].",
)


def _mod_infer(call: Call) -> list[TensorType]:
    """Y has the type of X, an integer."""
    if call.arg("divisor") == 0:
        call.fail("the divisor is 0", "give a divisor that is not 0")
    return [require(call, 0, (DType.INT32, DType.INT64))]


def _mod_loop(x: Any, y: Any, divisor: Any, sign_follow_divisor: Any) -> None:
    for i in range(x.size):
        value = x.flat[i]
        rest = value % divisor if divisor != -1 else 0  # the processor would trap at the least integer
        if rest != 0 and not sign_follow_divisor and (value < 0) != (divisor < 0):
            rest -= divisor
        y.flat[i] = rest


op(
    "Mod",
    _mod_infer,
    inputs="X",
    outputs="Y",
    args=(
        Arg("divisor", "int", 0, "the divisor"),
        Arg("sign_follow_divisor", "int", 0, "the remainder has the divisor's sign, not X's"),
    ),
    loop=_mod_loop,
    inplace=((0, 0),),
    doc="Remainder of the division by a number.",
)


def _stump(o: ScalarOps, call: Call, x: Expr) -> Expr:
    return o.where(
        o.le(x, o.const(call.arg("threshold"))), o.const(call.arg("low_value")), o.const(call.arg("high_value"))
    )


_unary(
    "StumpFunc",
    "low_value where x <= threshold, else high_value",
    _stump,
    (DType.FLOAT,),
    inplace=False,
    args=(
        Arg("threshold", "float", 0.0, "the threshold"),
        Arg("low_value", "float", 0.0, "value up to the threshold"),
        Arg("high_value", "float", 0.0, "value above it"),
    ),
)


def _root_infer(call: Call) -> list[TensorType]:
    """output has the type of data; scale has an element for each row."""
    data = require(call, 0, (DType.FLOAT,))
    require(call, 1, (DType.FLOAT, DType.INT32, DType.INT64))
    scale = require_rank(call, 1, 1)
    if data.shape == ():
        call.fail("data has no dimensions, at least 1 is needed")
    if data.shape and scale is not None:
        merge_shapes(call, data.shape[:1], scale, "scale has one element a row")
    return [data]


def _root_loop(data: Any, scale: Any, output: Any) -> int:
    rows = scale.shape[0]
    columns = data.size // max(rows, 1)
    for r in range(rows):
        if scale[r] < 0:
            return 1
        factor = np.float32(1 / math.sqrt(scale[r]) if scale[r] != 0 else 1.0)
        for i in range(r * columns, (r + 1) * columns):
            output.flat[i] = data.flat[i] * factor
    return 0


op(
    "SquareRootDivide",
    _root_infer,
    inputs="data scale",
    outputs="output",
    loop=_root_loop,
    errors=("scale has an element below 0",),
    inplace=((0, 0),),
    doc="Each row divided by the square root of its scale, where that is positive.",
)
