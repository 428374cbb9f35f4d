"""Weights for a net that comes without any: shapes by solving for the open channel counts, values from a seed.

The net's operators are inferred in order. Each weight takes its shape from the input beside it, with a symbol for the
count that it leaves open; operators that tie counts together (sums, groups, shuffles, boxes) leave equations. Solved,
they give every count a number, and a second walk the shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from graphc.frontends.netdef import Net, Operator
from graphc.ir import DType, Graph, Node, TensorType, Value
from graphc.ir.infer import infer_node
from graphc.ir.types import Dim, Quant, Sym

WIDTH = 8
"""The least number that is chosen for an open count."""
INT8_ZERO = 128


@dataclass
class Made:
    """Types and roles of the weights met so far, in order, and what is known about the open counts.

    counts: the numbers of the symbols, empty on the first walk. equal: dimensions that are the same number.
    factors: what a symbol's number has to be a multiple of.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    equal: list[tuple[Dim, Dim]] = field(default_factory=list)
    factors: list[tuple[Dim, int]] = field(default_factory=list)

    def open_count(self, weight: Value, multiple: int = 1) -> Dim:
        """The count that a weight leaves open: its number once known, else a symbol of its own."""
        symbol = Sym(f"count_{len(self.types)}_of_" + re.sub(r"\W", "_", weight.name))
        self.factors.append((symbol, multiple))
        return self.counts.get(symbol.text, symbol)

    def give(self, weight: Value | None, role: str, type: TensorType) -> None:
        """A type for a weight that has none yet."""
        if weight is not None and weight.type.shape is None and weight.producer is None:
            weight.type = type
            self.types[weight.name], self.roles[weight.name] = type, role

    def vectors(self, node: Node, roles: str, length: Dim) -> None:
        """Float vectors for the operands after the first, by their roles."""
        for weight, role in zip(node.operands[len(node.operands) - len(roles.split()) :], roles.split()):
            self.give(weight, role, TensorType(DType.FLOAT, (length,)))

    def walk(self, graph: Graph) -> None:
        """Infer every node, sub-graphs included, after giving types to its weights."""
        for node in graph.nodes:
            rule = RULES.get(node.op.partition("_ENGINE_")[0])
            if rule is not None:
                rule(self, node)
            infer_node(node)


def made_types(load: Callable[[], Graph], width: int = WIDTH) -> Made:
    """The weights of a graph in which only the data inputs have types. load: gives a new copy of the graph."""
    opened = Made()
    opened.walk(load())
    solved = Made(_solve(opened, width))
    solved.walk(load())
    return solved


# ---- equations -------------------------------------------------------------------------------------------------------


def _names(dim: Dim) -> list[str]:
    return re.findall(r"count_\w+", dim.text) if isinstance(dim, Sym) else []


