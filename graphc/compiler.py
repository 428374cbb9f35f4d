"""The compiler: the only module that joins frontend, passes, backend and plan. Each stage is one function."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from operator import index

import numpy as np

from graphc.backends.cuda.target import is_cuda
from graphc.engines import AUTO, Engine, engine_requests, measured
from graphc.frontends.netdef import Source, import_net, read_net
from graphc.frontends.netdef.order import require_order
from graphc.input_shapes import assume_input_shapes
from graphc.ir import DType, Graph, GraphcError, LoweringError, TensorType
from graphc.ir.ops.unsupported import require_runnable
from graphc.passes import LEVELS, Pass, Pipeline, parse_pipeline, run_pipeline, with_block, with_devices
from graphc.passes.choose_engines import choose_engines
from graphc.passes.manager import Callback
from graphc.plan import Plan, require_threads
from graphc.plan_inputs import IMAGE_RANK
from graphc.precisions import Precision, precision_passes, require_card, wants_tensor_cores
from graphc.targets import Target, beside, find, library_for, machine_code, with_tuning
from graphc.tuning import measure_tilings, notes_on
from graphc.tuning_file import TuningFile

InputSpec = Mapping[str, "tuple[int, ...] | TensorType | np.ndarray"]
Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``"""


def byte_count(size: int | str) -> int:
    """A number of bytes as it is, or as text with a suffix: K, M, G for 2^10, 2^20, 2^30. Raises ``GraphcError``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", str(size).strip(), re.IGNORECASE)
    if found is None or isinstance(size, bool):
        raise GraphcError(f"{size!r} is no number of bytes", "give one such as 4194304, 4096K, 4M or 1.5G")
    return int(float(found.group(1)) * 1024 ** " KMG".index(found.group(2).upper() or " "))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_model(predict_net: Source, init_net: Source | None = None, inputs: InputSpec | None = None) -> Graph:
    """The graph of a NetDef (pair), as imported.

    predict_net, init_net: paths, bytes or parsed messages. inputs: shapes of inputs by blob name.
    """
    init = read_net(init_net) if init_net is not None else None
    predict = read_net(predict_net)
    if init is not None:
        require_order(predict, init)
    return import_net(predict, init, input_types(inputs))


def input_types(inputs: InputSpec | None) -> dict[str, TensorType]:
    """Types of the inputs as the user gave them: a bare shape is float32."""
    if not isinstance(inputs, Mapping | None):
        raise GraphcError(f"inputs are a {type(inputs).__name__}", "give a dict: inputs={'data': (1, 3, 224, 224)}")
    return {name: _input_type(name, spec) for name, spec in (inputs or {}).items()}


def _input_type(name: str, spec: tuple[int, ...] | TensorType | np.ndarray) -> TensorType:
    if isinstance(spec, TensorType):
        return spec
    try:
        if isinstance(spec, np.ndarray):
            return TensorType(DType.of(spec.dtype), spec.shape)
        return TensorType(DType.FLOAT, tuple(index(d) for d in spec))
    except (TypeError, ValueError) as error:
        raise GraphcError(
            f"the shape of input '{name}' is {spec!r:.80}: {error}",
            f"give whole numbers, a TensorType or an array: inputs={{'{name}': (1, 3, 224, 224)}}",
        ) from None


def optimise(
    graph: Graph,
    target: Target,
    level: int = 2,
    pipeline: Sequence[Pass | str] | str | None = None,
    callback: Callback | None = None,
) -> Graph:
    """Run a pipeline over an imported graph in place: that of ``-O<level>``, or the one given as passes or text.

    Raises ``GraphcError`` for a graph or passes that are for cards where the target is none.
    """
    passes = chosen_pipeline(pipeline, level, target)
    require_card(graph, passes, target)
    run_pipeline(graph, passes, callback)
    graph.stage = "optimised"
    return graph


def chosen_pipeline(
    pipeline: Sequence[Pass | str] | str | None, level: int, target: Target, tensors: bool = False
) -> Pipeline:
    """The passes of a level for a target, or those given, as objects or text; raises ``GraphcError``.

    tensors: passes follow that bring the net into a precision of tensor cores, which decides how values lie on cards.
    """
    if pipeline is None:
        if level not in LEVELS:
            raise GraphcError(f"there is no level {level}", f"levels: {', '.join(map(str, LEVELS))}")
        passes = with_block(LEVELS[level], target.block(tensors))
        return with_devices(passes) if is_cuda(target.name) else passes
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline)
    listed = pipeline if isinstance(pipeline, Sequence) else [pipeline]
    strange = [p for p in listed if not isinstance(p, str | Pass)]
    if strange:
        raise GraphcError(
            f"the pipeline has {strange[0]!r} in it", "give passes, or their names: pipeline='infer_types,dce'"
        )
    return tuple(q for p in pipeline for q in (parse_pipeline(p) if isinstance(p, str) else (p,)))


def compile(
    predict_net: Source,
    init_net: Source | None = None,
    *,
    inputs: InputSpec | None = None,
    outputs: Sequence[str] = (),
    pipeline: Sequence[Pass | str] | str | None = None,
    level: int = 2,
    target: str = "native",
    threads: int | None = None,
    max_memory: int | str | None = None,
    precision: Precision = "float",
    engine: Engine = "default",
    tuning: TuningFile | None = None,
    tune: bool | float = False,
    progress: Progress | None = None,
) -> Plan:
    """Compile a Caffe2 net.

    predict_net, init_net: paths, bytes or parsed NetDefs. inputs: shape (float32), type or example array by blob name;
    where the net does not tell a shape and none is given, one that fits is assumed (a note in ``graph.notes`` says so).
    The plan runs other sizes too. outputs: further blobs to return.
    pipeline: passes instead of those of ``level`` (0, 1, 2). target: ``native``, ``avx512_bf16``, ``avx512_vnni``,
    ``avx512``, ``avx2``, ``portable``, or a card: ``cuda:sm_80``, ``cuda:sm_90a``, with the CPU for what it does not do
    behind a plus (``cuda:sm_90a+avx2``; default: this machine's). threads: for ``Plan.run`` (default: the cores of this
    process). max_memory: bytes, or text such as ``"64M"``, that the arena may have, where values
    between operators lie; weights, inputs and outputs lie outside of it. To keep to it, values may be computed twice.
    precision: ``"float"``, ``"float16"`` (or ``"half"``), ``"bfloat16"`` (``"bf16"``), of weights and of values between
    operators; ``"tf32"``, of what convolutions and products multiply on a card; or a dict of these by the blob that an
    operator computes, ``"*"`` for all others (``docs/half-precision.md``). engine: who computes operators on a card:
    ``"default"``, graphc's kernels; ``"CUDNN"``, NVIDIA's libraries where they can; ``"net"``, these where the NetDef
    names them; ``"auto"``, where they are faster on this machine's card; or a dict by blob, ``"*"`` for all others
    (``docs/cuda.md``). tuning: which tiles kernels of a card have, instead of those that a model says: a ``Tuning``, or
    the path of one. tune: measure them on this machine's card; as a number, what is not measured after so many seconds
    is left to the model. Raises ``GraphcError`` and its kinds.
    """
    graph = import_model(predict_net, init_net, inputs)
    return compile_graph(
        graph,
        outputs=outputs,
        pipeline=pipeline,
        level=level,
        target=target,
        threads=threads,
        max_memory=max_memory,
        precision=precision,
        engine=engine,
        tuning=tuning,
        tune=tune,
        progress=progress,
    )


def compile_graph(
    graph: Graph,
    *,
    outputs: Sequence[str] = (),
    pipeline: Sequence[Pass | str] | str | None = None,
    level: int = 2,
    target: str = "native",
    threads: int | None = None,
    max_memory: int | str | None = None,
    precision: Precision = "float",
    engine: Engine = "default",
    tuning: TuningFile | None = None,
    tune: bool | float = False,
    progress: Progress | None = None,
    prepare: bool = True,
) -> Plan:
    """Compile an imported graph; see ``compile``. prepare: have the machine code now, not when the plan first runs."""
    require_threads(threads)
    limit = None if max_memory is None else byte_count(max_memory)
    machine, seconds = tuned_target(target, tuning, tune)
    engines = engine_requests(engine, is_cuda(machine.name))
    require_runnable(graph)
    _add_outputs(graph, outputs)
    assume_input_shapes(graph)
    _require_static_inputs(graph)
    report = progress or (lambda stage, done, total: None)
    report("optimise", 0, 1)
    passes = chosen_pipeline(pipeline, level, machine, wants_tensor_cores(precision))
    optimise(graph, machine, level, (*passes, *precision_passes(precision, machine)))
    report("optimise", 1, 1)
    code = machine_code(library_for(machine), beside=beside(target))
    cores = threads or available_cores()

    def trial(requests: Mapping[str, str]) -> Plan:
        mine, own = graph.clone(), machine_code(code.library, beside=beside(target))
        choose_engines(mine, own.library, requests)
        return Plan.build(mine, own.library, cores, own, limit)

    if tune:
        fixed = {name: word for name, word in engines.items() if word != AUTO}
        found = measure_tilings(trial(fixed), seconds, lambda done, total: report("tune", done, total))
        graph.notes += notes_on(found)
        code = machine_code(library_for(with_tuning(machine, found.tuning)), beside=beside(target))
    if engines:
        choose_engines(graph, code.library, measured(engines, trial))
    plan = Plan.build(graph, code.library, cores, code, limit)
    if prepare:
        plan.prepare(lambda done, total: report("kernels", done, total))
    return plan


def tuned_target(target: str, tuning: TuningFile | None, tune: bool | float) -> tuple[Target, float | None]:
    """A target with the table of tilings that is given, and for how many seconds to measure one, None for no limit.

    Raises ``GraphcError`` for what cannot be asked.
    """
    machine = find(target)
    if isinstance(tune, bool):
        seconds = None
    elif isinstance(tune, int | float) and tune > 0:
        seconds = float(tune)
    else:
        raise GraphcError(f"tune is {tune!r}", "give True, or for how many seconds to measure: tune=60")
    if tune and tuning is not None:
        raise GraphcError("tiles are to be measured, and a table of them is given", "give one of tune and tuning")
    if tune and not is_cuda(machine.name):
        raise GraphcError(f"the target '{machine.name}' is a CPU, which has nothing to tune", "give a card: --target")
    return (machine if tuning is None else with_tuning(machine, tuning)), seconds


def _add_outputs(graph: Graph, names: Sequence[str]) -> None:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise GraphcError(f"outputs is {names!r}", "give a list of blob names: outputs=['fc7']")
    blobs = graph.blobs()
    for name in names:
        if name not in blobs:
            raise GraphcError(f"the net has no blob '{name}' to return", "graphc dump lists the blobs")
        if name not in graph.output_names:
            graph.add_output(blobs[name], name)


def _require_static_inputs(graph: Graph) -> None:
    for v in graph.inputs:
        if v.type.is_static and v.type.rank == IMAGE_RANK and v.type.size == 0:
            raise LoweringError(
                f"input '{v.name}': it has no elements ({v.type})",
                "give larger inputs; a batch has at least one image",
            )
    unknown = [v for v in graph.inputs if (v.uses or v in graph.outputs) and not v.type.is_static]
    if len(unknown) > 1:
        raise LoweringError(
            f"the shapes of {len(unknown)} inputs are not known: {', '.join(repr(v.name) for v in unknown[:20])}",
            "give the init net, which holds the weights (--init, init_net=); shapes of run-time inputs as --input "
            "NAME=DIMS, inputs={NAME: (...)}",
        )
    for v in unknown:
        dims = "..." if v.type.shape is None else ",".join(map(str, v.type.shape))
        raise LoweringError(
            f"the shape of input '{v.name}' is not known ({v.type})",
            f"give it: --input {v.name}={dims} on the command line, inputs={{'{v.name}': (...)}} in Python",
        )
