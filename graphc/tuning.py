"""Tuning: the tilings of a plan's products, measured one by one on this machine's card.

A problem (``backends/cuda/tiling.py``) is measured once, however many operators have it: a net of one of them, with its
weights and random inputs, runs with each of the tilings that the model thinks best. What is timed is what the operator
launches, several times in a row in one recorded sequence, so that starting it counts for little; the median counts.
Tilings have to agree about the answer. Weights and inputs come out of the card's second-level cache where they fit, as
in a net they mostly do not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from graphc.backends.cuda.kernels.problems import PROBLEMS
from graphc.backends.cuda.kernels.tilings import candidates, decide
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tiling import Problem, Tile, Tiling
from graphc.backends.cuda.tuning import Measured, Tuning
from graphc.benchmark import random_arrays
from graphc.cuda_code import CudaCode
from graphc.ir import PLAIN, Call, DType, Graph, GraphcError, Layout, LoweringError, Node, RunError, Value
from graphc.ir.bfloat16 import from_bfloat16
from graphc.ir.device import CARD
from graphc.native_segment import NativeSegment
from graphc.passes.segments import part_of
from graphc.plan import Plan
from graphc.runtime.card_executor import CardExecutor
from graphc.tuning_file import TuningStore

WORST = 2.0
"""What the model predicts to take longer than this many times its best is not measured."""
MOST = 16
"""Tilings of a problem that are measured at most."""
WARM, REPEATS = 5, 20
"""How often a tiling is timed before it counts, and how often then."""
SLACK = {"f4": 1e-4, "tf": 1e-4, "f2": 1e-2, "bf": 5e-2, "u1": 0.0}
"""How far answers of tilings may differ, as a share of the largest, by what is multiplied; sums of bytes are exact."""
SPAN, ROW = 2e-3, 20
"""Seconds that are timed at once, about, and runs in a row at most."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Layer:
    """An operator of a plan whose kernel has a tiling. tuned: its target's table says which."""

    node: Node
    graph: Graph
    problem: Problem
    tiling: Tiling
    tuned: bool

    @property
    def blob(self) -> str:
        """What it computes."""
        return self.node.results[0].name


def layers(plan: Plan) -> list[Layer]:
    """The operators of a plan whose kernels have a tiling, in its order; none in a plan for a CPU.

    Those whose sizes are not known before a run are left out.
    """
    found = []
    for segment in plan.segments:
        library = segment.code.library if isinstance(segment, NativeSegment) else None
        if not isinstance(segment, NativeSegment) or not isinstance(library, CudaLibrary) or not segment.bound:
            continue
        for node in segment.graph.nodes:
            choice = segment.choices.get(node)
            problem = PROBLEMS[choice.rule](Call(node)) if choice is not None and choice.rule in PROBLEMS else None
            tiling = None if problem is None else decide(problem, library.target)
            if problem is not None and tiling is not None:
                tuned = library.target.tuning.tiling(str(problem)) is not None
                found.append(Layer(node, segment.graph, problem, tiling, tuned))
    return found


def tuning_of(plan: Plan) -> Tuning:
    """The table that a plan was compiled with, which may be empty; raises ``GraphcError`` for a plan for a CPU."""
    if not isinstance(plan.code.library, CudaLibrary):
        raise GraphcError(f"the plan is for '{plan.target}', which has no tilings", "compile it for a card: --target")
    return plan.code.library.target.tuning


@dataclass(frozen=True)
class Tuned:
    """A table, and how many problems of the net there was no time for."""

    tuning: Tuning
    left: int


def notes_on(found: Tuned) -> list[str]:
    """What a user has to know."""
    if not found.left:
        return []
    measured = len(found.tuning.entries)
    return [f"tuning: {measured} products of {measured + found.left} were measured in time, a model chose for the rest"]


def measure_tilings(plan: Plan, seconds: float | None = None, progress: Progress | None = None) -> Tuned:
    """The fastest tilings for the problems of a plan for a card, compiled without a table, on this machine's card.

    What was measured before, here and on this card, is not measured again; each result is stored at once. Those with
    the most work come first; seconds: after so many nothing more is begun, and what is left is not in the table. Raises
    ``GraphcError`` where there is no card or no compiler, ``FileError`` where results cannot be stored.
    """
    code = plan.code
    assert isinstance(code, CudaCode)
    found, end = {}, None if seconds is None else time.monotonic() + seconds
    card = _name_of_card(code)
    store, by_problem = TuningStore(_target(code), card), _by_problem(layers(plan))
    for done, (problem, layer) in enumerate(by_problem.items()):
        if progress:
            progress(done, len(by_problem))
        entry = store.get(str(problem))
        if entry is None and (end is None or time.monotonic() < end):
            entry = _measured(layer, code)
            store.put(str(problem), entry)
        if entry is not None:
            found[str(problem)] = entry
    if progress:
        progress(len(by_problem), len(by_problem))
    return Tuned(Tuning(code.library.target_name, card, found), len(by_problem) - len(found))


def _name_of_card(code: CudaCode) -> str:
    try:
        return code.card.name
    except GraphcError as error:
        raise RunError(
            f"tuning needs a card: {error.message}",
            "measure where there is one (graphc tune ... -o tuning.json), and compile here with --tuning tuning.json",
        ) from error


