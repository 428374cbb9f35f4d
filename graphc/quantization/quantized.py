"""``graphc.quantize``: a float net and calibration data -> an int8 net that loses no more than asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from graphc.compiler import InputSpec, compile_graph, import_model
from graphc.frontends.netdef import Source as NetSource
from graphc.frontends.netdef import write_net
from graphc.frontends.netdef.exporter import export_net
from graphc.ir import Graph, GraphcError
from graphc.passes.quantize import Kind, Layer, QuantTable, equalize, find_layers
from graphc.passes.quantize.embeddings import EmbeddingTable, find_tables
from graphc.passes.quantize.weights import float_weight
from graphc.pictures import Preparation
from graphc.plan import Plan
from graphc.quantization.calibration import Batches, Source, constant_inputs, sample_count
from graphc.quantization.candidates import Candidates
from graphc.quantization.choice import Choice, choose
from graphc.quantization.embeddings import require_choices, table_report, tables_alone
from graphc.quantization.measure import Difference, layer_differences, output_loss, plan_of
from graphc.quantization.method import Method
from graphc.quantization.observe import Calibration, calibrate
from graphc.quantization.picture import report_svg
from graphc.quantization.prepared_net import prepare_with_data
from graphc.quantization.report import LayerReport, Report
from graphc.runtime.atomic import replace_all
from graphc.tuning_file import TuningFile

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``"""

SAMPLES = 256
"""Samples of calibration data that are used, unless told otherwise."""


@dataclass
class Quantized:
    """An int8 net. graph: of Caffe2's operators, float and Int8. table: its scales, and what stayed in float."""

    graph: Graph
    table: QuantTable
    report: Report

    def save(self, folder: str | Path) -> None:
        """Write ``predict_net.pb``, ``init_net.pb``, ``scales.txt`` and the report (json, csv, svg) to a folder.

        Where that fails, files of these names are as they were before.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        predict, init = export_net(self.graph)
        report = self.report
        texts = {"report.json": report.to_json(), "report.csv": report.to_csv(), "report.svg": report_svg(report)}
        parts = {
            "predict_net.pb": write_net(predict),
            "init_net.pb": write_net(init),
            "scales.txt": str(self.table).encode(),
        }
        replace_all(target, parts | {n: t.encode() for n, t in texts.items()})

    def compile(
        self,
        target: str = "native",
        threads: int | None = None,
        tuning: TuningFile | None = None,
        tune: bool | float = False,
    ) -> Plan:
        """A plan of the int8 net; tuning, tune: of the tiles of a card's kernels, as in ``graphc.compile``."""
        return compile_graph(self.graph.clone(), target=target, threads=threads, tuning=tuning, tune=tune)


@dataclass
class Trial:
    """One way to quantise a net, calibrated; losses are measured once."""

    candidates: Candidates
    records: Calibration
    batches: Batches
    method: Method
    progress: Progress
    losses: dict[frozenset[str], float] = field(default_factory=dict)

    @property
    def fixed(self) -> list[str]:
        """Products and tables that are in float whatever the loss."""
        asked, unfit = self.method.in_float, self.candidates.unfit
        return [name for name in self.candidates.choices if name in asked or name in unfit]

    def loss_of(self, in_float: frozenset[str]) -> float:
        """The relative error of the outputs with these products and tables in float."""
        if in_float not in self.losses:
            self.progress("measure", len(self.losses) + 1, len(self.candidates.choices) + 2)
            plan = plan_of(self.candidates.int8_graph(in_float), [], self.method.target, self.method.threads)
            self.losses[in_float] = output_loss(plan, self.batches, self.records.outputs)
        return self.losses[in_float]


