"""Operators that only move elements: views, Concat, Split, Slice, Transpose, Tile, Expand, changes of layout.

The same for every target: ``movement_rules`` gives the rules for a target's ways to copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from graphc.backends.needs import nothing
from graphc.backends.rules import Rule
from graphc.ir.opdef import Call
from graphc.ir.ops.tensor.parts import join_axis
from graphc.ir.ops.tensor.shape import channels_last_order
from graphc.ir.ops.tensor.slices import slice_bounds
from graphc.ir.schedule import Address, Choice, Needs, Step, Task, View

Order = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Copier:
    """How a target copies: two functions that give a task and raise ``LoweringError`` for what the target cannot.

    between(source, target): between views of one logical shape, changing the layout where they differ.
    strided(sizes, target, source, places, size): elements of ``size`` bytes by strides in elements; places: of target
    and source.
    """

    between: Callable[[View, View], Task]
    strided: Callable[[Order, Order, Order, tuple[Address, Address], int], Task]


Bind = Callable[[Call, Sequence[View], Sequence[View], Copier], list[Step]]


def _later_results_unread(call: Call) -> bool:
    """Nobody reads a result but the first: the others (old_shape, split_info) are known without running anything."""
    graph = call.node.graph
    outputs = graph.outputs if graph is not None else []
    return not any(r.uses or any(v is r for v in outputs) for r in call.node.results[1:])


def _mover(
    name: str, ops: tuple[str, ...], bind: Bind, copier: Callable[[T], Copier], fits: Callable[[Call], bool]
) -> Rule[T]:
    """A rule whose steps need neither packing nor memory. Its operands may have any strides."""
    return Rule(
        name,
        ops,
        lambda call, target: Choice(name) if fits(call) else None,
        nothing,
        lambda call, choice, ins, outs, workspace, target: bind(
            call, [v for v in ins if v is not None], outs, copier(target)
        ),
    )


def _copy(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
    return [(copier.between(ins[0], outs[0]),)]


def _part(view: View, axis: int, start: int, size: int) -> View:
    """Elements start .. start + size of one dimension; in a blocked layout whole blocks of channels."""
    shape = list(view.type.static_shape)
    shape[axis] = size
    itemsize = view.type.dtype.itemsize if view.type.dtype else 4
    steps = start // view.type.layout.block if axis == 1 and view.type.rank == 4 else start
    address = view.address.plus(steps * view.strides[axis] * itemsize)
    return View(address, replace(view.type, shape=tuple(shape)), view.strides, False)


def _with_axis(view: View, axis: int) -> View:
    """The same elements with a new dimension of one at ``axis``."""
    shape = view.type.static_shape
    type = replace(view.type, shape=(*shape[:axis], 1, *shape[axis:]))
    return View(view.address, type, (*view.strides[:axis], 1, *view.strides[axis:]), view.dense)


def _move(source: View, result: View, copier: Copier) -> Step:
    """Copy between plain views of equal shape and any strides."""
    itemsize = source.type.dtype.itemsize if source.type.dtype else 4
    places = (result.address, source.address)
    return (copier.strided(result.type.static_shape, result.strides, source.strides, places, itemsize),)


def _either(source: View, result: View, copier: Copier) -> Step:
    if source.type.rank == 4:
        return (copier.between(source, result),)
    return _move(source, result, copier)


def _concat(call: Call, ins: Sequence[View | None], outs: Sequence[View], copier: Copier) -> list[Step]:
    """One task a piece; lowering gives None for a piece that lies in the result already."""
    new_axis = bool(call.arg("add_axis"))
    axis, start = join_axis(call, outs[0].type.rank or 0), 0
    tasks: list[Task] = []
    for i, piece in enumerate(ins):
        size = 1 if new_axis else call.type(i).static_shape[axis]
        if piece is not None and size:
            whole = _with_axis(piece, axis) if new_axis else piece
            part = _part(outs[0], axis, start, size)
            tasks += _either(whole, part, copier) if whole.type.layout == part.type.layout else ()
        start += size
    return [tuple(tasks)] if tasks else []


def _split(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
    axis, single = join_axis(call, ins[0].type.rank or 0), call.opdef.has_arg("add_axis") and call.arg("add_axis")
    tasks: list[Task] = []
    start = 0
    for out in outs:
        result = _with_axis(out, axis) if single else out
        size = result.type.static_shape[axis]
        tasks += _move(_part(ins[0], axis, start, size), result, copier)
        start += size
    return [tuple(tasks)]


def _slice(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
    source = ins[0]
    for axis, (start, end) in enumerate(_bounds(call)):
        source = _part(source, axis, start, end - start)
    return [_move(source, outs[0], copier)]


def _bounds(call: Call) -> list[tuple[int, int]]:
    given = (call.constant(i) if call.has(i) else call.arg(name) for i, name in ((1, "starts"), (2, "ends")))
    starts, ends = ([int(x) for x in np.asarray(bounds)] for bounds in given)
    return slice_bounds(call, call.type(0).static_shape, starts, ends)


def _constant_bounds(call: Call) -> bool:
    return not call.has(1) or (call.constant(1) is not None and call.constant(2) is not None)


def _permute(order: Callable[[Call], Order]) -> Bind:
    """A transposition: output dimension i is input dimension order[i]."""

    def bind(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
        turned = View(ins[0].address, outs[0].type, tuple(ins[0].strides[i] for i in order(call)), False)
        return [_move(turned, outs[0], copier)]

    return bind


def _axes(call: Call) -> Order:
    rank = call.type(0).rank or 0
    given = tuple(call.arg("axes"))
    return tuple(a % rank for a in given) if given else tuple(reversed(range(rank)))


def _channels_order(call: Call) -> Order:
    return channels_last_order(call, call.type(0).rank or 0)


def _tile(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
    """The dimension is the one that grew; elements of inputs are not known here. The copies are a dimension more."""
    source, result = ins[0], outs[0]
    shape, grown = source.type.static_shape, result.type.static_shape
    if 0 in grown:
        return []
    axis = next((d for d, (old, new) in enumerate(zip(shape, grown)) if old != new), 0)
    copies, step = grown[axis] // shape[axis], shape[axis] * result.strides[axis]
    task = copier.strided(
        (*shape[:axis], copies, *shape[axis:]),
        (*result.strides[:axis], step, *result.strides[axis:]),
        (*source.strides[:axis], 0, *source.strides[axis:]),
        (result.address, source.address),
        source.type.dtype.itemsize if source.type.dtype else 4,
    )
    return [(task,)]


def _expand(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
    """Dimensions that are new, or grew from 1, stand still in the source."""
    shape, strides, grown = ins[0].type.static_shape, ins[0].strides, outs[0].type.static_shape
    new = len(grown) - len(shape)
    kept = tuple(stride if old == size else 0 for old, size, stride in zip(shape, grown[new:], strides))
    turned = View(ins[0].address, outs[0].type, (0,) * new + kept, False)
    return [_move(turned, outs[0], copier)] if outs[0].type.size else []


def _shuffle(call: Call, ins: Sequence[View], outs: Sequence[View], copier: Copier) -> list[Step]:
    """Output channel c * group + g is channel c of group g: a copy with two dimensions for the channels."""
    (n, c, h, w), group = ins[0].type.static_shape, int(call.arg("group"))
    source, result = ins[0].strides, outs[0].strides
    task = copier.strided(
        (n, group, c // group, h, w),
        (result[0], result[1], group * result[1], result[2], result[3]),
        (source[0], c // group * source[1], source[1], source[2], source[3]),
        (outs[0].address, ins[0].address),
        4,
    )
    return [(task,)]


def _images(call: Call) -> bool:
    return call.type(0).rank == 4 and call.arg("order") == "NCHW"


def movement_rules(copier: Callable[[T], Copier]) -> tuple[Rule[T], ...]:
    """The rules for a target; copier: its ways to copy, for the description of a target."""
    movers = (
        ("reorder", ("g.reorder",), _copy, _later_results_unread),
        ("identity", ("*identity*",), _copy, _later_results_unread),
        ("split", ("Split", "DepthSplit", "SplitByLengths"), _split, lambda call: True),
        ("slice", ("Slice",), _slice, _constant_bounds),
        ("transpose", ("Transpose",), _permute(_axes), _later_results_unread),
        ("channels", ("NCHW2NHWC", "NHWC2NCHW"), _permute(_channels_order), _later_results_unread),
        ("tile", ("Tile",), _tile, _later_results_unread),
        ("expand", ("Expand",), _expand, lambda call: True),
        ("shuffle", ("ChannelShuffle",), _shuffle, _images),
    )
    return (
        Rule(
            "view",
            # copies between devices: the ports of a segment do it, nothing is left to run inside
            ("*view*", "g.copy_to_card", "g.copy_to_host"),
            lambda call, target: Choice("view") if _later_results_unread(call) else None,
            lambda call, choice, target: Needs(alias=True),
            lambda call, choice, ins, outs, workspace, target: [],
            half=True,
        ),
        Rule(
            "concat",
            ("Concat", "DepthConcat"),
            lambda call, target: Choice("concat") if _later_results_unread(call) else None,
            nothing,
            lambda call, choice, ins, outs, workspace, target: _concat(call, ins, outs, copier(target)),
            half=True,
        ),
        *(_mover(name, ops, bind, copier, fits) for name, ops, bind, fits in movers),
    )
