"""What ``graphc.compare`` compares: a net in some form, the blobs that it has, and their values for given inputs."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.backends.cpu.target import targets
from graphc.backends.cuda.target import TARGETS, is_cuda
from graphc.benchmark import random_arrays, random_inputs
from graphc.compiler import compile_graph, import_model
from graphc.input_shapes import assume_input_shapes
from graphc.ir import DType, Graph, GraphcError, TensorType, evaluate
from graphc.ir.bfloat16 import from_bfloat16
from graphc.ir.infer import infer_types
from graphc.ir.quant_array import array_quant
from graphc.native_segment import NativeSegment
from graphc.plan import Plan, load
from graphc.precisions import PRECISIONS

REFERENCE = "reference"
LEVELS = {"O0": 0, "O1": 1, "O2": 2}


@dataclass(frozen=True)
class Answer:
    """A blob's elements, and what its type says of them."""

    array: np.ndarray
    type: TensorType

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return (self.type.dtype or DType.of(self.array.dtype)).text

    @property
    def numbers(self) -> np.ndarray:
        """The elements as real numbers in float64; equal strings are equal numbers within one process."""
        if self.array.dtype == object:
            return np.array([float(hash(bytes(s))) for s in self.array.reshape(-1)]).reshape(self.array.shape)
        if self.type.dtype is DType.BFLOAT16 and self.array.dtype == np.uint16:
            return from_bfloat16(self.array).astype(np.float64)
        quant = array_quant(self.array) or self.type.quant
        real = np.asarray(self.array).astype(np.float64)
        return (real - quant.zero_point) * quant.scale if quant else real


class Side(ABC):
    """A net in some form. text: for people. inputs, outputs, blobs: names, blobs in order of execution."""

    text: str
    inputs: list[str]
    outputs: list[str]
    blobs: list[str]

    @abstractmethod
    def answers(self, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Answer]:
        """The values of blobs for inputs by name; raises ``RunError`` for inputs that do not fit."""


class ReferenceSide(Side):
    """A graph that the reference interpreter evaluates in NumPy; one as imported gets types, which have the scales."""

    def __init__(self, graph: Graph, text: str) -> None:
        if graph.stage == "imported":
            graph = graph.clone()
            infer_types(graph)
        self.graph, self.text = graph, text
        self.inputs, self.outputs = [v.name for v in graph.inputs], list(graph.output_names)
        self.blobs = _computed(graph)

    def answers(self, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Answer]:
        """By ``evaluate``."""
        found, values = evaluate(self.graph, inputs, keep_all=True), self.graph.blobs()
        return {n: Answer(found[n], values[n].type) for n in names}


class PlanSide(Side):
    """A plan."""

    def __init__(self, plan: Plan, text: str) -> None:
        self.plan, self.text = plan, text
        self.inputs, self.outputs = list(plan.inputs), plan.outputs
        names = [n for s in plan.segments if isinstance(s, NativeSegment) for n in _kept(s)]
        self.blobs = [*dict.fromkeys([*names, *(n for n in self.outputs if n not in names)])]

    def answers(self, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Answer]:
        """By a run that keeps the blobs."""
        found, values = self.plan.run(inputs, fetch=names), self.plan.graph.blobs()
        return {n: Answer(found[n], values[n].type if n in values else TensorType()) for n in names}


def _computed(graph: Graph) -> list[str]:
    """Names of the blobs that operators compute, in the order in which they get the value that they end with."""
    last = {v.name: i for i, v in enumerate(graph.values()) if v.producer is not None and v.name}
    named = {n: last[v.name] for n, v in zip(graph.output_names, graph.outputs) if v.name in last}
    merged = last | named
    return sorted(merged, key=merged.__getitem__)


def _kept(segment: NativeSegment) -> list[str]:
    """Blobs of a segment that a run can return: those that kernels write, and the segment's outputs."""
    written = {*segment.bound[0].views, *segment.graph.output_names} if segment.bound else None
    return [n for n in _computed(segment.graph) if written is None or n in written]


