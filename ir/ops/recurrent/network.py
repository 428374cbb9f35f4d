"""RecurrentNetwork, which runs a step net for every time step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.infer import infer_subgraph
from graphc.ir.opdef import Arg, Call, Trait, op, shape_operands
from graphc.ir.ops._rules import require
from graphc.ir.types import Dim, DType, TensorType, dims_agree

Size = TypeVar("Size")
NETWORK_ARGS = (
    Arg("step_net", "graph", doc="what one time step does"),
    Arg("backward_step_net", "graph", doc="the gradient of one time step"),
    Arg("recurrent_states", "strings", (), "blobs that hold a state of all time steps"),
    Arg("initial_recurrent_state_ids", "ints", (), "inputs that hold the states before the first step"),
    Arg("link_internal", "strings", (), "blobs of the step net"),
    Arg("link_external", "strings", (), "the blobs over all time steps that they are slices of"),
    Arg("link_offset", "ints", (), "time step of the slice, relative to the current one"),
    Arg("link_window", "ints", (), "time steps of the slice"),
    Arg("backward_link_internal", "strings", ()),
    Arg("backward_link_external", "strings", ()),
    Arg("backward_link_offset", "ints", ()),
    Arg("backward_alias_src", "strings", ()),
    Arg("backward_alias_dst", "strings", ()),
    Arg("backward_alias_offset", "ints", ()),
    Arg("alias_src", "strings", (), "blobs over all time steps of which outputs are parts"),
    Arg("alias_dst", "strings", (), "the outputs"),
    Arg("alias_offset", "ints", (), "first time step of the part; -1: the last step alone"),
    Arg("timestep", "string", b"timestep", "the blob of the step net that holds the number of the step"),
    Arg("recompute_blobs_on_backward", "strings", ()),
    Arg("outputs_with_grads", "ints", ()),
    Arg("param", "ints", (), "inputs that are parameters"),
    Arg("param_grads", "strings", ()),
    Arg("operand_names", "strings", (), "names of all operands, by which nets and links call them; the importer's"),
    Arg("enable_rnn_executor", "int", 0, "a preference, never changes the answer"),
    Arg("rnn_executor_debug", "int", 0),
    Arg("rnn_executor.num_threads", "int", None, "a preference, never changes the answer"),
    Arg("rnn_executor.max_cuda_streams", "int", None, "a preference, never changes the answer"),
)
"""Arguments of RecurrentNetwork, which its gradient has too."""


@dataclass(frozen=True)
class StepWorkspaces:
    """What the last output of a RecurrentNetwork holds, as the only element of an array: the blobs of every step.

    outer: those among them that are the operator's own inputs.
    """

    steps: list[dict[str, np.ndarray]]
    outer: frozenset[str]


def initial_steps(shape: Sequence[Size]) -> Size | int:
    """Time steps that an initial state covers: (steps, batch, width), or one for (batch, width) and (width)."""
    return shape[0] if len(shape) == 3 else 1


def _state_shapes(call: Call) -> dict[str, tuple[Dim, ...]]:
    """Shape (initial and running time steps, batch, width) of every recurrent state that is known."""
    time = call.type(0).shape
    found: dict[str, tuple[Dim, ...]] = {}
    for name, i in zip(map(name_text, call.arg("recurrent_states")), call.arg("initial_recurrent_state_ids")):
        if not 0 <= i < call.n_inputs:
            call.fail(f"argument 'initial_recurrent_state_ids' names input {i}, there are {call.n_inputs}")
        initial = require(call, i, (DType.FLOAT,)).shape
        if time is not None and initial is not None:
            _check_initial(call, i, time, initial)
        if time is not None and initial is not None and len(time) >= 2:
            found[name] = (time[0] + initial_steps(initial), time[1], initial[-1])
    return found


def _check_initial(call: Call, i: int, time: tuple[Dim, ...], initial: tuple[Dim, ...]) -> None:
    """Fail unless input ``i`` is (width), (batch, width) or (initial steps, batch, width); a batch of 1 serves all."""
    if len(time) < 2:
        call.fail(f"input 0 has the shape {time}, time steps and a batch are needed")
    if not 1 <= len(initial) <= 3:
        call.fail(f"input {i}, an initial state, has the shape {initial}, 1 to 3 dimensions are needed")
    if len(initial) > 1 and initial[-2] != 1 and not dims_agree(initial[-2], time[1]):
        call.fail(f"input {i}, an initial state, has a batch of {initial[-2]}, input 0 one of {time[1]}")


def operand_names(call: Call) -> list[str]:
    """What the nets and links call the operands: a pass may have put another value in the place of one."""
    given = [name_text(n) for n in call.arg("operand_names")]
    return given or [v.name if v is not None else "" for v in call.node.operands]


def outer_input(call: Call, name: str) -> int:
    """The input that a step net's blob or a link of this name means; fails where there is none."""
    named = operand_names(call)
    if name not in named or named.index(name) >= call.n_inputs:
        call.fail(
            f"no input is called '{name}', which the step net needs", "keep the names of a RecurrentNetwork's inputs"
        )
    return named.index(name)


