"""Candidates: the int8 forms of one net that differ in which layers stay in float; scales and weights are made once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.ir import Graph
from graphc.passes.lower_int8 import LowerInt8
from graphc.passes.quantize import (
    Int8Weights,
    Kind,
    Layer,
    QuantTable,
    assign,
    choose_layers,
    find_layers,
    quantise_weights,
    rewrite,
    unfit_layer,
    unfit_product,
    unused_mark,
)
from graphc.passes.quantize.embeddings import EmbeddingTable, rewrite_tables
from graphc.passes.quantize.rewriting import SUFFIX
from graphc.quantization.method import Method
from graphc.quantization.observe import Calibration


class Candidates:
    """Of a prepared float graph, its layers and a calibration, by a method.

    unfit: why layers have to stay in float, by name. suffix: of the names of values in 8 bits.
    """

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[Layer],
        tables: Sequence[EmbeddingTable],
        records: Calibration,
        method: Method,
    ) -> None:
        self.graph, self.layers, self.tables, self.native = graph, layers, tables, method.native
        self.products = [layer.name for layer in layers if layer.kind is Kind.PRODUCT]
        self.choices = [*self.products, *(table.name for table in tables)]
        self._mark = unused_mark(graph)
        self.suffix = SUFFIX + self._mark
        self._table = assign(layers, records.seen, method.ranges)
        self._weights = {
            layer.name: quantise_weights(
                layer,
                self._table.of(layer.inputs[0].name),
                records.moments[layer.name],
                method.native,
                method.correct_bias,
            )
            for layer in layers
            if layer.kind is Kind.PRODUCT
        }
        self.unfit = {layer.name: why for layer in layers if (why := self._unfit(layer))}

    def _unfit(self, layer: Layer) -> str | None:
        inputs, own = [self._table.of(v.name) for v in layer.inputs], self._table.of(layer.name)
        why = unfit_layer(layer, inputs, own)
        if why or self.native or layer.kind is not Kind.PRODUCT:
            return why
        return unfit_product(layer, inputs[0], float(self.weights_of(layer.name).scales[0]), own)

    def weights_of(self, name: str) -> Int8Weights:
        """The integers of a product."""
        return self._weights[name]

    def chosen(self, in_float: Collection[str]) -> list[Layer]:
        """The layers that run in 8 bits where some products do not."""
        fit = [layer for layer in self.layers if layer.kind is Kind.PRODUCT or layer.name not in self.unfit]
        return choose_layers(fit, in_float)

    def table(self, in_float: Collection[str]) -> QuantTable:
        """The scales that are used, and the products and tables that stay in float."""
        used = {name for layer in self.chosen(in_float) for name in (*(v.name for v in layer.inputs), layer.name)}
        quants = {name: quant for name, quant in self._table.quants.items() if name in used}
        return QuantTable(quants, [name for name in self.choices if name in in_float])

    def int8_graph(self, in_float: Collection[str]) -> Graph:
        """The graph with everything in few bits but these products and tables, and what is between the products."""
        graph = self.graph.clone()
        rewrite_tables(graph, [table for table in self.tables if table.name not in in_float])
        names = {layer.name for layer in self.chosen(in_float)}
        layers = [layer for layer in find_layers(graph) if layer.name in names]
        rewrite(graph, layers, self._table, self._weights, self.native, self._mark)
        if self.native:
            LowerInt8().run(graph)  # products take the sums behind them along
        return graph
