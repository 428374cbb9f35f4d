"""NetDefs for the tests of memonger, and ways to run them on named blobs that are overwritten, as Caffe2 does.

graphc's importer gives every write a value of its own, so that a blob which is overwritten too early would still be
found there. Here it is gone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.caffe2.proto import caffe2_pb2
from graphc.operators import Int8Tensor, run_operator

Blobs = dict[str, Any]


def net(text: str, inputs: str = "", outputs: str = "", type: str = "") -> Any:
    """A NetDef from lines like ``Sum a b -> c``."""
    message = caffe2_pb2.NetDef(type=type, external_input=inputs.split(), external_output=outputs.split())
    for line in filter(str.strip, text.splitlines()):
        left, right = line.split("->")
        message.op.add(type=left.split()[0], input=left.split()[1:], output=right.split())
    return message


def lines(message: Any) -> list[str]:
    """The operators as ``net`` takes them."""
    return [f"{op.type} {' '.join(op.input)} -> {' '.join(op.output)}" for op in message.op]


def count_blobs(message: Any) -> int:
    """How many names there are among inputs and outputs."""
    return len({b for op in message.op for b in (*op.input, *op.output)})


def random_net(r: random.Random, n: int, type: str = "") -> Any:
    """A net with branches, in-place operators, blobs that are written anew, inputs read twice, unread results."""
    message = caffe2_pb2.NetDef(type=type, external_input=["in0", "in1"])
    blobs = ["in0", "in1"]
    for i in range(n):
        reads = [r.choice(blobs[-6:] if r.random() < 0.8 else blobs) for _ in range(r.randint(1, 3))]
        writes = [f"b{i}"]
        if r.random() < 0.15 and reads[0] not in message.external_input:
            writes = [reads[0]]
        elif r.random() < 0.08 and len(blobs) > 4:
            writes = [r.choice(blobs[2:])]
        if r.random() < 0.15:
            writes.append(f"c{i}")
        message.op.add(type=f"Op{r.randrange(3)}", input=reads, output=writes)
        blobs += [b for b in writes if b not in blobs]
    if r.random() < 0.7:
        message.external_output.extend(r.sample(blobs[2:], min(2, len(blobs) - 2)))
    return message


def must_follow(message: Any) -> list[set[int]]:
    """Per operator all earlier ones that it has a blob in common with which one of the two writes."""
    found = []
    for j, b in enumerate(message.op):
        waits = set()
        for i in range(j):
            a = message.op[i]
            if {*a.output} & {*b.input, *b.output} or {*a.input} & {*b.output}:
                waits.add(i)
        found.append(waits)
    return found


def random_order(r: random.Random, waits: Sequence[set[int]]) -> list[int]:
    """A random order in which each operator comes after those that it waits for."""
    order: list[int] = []
    left = set(range(len(waits)))
    while left:
        done = set(order)
        i = r.choice(sorted(i for i in left if waits[i] <= done))
        order.append(i)
        left.remove(i)
    return order


class Trace:
    """A run in which a value is the text of its computation; values are equal where all that led to them is."""

    def __init__(self, message: Any, order: Iterable[int] | None = None) -> None:
        self.blobs: dict[str, int] = {}
        self.inputs: dict[int, list[int]] = {}
        for i in range(len(message.op)) if order is None else order:
            op = message.op[i]
            read = [self.blobs.get(b, hash(("outside", b))) for b in op.input]
            self.inputs[i] = read
            if op.type == "Free":
                for b in op.output:
                    self.blobs[b] = hash(("freed", b))
            else:
                self.blobs.update({b: hash((i, k, tuple(read))) for k, b in enumerate(op.output)})


def last_values(message: Any, names: Iterable[str]) -> list[int | None]:
    """What blobs hold after a run in order."""
    trace = Trace(message)
    return [trace.blobs.get(name) for name in names]


def run(message: Any, blobs: Mapping[str, Any], order: Iterable[int] | None = None) -> Blobs:
    """The blobs after a run of graphc's reference interpreter, one operator at a time, in the order given."""
    held = dict(blobs)
    for i in range(len(message.op)) if order is None else order:
        op = message.op[i]
        if op.type == "Free":
            for b in op.output:
                del held[b]
            continue
        held.update(zip(op.output, run_operator(op, [held[b] for b in op.input], "reference")))
    return held


def bits(value: Any) -> tuple[Any, ...]:
    """What two values have in common exactly where they are equal bit by bit."""
    if isinstance(value, Int8Tensor):
        return (*bits(value.data), value.scale, value.zero_point)
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes() if array.dtype != object else tuple(array.ravel())


def renamings(before: Any, after: Any) -> Iterator[tuple[str, str]]:
    """(old name, new name) of every input and output that has another one."""
    for a, b in zip(before.op, after.op):
        yield from ((x, y) for x, y in zip((*a.input, *a.output), (*b.input, *b.output)) if x != y)
