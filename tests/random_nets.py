"""Random nets of operators that passes move and merge, and that share memory in every way that lowering knows."""

from __future__ import annotations

import random

import numpy as np

from graphc.ir import Graph, TensorType, Value
from graphc.ir.builder import Builder

CHANNELS = 8


class NetMaker:
    """Grows a net over values of one image size, so that any value may be an operand of any operator.

    batch: a number or a symbol, or one of both by chance.
    """

    def __init__(self, seed: int, batch: str = "") -> None:
        self.r, self.rng = random.Random(seed), np.random.default_rng(seed)
        self.b = Builder(Graph(f"net{seed}", "typed"))
        batch = batch or self.r.choice(("N", "2"))
        self.values = [self.b.input("x", TensorType.parse(f"float[{batch},{CHANNELS},5,5]"))]
        self.makers = [self.conv, self.norm, self.unary, self.channel, self.binary, self.pool, self.concat, self.view]

    def graph(self, n: int) -> Graph:
        """A net of about ``n`` operators with one to three outputs."""
        for _ in range(n):
            self.values.append(self.r.choice(self.makers)(self.pick()))
        for v in dict.fromkeys([self.values[-1], *self.r.sample(self.values[1:], self.r.randrange(3))]):
            self.b.output(v, f"out{len(self.b.graph.outputs)}")
        return self.b.graph

    def pick(self) -> Value:
        """Mostly the newest value, so that chains come about."""
        return self.values[-1] if self.r.random() < 0.6 else self.r.choice(self.values)

    def weight(self, *shape: int) -> Value:
        data = self.rng.uniform(0.2, 1.0, shape) * self.r.choice((1, -1))
        return self.b.constant(f"w{len(self.b.graph.constants)}", data.astype(np.float32))

    def op(self, op: str, *operands: Value, **attrs: object) -> Value:
        return self.b.op(op, operands, attrs, self.r.choice(("y", f"{op}_{len(self.values)}")))

    def conv(self, x: Value) -> Value:
        group = self.r.choice((1, 1, 2, CHANNELS))
        w = self.weight(CHANNELS, CHANNELS // group, 3, 3)
        bias = [self.weight(CHANNELS)] if self.r.random() < 0.5 else []
        return self.op("Scale", self.op("Conv", x, w, *bias, kernel=3, pad=1, group=group), scale=0.1)

    def norm(self, x: Value) -> Value:
        variance = self.b.constant("var", self.rng.uniform(0.5, 1, CHANNELS).astype(np.float32))
        return self.op("SpatialBN", x, *(self.weight(CHANNELS) for _ in range(3)), variance, is_test=1)

    def unary(self, x: Value) -> Value:
        return self.op(self.r.choice(("Relu", "Sigmoid", "Tanh", "Copy", "Abs")), x)

    def channel(self, x: Value) -> Value:
        if self.r.random() < 0.3:
            return self.op("PRelu", x, self.weight(CHANNELS))
        op = self.r.choice(("Add", "Mul", "Sub"))
        if self.r.random() < 0.5:
            return self.op(op, x, self.weight(CHANNELS), broadcast=1, axis=1)
        return self.op(op, *self.r.sample((x, self.weight(*self.r.choice(((CHANNELS, 1, 1), (1,), (1, 1, 5, 1))))), 2))

    def binary(self, x: Value) -> Value:
        return self.op(self.r.choice(("Add", "Sum", "Max", "Sub")), x, self.pick())

    def pool(self, x: Value) -> Value:
        return self.op(self.r.choice(("MaxPool", "AveragePool")), x, kernel=3, pad=1)

    def concat(self, x: Value) -> Value:
        joined = self.b.node("Concat", [x, self.pick()], {"axis": 1}, ["joined", "info"]).results[0]
        joined = self.op("Relu", joined) if self.r.random() < 0.5 else joined
        return self.op("Conv", joined, self.weight(CHANNELS, 2 * CHANNELS, 1, 1), kernel=1)

    def view(self, x: Value) -> Value:
        flat = self.op("Flatten", x)
        return self.b.node("Reshape", [flat], {"shape": (0, CHANNELS, 5, 5)}, ["back", ""]).results[0]
