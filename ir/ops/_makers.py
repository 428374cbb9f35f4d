"""Gradients for which arguments or the number of blobs decide: Caffe2's rules, by operator in ``_links.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.ir.gradient import GradientMaker

Maker = Callable[["GradientMaker"], None]


def convolution(g: GradientMaker) -> None:
    """dW, db, dX of X, W and dY; ``no_bias`` without b, no dX where the user says so."""
    biased = g.n_inputs == 3
    outputs = [g.d_input(1), *([g.d_input(2)] if biased else [])]
    if not g.arg("no_gradient_to_input", 0):
        outputs.append(g.d_input(0))
    own = {} if biased else {"no_bias": 1}
    g.emit(f"{g.call.type}Gradient", [g.input(0), g.input(1), g.d_output(0)], outputs, own)


def product(g: GradientMaker) -> None:
    """Mul, Div: both operands are needed after the call, so that it cannot have overwritten them."""
    if g.output(0) in g.call.inputs:
        g.fail("it is computed in place, which destroys what its gradient needs", "give the output another name")
    result = [g.output(0)] if g.call.type == "Div" else []
    operands = [g.d_output(0), g.input(0), g.input(1), *result]
    g.emit(f"{g.call.type}Gradient", operands, [g.d_input(0), g.d_input(1)])


def power(g: GradientMaker) -> None:
    """Pow with a constant exponent: Pow, Mul, Scale; with an exponent per element: also that of the exponent."""
    (_constant_power if g.n_inputs == 1 else _power_of_two)(g)


def _constant_power(g: GradientMaker) -> None:
    exponent = float(g.arg("exponent", 0.0))
    lower = exponent - 1
    if g.input(0) == g.output(0):
        if abs(exponent) <= 1e-12:
            g.fail("it is computed in place with exponent 0", "give the output another name")
        lower /= exponent
    d_x = g.d_input(0)
    g.emit("Pow", [g.input(0)], [d_x], {"exponent": lower}, copy=False)
    g.emit("Mul", [d_x, g.d_output(0)], [d_x], copy=False)
    g.emit("Scale", [d_x], [d_x], {"scale": exponent}, copy=False)


def _power_of_two(g: GradientMaker) -> None:
    if g.output(0) in g.call.inputs:
        g.fail("it is computed in place, which destroys what its gradient needs", "give the output another name")
    x, y, z, d_z, d_x, d_y = g.input(0), g.input(1), g.output(0), g.d_output(0), g.d_input(0), g.d_input(1)
    broadcast = bool(g.arg("broadcast", 0))
    place = {"axis": g.arg("axis", -1), "axis_str": g.arg("axis_str", b""), "order": g.arg("order", b"NCHW")}
    aligned = {"broadcast": 1, **place} if broadcast else {}
    wide = f"{d_y}_autogen_pre_red"
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("ConstantFill", [y], d_y, {"value": 1.0}),
        ("Sub", [y, d_y], d_y, {}),
        ("Pow", [x, d_y], d_x, aligned),
        ("Mul", [d_x, d_z], d_x, {}),
        ("Mul", [d_x, y], d_x, aligned),
        ("Log", [x], wide, {}),
        ("Mul", [wide, z], wide, {}),
        ("Mul", [wide, d_z], wide if broadcast else d_y, {}),
    ]
    if broadcast:
        steps.append(("SumReduceLike", [wide, y], d_y, place))
    for op, inputs, output, args in steps:
        g.emit(op, inputs, [output], args, copy=False)


def batch_mat_mul(g: GradientMaker) -> None:
    """Two products; which operand is transposed follows from ``trans_a`` and ``trans_b``."""
    if g.arg("broadcast", 0):
        g.fail("Caffe2 has no gradient of BatchMatMul with broadcast=1", "expand the smaller operand first")
    hint = {"use_scratch": 1} if "use_scratch" in g.call.args else {}
    for left, right, result, args in _products(g):
        transposed = {k: v for k, v in args.items() if k.startswith("trans")}
        g.emit("BatchMatMul", [left, right], [result], {**transposed, **hint}, copy=False)


def mat_mul(g: GradientMaker) -> None:
    """As BatchMatMul; a third operand gives the shape. Caffe2 keeps the axes of A and B as truth values: 0 or 1."""
    for i, (left, right, result, args) in enumerate(_products(g)):
        g.emit("MatMul", [left, right, g.input(i)], [result], args, copy=False)


def _products(g: GradientMaker) -> list[tuple[str, str, str, dict[str, int]]]:
    """(left, right, result, arguments) of dA and dB of A * B; axes beside an operand that is A or B itself."""
    a, b, d_y, d_a, d_b = g.input(0), g.input(1), g.d_output(0), g.d_input(0), g.d_input(1)
    axis_a, axis_b = (int(bool(g.arg(name, 1))) for name in ("axis_a", "axis_b"))
    left_b, right_b = {"axis_a": axis_b}, {"axis_b": axis_b}
    left_a, right_a = {"axis_a": axis_a}, {"axis_b": axis_a}
    if g.arg("trans_a", 0) and g.arg("trans_b", 0):
        both = {"trans_a": 1, "trans_b": 1}
        return [(b, d_y, d_a, both | left_b), (d_y, a, d_b, both | right_a)]
    if g.arg("trans_a", 0):
        return [(b, d_y, d_a, {"trans_b": 1} | left_b), (a, d_y, d_b, left_a)]
    if g.arg("trans_b", 0):
        return [(d_y, b, d_a, right_b), (d_y, a, d_b, {"trans_a": 1} | right_a)]
    return [(d_y, b, d_a, {"trans_b": 1} | right_b), (a, d_y, d_b, {"trans_a": 1} | left_a)]


def add_padding(g: GradientMaker) -> None:
    """RemovePadding of the data's gradient; with paddings given, GatherPadding of theirs."""
    inputs = _with_lengths(g)
    g.emit("RemovePadding", inputs, [g.d_input(0)])
    if g.n_inputs >= 3:
        g.emit("GatherPadding", inputs, [g.d_input(i) for i in range(2, g.n_inputs)])


