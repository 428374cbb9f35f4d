"""Rewriting: layers become Int8 operators on uint8 images in NHWC, with conversions where precision changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.ir import Attr, Graph, Quant, TensorType, Value, lookup
from graphc.ir.builder import Builder
from graphc.ir.types import DType
from graphc.passes.dce import Dce
from graphc.passes.quantize.int8_weights import Int8Weights
from graphc.passes.quantize.layers import IMAGE_RANK, Kind, Layer
from graphc.passes.quantize.scales import WEIGHT_ZERO, bias_integers, stored_weights
from graphc.passes.quantize.table import QuantTable

SUFFIX, NHWC = "_int8", "_nhwc"
NATIVE = {"Int8Conv": "g.int8_conv", "Int8FC": "g.int8_fc"}


def rewrite(
    graph: Graph,
    layers: Sequence[Layer],
    table: QuantTable,
    weights: Mapping[str, Int8Weights],
    native: bool = False,
    mark: str = "",
) -> None:
    """Let the layers run in 8 bits, in place. weights: by the name of each product among them.

    A value is converted once, where it is first read in 8 bits, and back where something else reads it. Names: an 8-bit
    value is called as the float one with ``_int8`` and ``mark`` (``unused_mark``). native: products become graphc's own
    operators, which have a scale for each map and give floats where no layer reads their result in 8 bits; else
    everything is Caffe2's. Raises ``GraphcError`` for values that the table lacks.
    """
    read = {v for layer in layers for v in layer.inputs}
    work = _Rewrite(graph, table, weights, native, mark)
    for layer in layers:
        work.layer(layer, layer.result in read)
    Dce().run(graph)
    if native:
        graph.stage = "optimised"


def unused_mark(graph: Graph) -> str:
    """What is put behind names of 8-bit values and of images in NHWC, so that no value of a float graph has them.

    Nothing, nearly always; else ``.1`` and so on.
    """
    names = {v.name for v in graph.values()}
    marks = ("", *(f".{k}" for k in range(1, len(names) + 1)))
    return next(m for m in marks if not any(f"{n}{end}{m}" in names for n in names for end in (SUFFIX, NHWC)))


@dataclass
class _Rewrite:
    """stored: the 8-bit form of values, images in NHWC."""

    graph: Graph
    table: QuantTable
    weights: Mapping[str, Int8Weights]
    native: bool
    mark: str
    stored: dict[Value, Value] = field(default_factory=dict)

    def int8(self, name: str) -> str:
        """What the 8-bit form of a value is called."""
        return f"{name}{SUFFIX}{self.mark}"

    def nhwc(self, name: str) -> str:
        """What an image in NHWC is called."""
        return f"{name}{NHWC}{self.mark}"

    def layer(self, layer: Layer, is_read: bool) -> None:
        """Insert the Int8 operator of a layer and a conversion back, which float operators and outputs read instead.

        What nobody reads then, the float layer above all, is dead code. is_read: a layer reads the result in 8 bits.
        """
        location = layer.node.location.join(layer.last.location) if layer.relu else layer.node.location
        build = Builder(self.graph, layer.last, location)
        operands: list[Value | None] = [self.read(build, v) for v in layer.inputs]
        if layer.kind is Kind.PRODUCT and self.native:
            back = self.native_product(build, layer, operands, is_read)
        else:
            self.stored[layer.result] = self.caffe2_operator(build, layer, operands)
            back = self.in_float(build, layer)
        if layer.result.type.rank == IMAGE_RANK:
            back = build.op("NHWC2NCHW", [back], name=layer.name)
        self.graph.replace(layer.result, back)

    def caffe2_operator(self, build: Builder, layer: Layer, operands: list[Value | None]) -> Value:
        """Caffe2's operator for a layer; gives its 8-bit result. An FC has no form with Relu in Caffe2's engine."""
        if layer.kind is Kind.PRODUCT:
            operands = operands + self.caffe2_weights(layer)
        apart = layer.relu is not None and layer.op == "Int8FC"
        op = layer.op + ("Relu" if layer.relu and not apart else "")
        names = [self.int8(layer.name + ("_raw" if apart else "")), *(r.name for r in layer.node.results[1:])]
        result = build.node(op, operands, self.attributes(layer, op), names).results[0]
        if not apart:
            return result
        return build.op("Int8Relu", [result], {**_quant_attrs(self.table.of(layer.name))}, self.int8(layer.name))

    def native_product(self, build: Builder, layer: Layer, operands: list[Value | None], is_read: bool) -> Value:
        """graphc's own operator for a product; gives the float form of the result, images in NHWC."""
        attrs = self.attributes(layer, NATIVE[layer.op]) | {"relu": int(layer.relu is not None)}
        inputs = operands + self.native_weights(layer)
        is_open = layer.relu is None or layer.relu.op == "Relu"
        if not is_read and is_open:
            name = self.nhwc(layer.name) if layer.result.type.rank == IMAGE_RANK else layer.name
            return build.op(NATIVE[layer.op], inputs, attrs | {"to_float": 1, "Y_scale": 1.0, "Y_zero_point": 0}, name)
        self.stored[layer.result] = build.op(NATIVE[layer.op], inputs, attrs, self.int8(layer.name))
        return self.in_float(build, layer)

    def read(self, build: Builder, value: Value) -> Value:
        """The 8-bit form of a value: that of a layer before, or a conversion."""
        if value not in self.stored:
            image, name = value, value.name
            if value.type.rank == IMAGE_RANK:
                image = _nhwc_source(value) or build.op("NCHW2NHWC", [value], name=self.nhwc(name))
            self.stored[value] = build.op("Int8Quantize", [image], _quant_attrs(self.table.of(name)), self.int8(name))
        return self.stored[value]

    def in_float(self, build: Builder, layer: Layer) -> Value:
        """The dequantised result of a layer, images in NHWC."""
        name = self.nhwc(layer.name) if layer.result.type.rank == IMAGE_RANK else layer.name
        return build.op("Int8Dequantize", [self.stored[layer.result]], name=name)

    def caffe2_weights(self, layer: Layer) -> list[Value | None]:
        """Constants for weights and bias; the bias is in units of the product of both scales."""
        own = self.weights[layer.name]
        scale = float(own.scales[0])
        unit = float(np.float32(self.table.of(layer.inputs[0].name).scale) * np.float32(scale))
        bias = bias_integers(own.bias, np.array(unit))
        integers = stored_weights(_matrix_of(layer, own))
        return [
            self.constant(self.int8(f"{layer.name}_w"), integers, Quant(scale, WEIGHT_ZERO)),
            self.constant(self.int8(f"{layer.name}_b"), bias, Quant(unit, 0)),
        ]

    def native_weights(self, layer: Layer) -> list[Value | None]:
        """Constants for weights, bias and scales of the maps."""
        own = self.weights[layer.name]
        scales = np.ascontiguousarray(np.broadcast_to(own.scales, len(own.bias)))
        units = scales.astype(np.float64) * self.table.of(layer.inputs[0].name).scale
        parts = (_matrix_of(layer, own).astype(np.int8), bias_integers(own.bias, units), scales)
        return [self.constant(self.int8(f"{layer.name}_{part}"), a) for part, a in zip("wbs", parts)]

    def constant(self, name: str, data: np.ndarray, quant: Quant | None = None) -> Value:
        """A weight."""
        return self.graph.add_constant(name, data, TensorType(DType.of(data.dtype), data.shape, quant=quant))

    def attributes(self, layer: Layer, op: str) -> dict[str, Attr]:
        """The arguments that the Int8 operator shares with the float one, its order and the scale of its result."""
        attrs = _quant_attrs(self.table.of(layer.name))
        if layer.op == "Int8Concat":
            return attrs | {"axis": (layer.result.type.rank or 0) - 1}
        known = {a.name for a in lookup(op).args} - {"axis_w"}  # the weights of an FC are a matrix
        attrs |= {k: v for k, v in layer.node.attrs.items() if k in known}
        return attrs | {"order": b"NHWC"} if "order" in known else attrs


def _matrix_of(layer: Layer, own: Int8Weights) -> np.ndarray:
    """The integers as the operator wants them: those of an FC as a matrix."""
    return own.integers.reshape(len(own.integers), -1) if layer.op == "Int8FC" else own.integers


def _nhwc_source(value: Value) -> Value | None:
    node = value.producer
    return node.operands[0] if node is not None and node.op == "NHWC2NCHW" else None


def _quant_attrs(quant: Quant) -> dict[str, Attr]:
    return {"Y_scale": quant.scale, "Y_zero_point": quant.zero_point}