def side_of(model: object, inputs: Mapping[str, np.ndarray]) -> Side:
    """The side that a model given to ``compare`` stands for; inputs give the shapes that nets lack."""
    if isinstance(model, Side):
        return model
    if isinstance(model, Plan):
        return PlanSide(model, "plan")
    if isinstance(model, Graph):
        return ReferenceSide(model, "graph@reference")
    if isinstance(model, str | Path):
        return parse_side(str(model), None, inputs)
    raise GraphcError(f"a {type(model).__name__} cannot be compared", "give a Plan, a Graph, or a text: 'net.pb@avx2'")


def parse_side(text: str, init: str | None, inputs: Mapping[str, np.ndarray]) -> Side:
    """The side of ``FILE`` or ``FILE@OPTION,...``.

    FILE: a plan; a predict net, then ``+`` and its init net unless ``init`` is that; or a folder with
    ``predict_net.pb`` and ``init_net.pb``. Options of a net: ``reference`` (NumPy, operator by operator, as imported),
    the name of a target, ``O0`` to ``O2``, ``half``, ``bf16``, ``tf32``. A plan takes none: it is what it was compiled
    to. Raises ``GraphcError``.
    """
    file, options = _split(text)
    net, its_init = _files(file, init)
    if _is_plan(net):
        if options:
            raise GraphcError(
                f"{net} is a plan and takes no options: {', '.join(options)}", "compile the net with them"
            )
        return PlanSide(load(net), text)
    shapes = {n: np.asarray(a) for n, a in inputs.items()}
    graph = import_model(net, its_init, shapes)
    if REFERENCE in options:
        if len(options) > 1:
            raise GraphcError(f"'{text}': the reference takes no other options", "write net.pb@reference")
        return ReferenceSide(graph, text)
    chosen = _compile_options(options)
    plan = compile_graph(graph, level=chosen.level, target=chosen.target, precision=chosen.precision)
    return PlanSide(plan, text)


def example_inputs(text: str, init: str | None, seed: int) -> dict[str, np.ndarray]:
    """Random inputs for a side given as text, in the shapes that it tells, or in those that a compiler assumes."""
    net, its_init = _files(_split(text)[0], init)
    if _is_plan(net):
        return random_inputs(load(net), seed)
    graph = import_model(net, its_init)
    assume_input_shapes(graph)
    return random_arrays(graph, seed)


def _files(file: str, init: str | None) -> tuple[str, str | None]:
    """The files of ``PLAN``, ``NET``, ``NET+INIT`` or ``FOLDER``; raises ``GraphcError`` where one is not there."""
    if Path(file).is_dir():
        net, its_init = (str(Path(file) / name) for name in ("predict_net.pb", "init_net.pb"))
    else:
        net, _, its_init = file.partition("+") if not Path(file).exists() else (file, "", "")
    for path in filter(None, (net, its_init)):
        if not Path(path).is_file():
            raise GraphcError(
                f"there is no file '{path}'",
                "give a NetDef or a plan: net.pb, net.pb+init.pb@avx2, p.pkl,"
                " or a folder with predict_net.pb and init_net.pb",
            )
    return net, its_init or init


def _split(text: str) -> tuple[str, list[str]]:
    """The file and the options behind the last ``@``; a file of that name has none."""
    file, at, options = text.rpartition("@")
    if not at or Path(text).exists():
        return text, []
    return file, [o for o in re.split(r"[,\s]+", options) if o]


def _is_plan(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x80\x04"


@dataclass
class _Options:
    """How a net is compiled."""

    level: int = 2
    target: str = "native"
    precision: str = "float"


def _compile_options(options: Sequence[str]) -> _Options:
    given: dict[str, str] = {}
    for option in options:
        kind = _kind(option)
        if given.setdefault(kind, option) != option:
            raise GraphcError(f"'{given[kind]}' and '{option}' are both a {kind}", "give one of them")
    default = _Options()
    return _Options(
        LEVELS[given["level"]] if "level" in given else default.level,
        given.get("target", default.target),
        given.get("precision", default.precision),
    )


def _kind(option: str) -> str:
    """What of ``_Options`` an option sets; raises ``GraphcError`` for none."""
    if option in LEVELS:
        return "level"
    if option in PRECISIONS:
        return "precision"
    if option == "native" or option in targets() or is_cuda(option):
        return "target"
    known = (REFERENCE, "native", *targets(), *TARGETS, *LEVELS, *PRECISIONS)
    raise GraphcError(f"'{option}' is no option of a net to compare", f"options: {', '.join(known)}")