def remove_padding(g: GradientMaker) -> None:
    """AddPadding of the gradient."""
    g.emit("AddPadding", _with_lengths(g), [g.d_input(0)])


def _with_lengths(g: GradientMaker) -> list[str]:
    if g.n_inputs == 1:
        return [g.d_output(0)]
    if g.n_outputs < 2:
        g.fail("lengths go in, but none come out", "name the second output, the lengths")
    return [g.d_output(0), g.output(1)]


def affine_channel(g: GradientMaker) -> None:
    """X is needed only where scale and bias learn."""
    if g.arg("is_learnable", 0):
        g.emit("AffineChannelGradient", [g.d_output(0), g.input(0), g.input(1)], [g.d_input(i) for i in range(3)])
    else:
        g.emit("AffineChannelGradient", [g.d_output(0), g.input(1)], [g.d_input(0)])


def gather(g: GradientMaker) -> None:
    """Along axis 0 sparse, unless ``dense_gradient``; along others BatchGatherGradient."""
    axis, dense = g.arg("axis", 0), bool(g.arg("dense_gradient", 0))
    if axis:
        if "dense_gradient" in g.call.args and not dense:
            g.fail(f"the gradient along axis {axis} is dense", "set dense_gradient=1, or remove it")
        g.emit("BatchGatherGradient", [g.input(0), g.input(1), g.d_output(0)], [g.d_input(0)])
    elif dense:
        g.emit("SparseToDense", [g.input(1), g.d_output(0), g.input(0)], [g.d_input(0)])
    else:
        g.d_inputs[0] = (g.input(1), g.d_output(0))