def _by_problem(found: Sequence[Layer]) -> dict[Problem, Layer]:
    """An operator for each problem, those with the most work in all first."""
    count, first = Counter(layer.problem for layer in found), dict[Problem, Layer]()
    for layer in found:
        first.setdefault(layer.problem, layer)
    return dict(sorted(first.items(), key=lambda item: -item[0].products * count[item[0]]))


def shortlist(problem: Problem, target: CudaTarget) -> list[Tiling]:
    """The tilings to measure: the model's choice, then the best of each tile, then others, as the model orders them."""
    found, of_tile = candidates(problem, target), Counter[Tile]()
    best, ranked = found[0].clocks(problem, target), []
    for tiling in found:
        if tiling.clocks(problem, target) <= WORST * best:
            ranked.append((of_tile[tiling.tile], tiling))
            of_tile[tiling.tile] += 1
    return [tiling for _, tiling in sorted(ranked, key=lambda pair: pair[0])][:MOST]


def _measured(layer: Layer, code: CudaCode) -> Measured:
    """The fastest tiling of an operator's problem, by the clock of the card that the code is for."""
    tilings, graph = shortlist(layer.problem, _target(code)), alone(layer.node, layer.graph)
    segments = [_with_tiling(graph.clone(), code, layer.problem, tiling) for tiling in tilings]
    code.load(list(dict.fromkeys(spec for segment in segments for spec in segment.kernels)))
    inputs = list(random_arrays(graph, 0).values())
    seconds, wanted = [], list[np.ndarray]()
    for tiling in tilings:
        segment = segments.pop(0)  # and forgotten, so that the card holds the weights of one
        segment.code.objects = code.objects
        took, answers = _seconds(segment, inputs, layer.blob)
        seconds.append(took)
        wanted = wanted or answers
        if not all(map(partial(_agree, layer.problem.kind), wanted, answers)):
            raise LoweringError(
                f"{layer.node.location}: '{tiling}' gives other answers than '{tilings[0]}' for '{layer.problem}'",
                "this is a defect of graphc: please report it with the card's name; compile without --tune, tune=",
            )
    best = min(range(len(tilings)), key=seconds.__getitem__)
    return Measured(str(tilings[best]), seconds[best], str(tilings[0]), seconds[0])


def _agree(kind: str, wanted: np.ndarray, answers: np.ndarray) -> bool:
    """Answers are equal up to what sums in another order lose."""
    slack = SLACK[kind] * float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0))
    return bool(np.allclose(answers, wanted, rtol=0, atol=slack, equal_nan=True))


def _target(code: CudaCode) -> CudaTarget:
    assert isinstance(code.library, CudaLibrary)
    return code.library.target


def _with_tiling(graph: Graph, code: CudaCode, problem: Problem, tiling: Tiling) -> NativeSegment:
    """The graph for a target whose table has this tiling."""
    table = Tuning(entries={str(problem): Measured(str(tiling), 0.0, str(tiling), 0.0)})
    mine = CudaCode(CudaLibrary(replace(_target(code), tuning=table)))
    mine.card = code.card
    return NativeSegment.build(graph, (), mine, 1)


def _seconds(segment: NativeSegment, inputs: Sequence[np.ndarray], blob: str) -> tuple[float, list[np.ndarray]]:
    """What the launches for a blob take, and the numbers that they give; the first launches are not counted."""
    assert segment.bound is not None
    executor = segment.code.executor(*segment.bound, 1, ())
    assert isinstance(executor, CardExecutor)
    found = executor.run(inputs)
    halves = [v.type.dtype is DType.BFLOAT16 for v in segment.graph.outputs]
    answers = [from_bfloat16(np.asarray(a)) if half else np.asarray(a, np.float32) for a, half in zip(found, halves)]
    row = max(1, min(ROW, int(SPAN / max(min(executor.measure_blob(blob, 1, WARM)), 1e-9))))
    executor.measure_blob(blob, row, WARM)
    return median(executor.measure_blob(blob, row, REPEATS)) / row, answers


def alone(node: Node, graph: Graph) -> Graph:
    """A graph of a copy of one node, whose inputs and outputs are in plain layout."""
    part, _, _ = part_of(graph, [node])
    (only,) = part.nodes
    for i, given in enumerate(part.inputs):
        given.name = f"x{i}"  # names are no more than hints, and may be equal
    for i, value in enumerate(only.operands):
        if value in part.inputs and value is not None and value.type.layout != PLAIN:
            blocked = _reorder(value, value.type.layout, only)
            value.type = replace(value.type, layout=PLAIN)
            only.set_operand(i, part.insert_before(only, blocked).results[0])
    for result in only.results:
        if result in part.outputs and result.type.layout != PLAIN:
            plain = part.append(_reorder(result, PLAIN, only)).results[0]
            part.outputs = [plain if v is result else v for v in part.outputs]
    return part


def _reorder(value: Value, layout: Layout, like: Node) -> Node:
    result = Value(replace(value.type, layout=layout), f"{value.name}#{layout.text}")
    return Node("g.reorder", [value], [result], {"layout": layout.text.encode()}, like.location, device=CARD)