@dataclass(frozen=True)
class Link:
    """A blob of the step net that is ``window`` time steps of an outer one, from step t + offset on."""

    internal: str
    external: str
    offset: int
    window: int


def name_text(value: bytes | str) -> str:
    """A blob's name among the arguments as text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def links_of(call: Call) -> list[Link]:
    """The links of a RecurrentNetwork; fails where their lists differ in length."""
    inner, outer, offsets = (call.arg(f"link_{part}") for part in ("internal", "external", "offset"))
    windows = call.arg("link_window") or (1,) * len(inner)
    if not len(inner) == len(outer) == len(offsets) == len(windows):
        call.fail("the lists of links (link_internal, link_external, link_offset, link_window) differ in length")
    return [Link(name_text(i), name_text(e), o, w) for i, e, o, w in zip(inner, outer, offsets, windows)]


def _alias_type(states: dict[str, tuple[Dim, ...]], source: str, offset: int) -> TensorType:
    """An output that is the part of a state from time step ``offset`` on; negative offsets count from the end."""
    shape = states.get(source)
    if shape is None:
        return TensorType(DType.FLOAT, None)
    length: Dim = -offset if offset < 0 else shape[0] - offset
    return TensorType(DType.FLOAT, (length, *shape[1:]))


def _step_type(call: Call, name: str, states: dict[str, tuple[Dim, ...]]) -> TensorType:
    """Type of an input of the step net."""
    if name == call.arg("timestep"):
        return TensorType(DType.INT32, (1,))
    for link in links_of(call):
        if link.internal == name:
            state = states.get(link.external)
            shape = state or (None if _is_state(call, link) else call.type(outer_input(call, link.external)).shape)
            return TensorType(DType.FLOAT, None if shape is None else (link.window, *shape[1:]))
    return call.type(outer_input(call, name))


def _is_state(call: Call, link: Link) -> bool:
    """The link's outer blob is a recurrent state."""
    return link.external in map(name_text, call.arg("recurrent_states"))


def _network_types(call: Call) -> list[TensorType]:
    """Outputs that ``alias_dst`` lists are parts of states; the others (step workspaces) are opaque."""
    states = _state_shapes(call)
    known = set(map(name_text, call.arg("recurrent_states")))
    for source in map(name_text, call.arg("alias_src")):
        if source not in known:
            call.fail(f"argument 'alias_src' names '{source}', which is no recurrent state", f"known: {sorted(known)}")
    step = call.node.attrs.get("step_net")
    if isinstance(step, Graph):
        infer_subgraph(step, [_step_type(call, v.name, states) for v in step.inputs])
    parts = zip(call.arg("alias_src"), call.arg("alias_dst"), call.arg("alias_offset"))
    types = [_alias_type(states, name_text(source), offset) for source, _, offset in parts]
    return types[: call.n_outputs] + [TensorType()] * (call.n_outputs - len(types))