def cast(g: GradientMaker) -> None:
    """Cast back to ``from_type``, which has to be given."""
    if "from_type" not in g.call.args:
        g.fail("argument 'from_type' is required to get the gradient of Cast", "give from_type, the type of the input")
    args = {"to": g.arg("from_type"), "from_type": g.arg("to")}
    g.emit("Cast", [g.d_output(0)], [g.d_input(0)], args, copy=False)


def concat(g: GradientMaker) -> None:
    """Split by the sizes in output 1."""
    if g.d_outputs[0] is not None:
        g.emit("Split", [g.d_output(0), g.output(1)], [g.d_input(i) for i in range(g.n_inputs)])


def split(g: GradientMaker) -> None:
    """Concat of the gradients that there are."""
    given = [g.d_output(i) for i, d in enumerate(g.d_outputs) if d is not None]
    if given:
        d_x = g.d_input(0)
        g.emit("Concat", given, [d_x, f"_{d_x}_dims"])


def padded_dot_product(g: GradientMaker) -> None:
    """The two arguments are always written, with their defaults."""
    args = {"pad_value": float(g.arg("pad_value", 0.0)), "replicate": int(g.arg("replicate", 0))}
    operands = [g.input(0), g.input(1), g.d_output(0)]
    g.emit("DotProductWithPaddingGradient", operands, [g.d_input(0), g.d_input(1)], args, copy=False)


def dropout(g: GradientMaker) -> None:
    """The mask is there in training only."""
    mask = [] if g.arg("is_test", 0) else [g.output(1)]
    g.emit("DropoutGrad", [g.d_output(0), *mask], [g.d_input(0)])


def ensure_dense(g: GradientMaker) -> None:
    """A dense gradient is passed on, a sparse one spread."""
    given = g.d_outputs[0]
    if isinstance(given, tuple):
        g.emit("SparseToDense", [*given, g.input(0)], [g.d_input(0)])
    else:
        g.d_inputs[0] = g.d_output(0)


def gather_by_key(g: GradientMaker) -> None:
    """Partition of the gradient by the keys."""
    outputs = []
    for i in range(1, g.n_inputs):
        d = g.d_input(i)
        outputs += [f"_{d}_keys", d]
    g.emit("Partition", [g.input(0), g.d_output(0)], outputs, {"pack_first_input": 0})


def layer_norm(g: GradientMaker) -> None:
    """gamma's and beta's too, where they are applied."""
    learned = bool(g.arg("elementwise_affine", 0))
    inputs = [g.d_output(0), *(g.output(i) for i in range(3)), g.input(0), *([g.input(1)] if learned else [])]
    g.emit("LayerNormGradient", inputs, [g.d_input(i) for i in range(3 if learned else 1)])


def weighted_lengths(g: GradientMaker) -> None:
    """LengthsWeightedSum and SparseLengthsWeightedSum: that of the weights with ``grad_on_weights`` only."""
    sparse = g.call.type.startswith("Sparse")
    indices = [g.input(2)] if sparse else []
    lengths = g.input(3 if sparse else 2)
    stem = "SparseLengthsIndicesInGradientWeightedSum" if sparse else "LengthsWeightedSum"
    d_data = g.d_values(0, g.input(2)) if sparse else g.d_input(0)
    if g.arg("grad_on_weights", 0):
        inputs = [g.input(1), g.d_output(0), lengths, g.input(0), *indices]
        g.emit(f"{stem}WithMainInputGradient", inputs, [d_data, g.d_input(1)])
    else:
        g.emit(f"{stem}Gradient", [g.input(1), g.d_output(0), lengths, *indices], [d_data])


def weighted_segments(g: GradientMaker) -> None:
    """SortedSegmentWeightedSum and its kin; Caffe2 has no gradient of the weights."""
    if g.arg("grad_on_weights", 0):
        g.fail("Caffe2 has no gradient of the weights of segments", "remove grad_on_weights")
    sparse = g.call.type.startswith("Sparse")
    d_data = g.d_values(0, g.input(2)) if sparse else g.d_input(0)
    segments = g.input(3 if sparse else 2)
    g.emit(f"{g.call.type.removeprefix('Sparse')}Gradient", [g.input(1), g.d_output(0), segments], [d_data])


