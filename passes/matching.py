"""Questions that passes ask of graphs, and the few edits that several passes share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir import UNKNOWN, Attr, Call, Dim, DType, Graph, Node, TensorType, Trait, Value
from graphc.ir.opdef import aligned_shape


def traits_of(node: Node) -> Trait:
    """The traits of a call: its operator's, and those that its arguments give it."""
    return node.opdef.traits_of(Call(node))


def is_output(graph: Graph, value: Value) -> bool:
    """The value is an output of the graph."""
    return any(v is value for v in graph.outputs)


def only_user(graph: Graph, value: Value) -> Node | None:
    """The one node that reads the value, in one slot or several; None if there are more or none, or it is an output."""
    users = value.users
    return users[0] if len(users) == 1 and not is_output(graph, value) else None


def sole_use(graph: Graph, value: Value) -> tuple[Node, int] | None:
    """The one operand slot that reads the value, None if there is not exactly one or the value is a graph output."""
    return next(iter(value.uses)) if len(value.uses) == 1 and not is_output(graph, value) else None


def unused_but_first(graph: Graph, node: Node) -> bool:
    """Nobody reads a result of ``node`` other than the first."""
    return not any(r.uses or is_output(graph, r) for r in node.results[1:])


def known_shape(type: TensorType) -> tuple[Dim, ...] | None:
    """The shape where every dimension is an int or a named symbol, else None: only such shapes can be compared."""
    return None if type.shape is None or UNKNOWN in type.shape else type.shape


def same_shape(a: TensorType, b: TensorType) -> bool:
    """Both shapes are known and equal."""
    shape = known_shape(a)
    return shape is not None and shape == b.shape


def is_float(value: Value | None) -> bool:
    """The operand is present and float32."""
    return value is not None and value.type.dtype is DType.FLOAT


def channel_axis(call: Call) -> int:
    """The channel dimension by the ``order`` argument: 1, or the last of NHWC (as a negative number)."""
    return -1 if call.opdef.has_arg("order") and call.arg("order") == "NHWC" else 1


def broadcast_kind(call: Call, i: int, shape: tuple[Dim, ...], axis: int) -> str:
    """How operand ``i`` of a pointwise call spreads over a result of ``shape``.

    ``full``: it has the shape. ``scalar``: one element. ``channel``: one element per index of ``axis``.
    ``other``: something else, or not known. A constant of one of these shapes that is the full shape too, because all
    other dimensions happen to be 1, is not called full.
    """
    is_full = call.type(i).shape == shape and UNKNOWN not in shape
    operand = call.node.operands[i]
    if is_full and (operand is None or not operand.is_constant):
        return "full"
    narrow = _narrow_kind(aligned_shape(call, i), shape, axis)
    return "full" if is_full and narrow == "other" else narrow


def _narrow_kind(aligned: tuple[Dim, ...] | None, shape: tuple[Dim, ...], axis: int) -> str:
    if aligned is None or UNKNOWN in aligned or len(aligned) > len(shape):
        return "other"
    padded = (1,) * (len(shape) - len(aligned)) + tuple(aligned)
    axis %= len(shape) or 1
    wide = [k for k, d in enumerate(padded) if d != 1]
    if not wide:
        return "scalar"
    return "channel" if wide == [axis] and padded[axis] == shape[axis] else "other"


def channel_vector(call: Call, i: int, shape: tuple[Dim, ...], axis: int) -> np.ndarray | None:
    """Operand ``i`` as one float64 per channel, where it is a float constant that is per channel or one element."""
    data = call.constant(i)
    channels = shape[axis] if shape else 1
    if data is None or data.dtype != np.float32 or not isinstance(channels, int):
        return None
    if broadcast_kind(call, i, shape, axis) not in ("scalar", "channel"):
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,))


def fresh_constant(graph: Graph, name: str, data: np.ndarray) -> Value:
    """A new constant whose name, made unique by a number, no other constant has."""
    taken = {c.name for c in graph.constants}
    unique, n = name, 1
    while unique in taken:
        n += 1
        unique = f"{name}_{n}"
    return graph.add_constant(unique, data)


def make_node(
    op: str, operands: Sequence[Value | None], type: TensorType, like: Node, attrs: dict[str, Attr] | None = None
) -> Node:
    """A node, not in a graph yet, with one result of ``type``; its name, location and device are those of ``like``."""
    result = Value(type, like.results[0].name)
    return Node(op, list(operands), [result], dict(attrs or {}), like.location, like.engine, like.device)


def absorb(graph: Graph, node: Node, follower: Node) -> None:
    """Let ``node``, whose result 0 only ``follower`` reads, stand for both: it takes over result 0, place and location.

    The caller has already given ``node`` the operands and attributes that make its result 0 what ``follower`` computes.
    """
    old, new = follower.results[0], node.results[0]
    new.name, new.type = old.name, old.type
    node.location = node.location.join(follower.location)
    follower.set_operands([])
    graph.replace(old, new)
    move_to(graph, node, follower)
    graph.erase(follower)


def move_to(graph: Graph, node: Node, anchor: Node) -> None:
    """Move ``node`` in front of ``anchor``."""
    graph.nodes.remove(node)
    graph.insert_before(anchor, node)