def _solve(made: Made, width: int) -> dict[str, int]:
    """A number for every symbol: those that the equations leave free get the least multiple that is not below width."""
    bound: dict[str, Dim] = {}
    for pair in made.equal:
        left, right = (_followed(bound, dim) for dim in pair)
        for one, other in ((left, right), (right, left)):
            if left != right and isinstance(one, Sym) and [one.text] == _names(one) and one.text not in _names(other):
                bound[one.text] = other
                break
    factors: dict[str, int] = {}
    for dim, factor in made.factors:
        for leaf in _leaves(bound, dim):
            factors[leaf] = math.lcm(factors.get(leaf, 1), factor)
    free = {leaf: -(-width // factor) * factor for leaf, factor in factors.items()}
    return {name: _number(bound, free, Sym(name)) for dim, _ in made.factors for name in _names(dim)}


def _followed(bound: Mapping[str, Dim], dim: Dim) -> Dim:
    while isinstance(dim, Sym) and dim.text in bound:
        dim = bound[dim.text]
    return dim


def _leaves(bound: Mapping[str, Dim], dim: Dim) -> Iterator[str]:
    for name in _names(_followed(bound, dim)):
        if name in bound:
            yield from _leaves(bound, Sym(name))
        else:
            yield name


def _number(bound: Mapping[str, Dim], free: Mapping[str, int], dim: Dim) -> int:
    found = _followed(bound, dim)
    if isinstance(found, int):
        return found
    if found.text in free:
        return free[found.text]
    return int(eval(found.text, {}, {name: _number(bound, free, Sym(name)) for name in _names(found)}))


# ---- operators -------------------------------------------------------------------------------------------------------

Rule = Callable[[Made, Node], None]


def _type(node: Node, i: int) -> TensorType:
    value = node.operands[i]
    assert value is not None
    return value.type


def _dims(node: Node, i: int) -> tuple[Dim, ...]:
    shape = _type(node, i).shape
    assert shape is not None, f"{node.op}: input {i} has no shape"
    return shape


def _weight(node: Node, i: int = 1) -> Value:
    value = node.operands[i]
    assert value is not None
    return value


def _product(dims: tuple[Dim, ...]) -> Dim:
    return reduce(lambda a, b: b if a == 1 else a * b, dims, 1)


def _kernel(node: Node) -> tuple[int, ...]:
    given = node.attrs.get("kernels")
    return tuple(given) if given else (int(node.attrs["kernel"]),) * (len(_dims(node, 0)) - 2)


def _conv(made: Made, node: Node) -> None:
    group = int(node.attrs.get("group", 1))
    channels = _dims(node, 0)[1]
    made.factors.append((channels, group))
    maps = made.open_count(_weight(node), group)
    made.give(_weight(node), "weight", TensorType(DType.FLOAT, (maps, channels // group, *_kernel(node))))
    if len(node.operands) > 2:
        made.vectors(node, "bias", maps)


def _transposed(made: Made, node: Node) -> None:
    maps = made.open_count(_weight(node))
    made.give(_weight(node), "weight", TensorType(DType.FLOAT, (_dims(node, 0)[1], maps, *_kernel(node))))
    made.vectors(node, "bias", maps)


def _fc(made: Made, node: Node) -> None:
    x, rows = _dims(node, 0), made.open_count(_weight(node))
    ones = (1,) * (int(node.attrs.get("axis_w", 1)) - 1)
    shape = (*ones, rows, _product(x[int(node.attrs.get("axis", 1)) :]))
    made.give(_weight(node), "weight", TensorType(DType.FLOAT, shape))
    made.vectors(node, "bias", rows)


def _matmul(made: Made, node: Node) -> None:
    columns = made.open_count(_weight(node))
    shape = (columns, _product(_dims(node, 0)[1:]))
    assert node.attrs.get("trans_b")
    made.give(_weight(node), "weight", TensorType(DType.FLOAT, shape))


def _norm(made: Made, node: Node) -> None:
    made.vectors(node, "scale bias bias variance", _dims(node, 0)[1])


def _same(made: Made, node: Node) -> None:
    """Operands of one shape. An unknown one is a factor or summand for each channel: along ``axis`` where it is given,
    else in front of the dimensions of the image, as exporters from ONNX write it.
    """
    x = _dims(node, 0)
    along = (x[node.attrs["axis"]],) if "axis" in node.attrs else (x[1], *(1 for _ in x[2:]))
    for i in range(1, len(node.operands)):
        made.give(_weight(node, i), "scale" if node.op == "Mul" else "bias", TensorType(DType.FLOAT, along))
        if len(_dims(node, i)) == len(x):
            made.equal += zip(x, _dims(node, i))


def _shuffle(made: Made, node: Node) -> None:
    made.factors.append((_dims(node, 0)[1], int(node.attrs["group"])))


def _proposals(made: Made, node: Node) -> None:
    anchors = _dims(node, 0)[1]
    made.equal.append((_dims(node, 1)[1], anchors * 4))
    made.give(_weight(node, 3), "anchors", TensorType(DType.FLOAT, (anchors, 4)))


def _limit(made: Made, node: Node) -> None:
    made.equal.append((_dims(node, 1)[1], _dims(node, 0)[1] * 4))


def _int8_product(made: Made, node: Node, shape: tuple[Dim, ...], maps: Dim) -> None:
    """A weight whose scale brings the sums into the range of the result, and a bias of the scale that follows."""
    x = _type(node, 0).quant
    assert x is not None
    depth = _product(shape[1:])
    scale = 0.025 * float(node.attrs["Y_scale"]) / (x.scale * math.sqrt(depth if isinstance(depth, int) else 64))
    scale = float(np.float32(scale))
    made.give(_weight(node), "int8", TensorType(DType.UINT8, shape, quant=Quant(scale, INT8_ZERO)))
    bias = Quant(float(np.float32(x.scale) * np.float32(scale)), 0)
    made.give(_weight(node, 2), "int8 bias", TensorType(DType.INT32, (maps,), quant=bias))


def _int8_conv(made: Made, node: Node) -> None:
    group = int(node.attrs.get("group", 1))
    channels = _dims(node, 0)[3]
    made.factors.append((channels, group))
    maps = made.open_count(_weight(node), group)
    _int8_product(made, node, (maps, *_kernel(node), channels // group), maps)


def _int8_fc(made: Made, node: Node) -> None:
    rows = made.open_count(_weight(node))
    _int8_product(made, node, (rows, _product(_dims(node, 0)[1:])), rows)


def _lstm_unit(made: Made, node: Node) -> None:
    made.equal.append((_dims(node, 2)[-1], _dims(node, 0)[-1] * 4))


def _branches(made: Made, node: Node) -> None:
    """Sub-graphs that share the operator's last operands."""
    for inner in node.subgraphs():
        outer = node.operands[len(node.operands) - len(inner.inputs) :]
        for v, o in zip(inner.inputs, outer):
            v.type = o.type if o is not None else TensorType()
        made.walk(inner)
        for v, o in zip(inner.inputs, outer):
            if o is not None and o.type.shape is None:
                o.type = v.type


def _recurrent(made: Made, node: Node) -> None:
    """The step net sees the operator's operands under their names, sequences and states as slices."""
    infer_node(node)
    step = node.attrs["step_net"]
    assert isinstance(step, Graph)
    made.walk(step)
    inner = {v.name: v.type for v in step.inputs}
    for o in node.operands:
        if o is not None and o.type.shape is None:
            o.type = inner[o.name]


RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "FC": _fc,
    "MatMul": _matmul,
    "SpatialBN": _norm,
    "Add": _same,
    "Mul": _same,
    "Sum": _same,
    "Int8Sum": _same,
    "Int8SumRelu": _same,
    "ChannelShuffle": _shuffle,
    "GenerateProposals": _proposals,
    "BoxWithNMSLimit": _limit,
    "Int8Conv": _int8_conv,
    "Int8ConvRelu": _int8_conv,
    "Int8FC": _int8_fc,
    "LSTMUnit": _lstm_unit,
    "If": _branches,
    "RecurrentNetwork": _recurrent,
}


# ---- values ----------------------------------------------------------------------------------------------------------


def made_values(made: Made, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded elements of every weight: sums keep the size of what they add up, boxes are of several shapes."""
    rng = np.random.default_rng(seed)
    return {name: _values(rng, made.roles[name], type) for name, type in made.types.items()}


def _values(rng: np.random.Generator, role: str, type: TensorType) -> np.ndarray:
    shape = type.static_shape
    if role == "anchors":
        sides = rng.uniform(24, 72, (shape[0], 2))
        return np.concatenate([-sides / 2, sides / 2], axis=1).astype(np.float32)
    if role == "int8":
        return np.clip(rng.normal(INT8_ZERO, 40, shape), 0, 255).astype(np.uint8)
    if role == "int8 bias":
        assert type.quant is not None
        return (rng.normal(0, 2000, shape)).astype(np.int32)
    normal = rng.standard_normal(shape)
    return np.asarray(
        {
            "weight": normal / math.sqrt(max(math.prod(shape[1:]), 1)),
            "bias": normal * 0.1,
            "scale": 1 + normal * 0.1,
            "variance": 1 + np.abs(normal) * 0.1,
        }[role],
        np.float32,
    )


def init_net(made: Made, values: Mapping[str, np.ndarray]) -> Net:
    """The net that fills the weights."""
    return Net(
        "made_weights", [_fill(name, type, values[name]) for name, type in made.types.items()], [], [*made.types]
    )


def _fill(name: str, type: TensorType, array: np.ndarray) -> Operator:
    args = {"shape": array.shape, "values": array.ravel()}
    if type.quant is None:
        return Operator("GivenTensorFill", [], [name], args)
    args |= {"Y_scale": type.quant.scale, "Y_zero_point": type.quant.zero_point}
    if array.dtype == np.int32:
        return Operator("Int8GivenIntTensorFill", [], [name], args)
    return Operator("Int8GivenTensorFill", [], [name], args | {"values": array.tobytes()})