def merged_features(width: int, kept: tuple[int, ...], values: int, output: int) -> Maker:
    """Merge...FeatureTensors, whose inputs come ``width`` at a time: the gradient reads those at ``kept`` of each.

    values: which of them has a gradient; output: the one whose gradient it is made from.
    """

    def rule(g: GradientMaker) -> None:
        groups = range(0, g.n_inputs, width)
        inputs = [g.input(first + k) for first in groups for k in kept]
        g.emit(f"{g.call.type}Gradient", [*inputs, g.d_output(output)], [g.d_input(k + values) for k in groups])

    return rule


def transpose(g: GradientMaker) -> None:
    """Transpose by the inverse permutation."""
    axes = tuple(g.arg("axes", ()) or ())
    inverse = {"axes": tuple(axes.index(i) for i in range(len(axes)))} if axes else {}
    g.emit("Transpose", [g.d_output(0)], [g.d_input(0)], _changed(g, inverse), copy=False)


def sequence_mask(g: GradientMaker) -> None:
    """The same mask of the gradient, with zeros in place of the fill."""
    g.emit("SequenceMask", [g.d_output(0), *g.call.inputs[1:]], [g.d_input(0)], _changed(g, {"grad": 1}), copy=False)


def _changed(g: GradientMaker, own: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the call, then those of the gradient: the other way round than where they are copied."""
    return {**{name: value for name, value in g.call.args.items() if name not in own}, **own}


def spatial_bn(g: GradientMaker) -> None:
    """Of a batch by the saved statistics, at test time by the stored ones."""
    test = bool(g.arg("is_test", 0))
    statistics = [g.input(3), g.input(4)] if test else [g.output(3), g.output(4)]
    inputs, outputs = [g.input(0), g.input(1), g.d_output(0), *statistics], [g.d_input(i) for i in range(3)]
    if g.arg("num_batches", 1) > 1 and not test:
        inputs += outputs[1:]
    g.emit("SpatialBNGradient", inputs, outputs)


def weighted_sum(g: GradientMaker) -> None:
    """X0 w0 X1 w1 ...: the gradients of all X, then with ``grad_on_w`` those of all w."""
    outputs = [g.d_input(i) for i in range(0, g.n_inputs, 2)]
    if g.arg("grad_on_w", 0):
        outputs += [g.d_input(i) for i in range(1, g.n_inputs, 2)]
    g.emit("WeightedSumGradient", [g.d_output(0), *g.call.inputs], outputs)


def recurrent_network(g: GradientMaker) -> None:
    """The gradients of the input, the parameters and the initial states, from outputs that the call names."""
    with_gradients = tuple(g.arg("outputs_with_grads", ()) or ())
    if not with_gradients:
        g.fail("outputs_with_grads names no output", "list the outputs into which gradients flow")
    learned = [*(g.arg("param", ()) or ()), *(g.arg("initial_recurrent_state_ids", ()) or ())]
    inputs = [*(g.d_output(i) for i in with_gradients), *g.call.inputs, *g.call.outputs]
    g.emit("RecurrentNetworkGradient", inputs, [g.d_input(i) for i in (0, *learned)])


def deformable_convolution(g: GradientMaker) -> None:
    """X, offset, W, bias?: the gradients of the offset, W, bias, and X unless the user says not."""
    biased = g.n_inputs == 4
    outputs = [g.d_input(i) for i in range(1, g.n_inputs)]
    if not g.arg("no_gradient_to_input", 0):
        outputs.append(g.d_input(0))
    inputs = [g.input(0), g.input(1), g.input(2), g.d_output(0)]
    g.emit("DeformConvGradient", inputs, outputs, {} if biased else {"no_bias": 1})
