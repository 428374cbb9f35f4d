"""Random graphs for properties that hold of every graph: odd names, all kinds of arguments, graphs in graphs."""

from __future__ import annotations

import random
import struct

import numpy as np

from graphc.ir import DType, Graph, Layout, Location, Node, Origin, Quant, Sym, TensorType, Value
from graphc.ir.attrs import Attr

NAMES = (
    "x",
    "x",
    "conv1",
    "res2a/branch 1",
    "a#1",
    "#",
    "_",
    "",
    "-",
    "é",
    '"',
    "\\",
    "%y",
    "gpu_0/fc.w:0",
    "\n",
    "//",
)


def random_graph(r: random.Random, depth: int = 2) -> Graph:
    """A graph that text has to keep; its operators need not exist."""
    g = Graph(name(r), r.choice(("imported", "typed", "optimised")))
    g.notes = [name(r) for _ in range(r.randrange(3))]
    for _ in range(r.randrange(4)):
        g.add_input(type_(r), name(r))
    for _ in range(r.randrange(5)):
        constant(r, g)
    for _ in range(r.randrange(8)):
        node(r, g, depth)
    values = list(g.values())
    for _ in range(r.randrange(4)):
        if values:
            g.add_output(r.choice(values), r.choice(("", name(r))))
    return g


def node(r: random.Random, g: Graph, depth: int) -> None:
    values = [*g.values(), None]
    operands = [r.choice(values) for _ in range(r.randrange(5))]
    results = [Value(type_(r), name(r)) for _ in range(r.randrange(4))]
    attrs: dict[str, Attr] = {name(r): attr(r, depth) for _ in range(r.randrange(4))}
    origins = tuple(Origin(name(r), r.randrange(-1, 99), name(r), name(r)) for _ in range(r.randrange(3)))
    op = r.choice(("Relu", "g.pointwise", "odd op", "input"[::-1]))
    g.append(Node(op, operands, results, attrs, Location(origins), r.choice(("", "CUDNN")), r.choice(("", "cuda:0"))))


def name(r: random.Random) -> str:
    if r.random() < 0.8:
        return r.choice(NAMES)
    return bytes(r.randrange(256) for _ in range(r.randrange(6))).decode("utf-8", "surrogateescape")


def type_(r: random.Random) -> TensorType:
    if r.random() < 0.2:
        return TensorType()
    dims = (r.randrange(99), Sym("N"), Sym("?"), Sym("N") * 2 + 1, (Sym("H") + 1) // 2)
    shape = None if r.random() < 0.2 else tuple(r.choice(dims) for _ in range(r.randrange(5)))
    quant = Quant(r.random(), r.randrange(256)) if r.random() < 0.2 else None
    return TensorType(r.choice((None, *DType)), shape, Layout(r.choice((1, 8, 16))), quant)


def float_(r: random.Random) -> float:
    if r.random() < 0.3:
        return r.choice((0.0, -0.0, 0.1, float("inf"), -float("inf"), float("nan"), 1e300, 5e-324))
    if r.random() < 0.5:
        return r.uniform(-1e3, 1e3)
    return float(struct.unpack("<f", r.randbytes(4))[0])


def attr(r: random.Random, depth: int) -> Attr:
    makers = [lambda: r.randrange(-(2**63), 2**63), lambda: float_(r), lambda: r.randbytes(r.randrange(9))]
    make = r.choice([*makers, lambda: random_graph(r, depth - 1)] if depth else makers)
    return tuple(make() for _ in range(r.randrange(4))) if r.random() < 0.4 else make()  # type: ignore[return-value]


def constant(r: random.Random, g: Graph) -> None:
    known = [v.constant for v in g.constants]
    if known and r.random() < 0.2:
        shared = r.choice(known)
        assert shared is not None
        g.constants.append(Value(shared.type, name(r), shared))
        return
    shape = tuple(r.randrange(5) for _ in range(r.randrange(4)))
    dtype = r.choice([d for d in DType if d is not DType.STRING]).numpy
    size = int(np.prod(shape)) * dtype.itemsize
    data = np.frombuffer(bytes(r.randrange(2) for _ in range(size)) if dtype.kind == "b" else r.randbytes(size), dtype)
    if r.random() < 0.2:
        data = np.array([r.randbytes(3) for _ in range(int(np.prod(shape)))], object)
    g.add_constant(name(r), data.reshape(shape))