def quantize(
    predict_net: NetSource,
    init_net: NetSource | None = None,
    calibrate: Source | None = None,
    *,
    inputs: InputSpec | None = None,
    preparation: Preparation | None = None,
    samples: int = SAMPLES,
    ranges: str = "min-max",
    equalize: bool | None = None,
    correct_bias: bool = True,
    refine: bool = True,
    in_float: Sequence[str] = (),
    max_loss: float | None = None,
    attribute: bool = False,
    native: bool = False,
    embeddings: int | None = 8,
    tables_only: bool = False,
    target: str = "native",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Quantise a float net to 8 bits.

    predict_net, init_net, inputs: as for ``compile``. calibrate: a folder of pictures (prepared as ``preparation``
    says), an .npz file, a folder of .npz files with a batch each, or an iterable of batches; None, where only embedding
    tables are quantised. samples: how many of them to use, at most. ranges: the rule by which
    the ranges of values are chosen: ``min-max``, ``moving-average``, ``percentile``, ``entropy``, ``mse``. equalize:
    scale channels between layers before; None: where that loses less, and weights have one scale a tensor.
    correct_bias: let biases make up for what rounding of weights takes from means. refine: round weights so that errors
    cancel on the data. in_float: layers, by the names of their results, that stay in float. max_loss: largest relative
    error (root mean square) of an output; layers go back to float, those first that add most to the error, until it
    holds. attribute: measure what each layer adds, for the report. native: of graphc's own int8 operators, with a scale
    for each map of the weights, instead of Caffe2's: for a plan, not for a NetDef. embeddings: bits of embedding
    tables, 8 or 4; None: float. tables_only: quantise nothing else. target, threads: of the runs. Raises
    ``GraphcError`` and its kinds.
    """
    method = Method(
        ranges,
        equalize,
        correct_bias,
        refine,
        in_float,
        max_loss,
        attribute,
        native,
        embeddings,
        tables_only,
        target,
        threads,
    )
    graph = import_model(predict_net, init_net, inputs)
    if calibrate is None:
        return _without_data(graph, method)
    graph, batches = prepare_with_data(graph, calibrate, preparation, samples)
    return quantize_graph(graph, batches, method, progress or (lambda stage, done, total: None))


def quantize_graph(graph: Graph, batches: Batches, method: Method, progress: Progress) -> Quantized:
    """Quantise a prepared float graph; see ``quantize``."""
    tables = _tables(graph, method)
    made = [_trial(graph, tables, batches, method, is_equalized, progress) for is_equalized in _trials(method)]
    trials = [trial for trial in made if trial is not None]
    best = min(trials, key=lambda trial: trial.loss_of(frozenset(trial.fixed)))
    candidates = best.candidates
    choice = choose(best.loss_of, candidates.choices, best.fixed, method.max_loss, method.attribute)
    int8 = candidates.int8_graph(choice.in_float)
    report = _report(best, choice, int8)
    return Quantized(int8, candidates.table(choice.in_float), report)


def _without_data(graph: Graph, method: Method) -> Quantized:
    """Quantise the embedding tables of an imported graph."""
    before, after, tables = tables_alone(graph, method)
    kept = [table.name for table in tables if table.name in method.in_float]
    rows = [table_report(table, table.name in kept, None) for table in tables]
    report = Report(rows, None, None, 0, _weight_bytes(before), _weight_bytes(after), before.notes)
    return Quantized(after, QuantTable({}, kept), report)


def _tables(graph: Graph, method: Method) -> list[EmbeddingTable]:
    """The embedding tables to pack; notes on others go to the graph."""
    if method.embeddings is None:
        return []
    tables, notes = find_tables(graph, method.embeddings)
    graph.notes += notes
    return tables


def _trials(method: Method) -> tuple[bool, ...]:
    """With equalisation, without, or both: scales of their own for the maps make it needless."""
    if method.equalize is not None:
        return (method.equalize,)
    return (False,) if method.native or method.tables_only else (False, True)


def _trial(
    graph: Graph,
    tables: list[EmbeddingTable],
    batches: Batches,
    method: Method,
    is_equalized: bool,
    progress: Progress,
) -> Trial | None:
    """Calibrate a copy of the graph and quantise its weights; None if a user leaves it open to equalise nothing."""
    copy = graph.clone()
    layers = _layers(copy, tables, method)
    if is_equalized and equalize(copy, layers) == 0 and method.equalize is None:
        return None
    stage = "calibrate, equalised" if is_equalized else "calibrate"
    records = calibrate(
        copy,
        layers,
        batches,
        method.refine,
        method.target,
        method.threads,
        lambda done, total: progress(stage, done, total),
    )
    return Trial(Candidates(copy, layers, tables, records, method), records, batches, method, progress)


def _layers(graph: Graph, tables: Sequence[EmbeddingTable], method: Method) -> list[Layer]:
    layers = [] if method.tables_only else find_layers(graph)
    names = [layer.name for layer in layers if layer.kind is Kind.PRODUCT] + [table.name for table in tables]
    before = next((node for node in graph.nodes if node.op.startswith("Int8")), None)
    if before is not None and not names:
        raise GraphcError(
            f"the net is in 8 bits already: {before.location}", "give the float net that it was made from"
        )
    require_choices(names, method)
    return layers


def _report(trial: Trial, choice: Choice, int8: Graph) -> Report:
    candidates, records, batches, method = trial.candidates, trial.records, trial.batches, trial.method
    chosen = candidates.chosen(choice.in_float)
    given = {v.name for node in int8.nodes for v in node.results}
    table = candidates.table(choice.in_float)
    quants = {n.name: table.of(n.name) if n.name + candidates.suffix in given else None for n in chosen}
    quants = {name: quant for name, quant in quants.items() if quant is not None or name in given}
    names = [name + candidates.suffix * (quant is not None) for name, quant in quants.items()]
    plan = plan_of(int8, names, method.target, method.threads)
    differences = layer_differences(records.plan, plan, quants, candidates.suffix, batches)
    rows = [_layer_report(trial, choice, layer, differences) for layer in candidates.layers]
    rows += [table_report(t, t.name in choice.in_float, choice.alone.get(t.name)) for t in candidates.tables]
    notes = [*candidates.graph.notes]
    notes += [f"input '{n}' is constant in the calibration data" for n in constant_inputs(batches)]
    notes += [f"'{name}' stays in float: {why}" for name, why in candidates.unfit.items()]
    if all(row.precision == "float" for row in rows):
        notes.append("nothing is left in few bits: the bound, or what was asked for, keeps every layer in float")
    sizes = (_weight_bytes(candidates.graph), _weight_bytes(int8))
    return Report(rows, choice.loss, choice.all_int8, sample_count(batches), *sizes, notes)


def _layer_report(trial: Trial, choice: Choice, layer: Layer, differences: dict[str, Difference]) -> LayerReport:
    candidates, seen, name = trial.candidates, trial.records.seen[layer.name], layer.name
    operator, alone = layer.node.op + (f" {layer.relu.op}" if layer.relu else ""), choice.alone.get(name)
    if name not in {n.name for n in candidates.chosen(choice.in_float)}:
        return LayerReport(name, operator, "float", seen.low, seen.high, alone=alone)
    quant, difference = candidates.table(choice.in_float).of(name), differences.get(name)
    return LayerReport(
        name,
        operator,
        "int8",
        seen.low,
        seen.high,
        quant.scale,
        quant.zero_point,
        difference.sqnr if difference else None,
        _weight_sqnr(candidates, layer),
        alone,
        *_weight_sizes(candidates, layer),
    )


def _weight_sqnr(candidates: Candidates, layer: Layer) -> float | None:
    if layer.kind is not Kind.PRODUCT:
        return None
    own, difference = candidates.weights_of(layer.name), Difference()
    difference.add(float_weight(layer), own.real)
    return difference.sqnr


def _weight_sizes(candidates: Candidates, layer: Layer) -> tuple[int | None, int | None]:
    """Bytes of a product's weights and bias in float, and of its integers with scales of their own."""
    if layer.kind is not Kind.PRODUCT:
        return None, None
    own = candidates.weights_of(layer.name)
    before = sum(v.type.nbytes for v in layer.node.operands[1:] if v is not None)
    return before, own.integers.size + (8 if candidates.native else 4) * own.bias.size


def _weight_bytes(graph: Graph) -> int:
    return sum(np.asarray(v.data).nbytes for v in graph.constants if v.uses and v.data is not None)