def _initial_states(call: Call, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Every recurrent state over all time steps, zero after the initial ones; a vector serves the whole batch."""
    steps, batch = arrays[0].shape[:2]
    states = {}
    for name, i in zip(call.arg("recurrent_states"), call.arg("initial_recurrent_state_ids")):
        first = arrays[i].reshape((1,) * (3 - arrays[i].ndim) + arrays[i].shape)
        state = np.zeros((len(first) + steps, batch, first.shape[-1]), first.dtype)
        state[: len(first)] = first
        states[name_text(name)] = state
    return states


def _recurrent_network(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    step = call.node.attrs.get("step_net")
    if not isinstance(step, Graph):
        call.fail("argument 'step_net' is missing", "give the operator a net")
    states = _initial_states(call, arrays)
    links = {link.internal: link for link in links_of(call)}
    inner = {call.arg("timestep"), *links}
    workspaces = StepWorkspaces([], frozenset(v.name for v in step.inputs if v.name not in inner))
    for t in range(len(arrays[0])):
        inputs = [_step_input(call, v.name, links, states, arrays, t) for v in step.inputs]
        results = call.run(step, inputs)
        for name, value in zip(step.output_names, results):
            link = links.get(name)
            if link is not None and link.external in states:
                part = states[link.external][t + link.offset : t + link.offset + link.window]
                if part.size != value.size:
                    call.fail(f"step {t} gives '{name}' the shape {value.shape}, its state has {part.shape} there")
                part[...] = value
        blobs = {name: _step_input(call, name, links, states, arrays, t) for name in sorted(inner)}
        workspaces.steps.append(blobs | dict(zip((v.name for v in step.inputs), inputs)))
        workspaces.steps[-1].update(zip(step.output_names, results))
    parts = zip(call.arg("alias_src"), call.arg("alias_offset"))
    outputs = [states[name_text(source)][offset:] for source, offset in parts]
    return outputs + [_element(workspaces)] * (call.n_outputs - len(outputs))


def _element(value: object) -> np.ndarray:
    """An array without dimensions that holds an object."""
    array = np.empty((), object)
    array[()] = value
    return array


def _step_input(
    call: Call,
    name: str,
    links: dict[str, Link],
    states: dict[str, np.ndarray],
    arrays: Sequence[np.ndarray],
    t: int,
) -> np.ndarray:
    if name == call.arg("timestep"):
        return np.array([t], np.int32)
    link = links.get(name)
    if link is None:
        return arrays[outer_input(call, name)]
    whole = states[link.external] if link.external in states else arrays[outer_input(call, link.external)]
    return whole[t + link.offset : t + link.offset + link.window]


def can_unroll(call: Call) -> bool:
    """The step net can be written out for every time step: every operator in it is native, every link is one step of an
    outer blob, and nobody reads the workspaces of the steps."""
    step = call.node.attrs.get("step_net")
    if not isinstance(step, Graph) or any(link.window != 1 for link in links_of(call)):
        return False
    if any(Trait.HOST in n.opdef.traits_of(Call(n)) or n.opdef.sizes or shape_operands(n) for n in step.nodes):
        return False
    graph, aliases = call.node.graph, len(call.arg("alias_dst"))
    return not any(r.uses or (graph and r in graph.outputs) for r in call.node.results[aliases:])


def _network_traits(call: Call) -> Trait:
    return Trait.NONE if can_unroll(call) else Trait.HOST


op(
    "RecurrentNetwork",
    _network_types,
    inputs="inputs*",
    outputs="outputs*",
    args=NETWORK_ARGS,
    reference=_recurrent_network,
    call_traits=_network_traits,
    doc="runs the step net for every time step; links cut its blobs out of those over all steps, aliases make outputs",
)
