"""RecurrentNetworkGradient, which runs the backward step net from the last time step to the first; what reads the
workspaces of the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.opdef import Call, Trait, op
from graphc.ir.ops.host.control import needed_subgraph
from graphc.ir.ops.recurrent.network import NETWORK_ARGS, Link, StepWorkspaces, initial_steps, name_text, operand_names
from graphc.ir.types import DType, TensorType

SUFFIX = "_grad"
"""The gradient of a blob is called like it, with this at the end: what ``backward_link_external`` means."""


def _first_input(call: Call) -> int:
    """Position of the forward operator's first input, behind the gradients of its outputs."""
    return len(call.arg("outputs_with_grads"))


def _learned(call: Call) -> tuple[int, ...]:
    """The forward inputs that the results are the gradients of: the sequence, the parameters, the initial states."""
    return 0, *call.arg("param"), *call.arg("initial_recurrent_state_ids")


def _gradient_types(call: Call) -> list[TensorType]:
    """A gradient has the shape of its forward input."""
    positions = [_first_input(call) + i for i in _learned(call)]
    if len(positions) != call.n_outputs:
        call.fail(
            f"it has {call.n_outputs} outputs, but the gradients of {len(positions)} inputs",
            "give it an output for the sequence, each parameter ('param') and each initial state",
        )
    if any(not 0 <= i < call.n_inputs for i in positions):
        call.fail(f"'param' or 'initial_recurrent_state_ids' names an input beyond its {call.n_inputs}")
    return [TensorType(DType.FLOAT, call.type(i).shape) for i in positions]


def _backward_links(call: Call) -> list[Link]:
    inner, outer, offsets = (call.arg(f"backward_link_{part}") for part in ("internal", "external", "offset"))
    if not len(inner) == len(outer) == len(offsets):
        call.fail("the lists of backward links (backward_link_internal, _external, _offset) differ in length")
    return [Link(name_text(i), name_text(e), o, 1) for i, e, o in zip(inner, outer, offsets)]


def workspaces_of(call: Call, arrays: Sequence[np.ndarray]) -> StepWorkspaces:
    """The blobs of the forward steps, which the last input holds (captured ones, which may follow, are tensors)."""
    found = [a.item() for a in arrays if a.ndim == 0 and a.dtype == object]
    spaces = [s for s in found if isinstance(s, StepWorkspaces)]
    if not spaces:
        call.fail("none of its inputs holds the workspaces of a RecurrentNetwork", "compile both in one net")
    return spaces[-1]


@dataclass
class _Backward:
    """One run.

    whole: gradients over all time steps by name, those of states in front. learned: the parameters' gradients by the
    blob of the backward net that a step's share is in.
    """

    call: Call
    arrays: Sequence[np.ndarray]
    whole: dict[str, np.ndarray] = field(default_factory=dict)
    learned: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        call = self.call
        self.first = _first_input(call)
        self.sequence = self.arrays[self.first]
        self.links = {link.internal: link for link in _backward_links(call)}
        names = operand_names(call)
        self.outer = {n: a for n, a in zip(names, self.arrays) if n}
        states = zip(map(name_text, call.arg("recurrent_states")), call.arg("initial_recurrent_state_ids"))
        for state, i in states:
            initial = self.arrays[self.first + i]
            steps: Any = len(self.sequence) + initial_steps(initial.shape)
            self.whole[state + SUFFIX] = np.zeros((steps, self.sequence.shape[1], initial.shape[-1]), np.float32)
        self.states = list(self.whole)
        self.sequence_name = names[self.first] + SUFFIX
        self.whole[self.sequence_name] = np.zeros_like(self.sequence)
        for name, i in zip(self.parameter_names(), call.arg("param")):
            self.learned[name] = np.zeros_like(self.arrays[self.first + i])

    def parameter_names(self) -> list[str]:
        """The blobs of the backward net with a step's share of the parameters' gradients."""
        call = self.call
        given = [name_text(n) for n in call.arg("param_grads")]
        if given and len(given) != len(call.arg("param")):
            call.fail("the lists 'param' and 'param_grads' differ in length")
        return given or [r.name for r in call.node.results[1 : 1 + len(call.arg("param"))]]

    def given(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """The gradients from outside: the state's gradient, what is added to it, the offset of the output's alias.

        Caffe2 takes the last output of each state and offset.
        """
        call = self.call
        outputs = {name: k for k, name in enumerate(call.arg("outputs_with_grads"))}
        found: dict[tuple[str, int], int] = {}
        for j, (source, offset) in enumerate(zip(call.arg("alias_src"), call.arg("alias_offset"))):
            if j in outputs and offset not in (1, -1):
                call.fail(f"output {j} has a gradient, but starts at time step {offset}", "only 1 and -1 are possible")
            if j in outputs:
                found[name_text(source) + SUFFIX, offset] = outputs[j]
        for (state, offset), k in found.items():
            target, source = self.whole[state], self.arrays[k]
            expected = (len(self.sequence) if offset == 1 else 1, *target.shape[1:])
            if source.size != np.prod(expected):
                call.fail(f"input {k} is {list(source.shape)}, but the gradient of a state that is {list(expected)}")
            yield target, source.reshape(expected), offset

    def run(self, step: Graph, spaces: StepWorkspaces) -> None:
        """All time steps."""
        given = list(self.given())
        for state, gradient, offset in given:
            if offset == -1:
                state[-1] += gradient[0]
        for t in range(len(self.sequence) - 1, -1, -1):
            for state, gradient, offset in given:
                if offset == 1:
                    state[t + 1] += gradient[t]
            inputs = [self.read(v.name, t, spaces.steps[t]) for v in step.inputs]
            for name, value in zip(step.output_names, self.call.run(step, inputs)):
                self.write(name, t, value)

    def read(self, name: str, t: int, blobs: dict[str, np.ndarray]) -> np.ndarray:
        """What an input of the backward step net is at a time step."""
        if name in self.links:
            return self.slice(self.links[name], t)
        found = blobs.get(name, self.outer.get(name))
        if found is None:
            self.call.fail(f"no blob is called '{name}', which backward_step_net reads")
        return found

    def slice(self, link: Link, t: int) -> np.ndarray:
        """A time step of a gradient over all."""
        whole = self.whole.get(link.external)
        if whole is None:
            self.call.fail(
                f"backward link '{link.internal}' is a part of '{link.external}', which is no gradient of the operator",
                f"link gradients of states, or '{self.sequence_name}'",
            )
        return whole[t + link.offset : t + link.offset + 1]

    def write(self, name: str, t: int, value: np.ndarray) -> None:
        """Keep what the backward step net made: linked blobs replace a time step, parameters' gradients add up."""
        link = self.links.get(name)
        if link is not None:
            target = self.slice(link, t)
            if target.size != value.size:
                self.call.fail(f"'{name}' is {list(value.shape)}, but a time step of it is {list(target.shape)}")
            target[...] = value.reshape(target.shape)
        elif name in self.learned:
            self.learned[name] += value.reshape(self.learned[name].shape)

    def initial(self, state: str, i: int) -> np.ndarray:
        """The gradient of an initial state; of one that served the whole batch, the sum over it."""
        initial = self.arrays[self.first + i]
        part = self.whole[state][: initial_steps(initial.shape)]
        return part[0].sum(0) if initial.ndim == 1 else part.reshape(initial.shape)


def _gradient(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    step, spaces = needed_subgraph(call, "backward_step_net"), workspaces_of(call, arrays)
    backward = _Backward(call, arrays)
    if len(spaces.steps) < len(backward.sequence):
        call.fail(f"the workspaces are of {len(spaces.steps)} steps, the sequence has {len(backward.sequence)}")
    missing = [n for n in backward.learned if n not in step.output_names]
    if missing:
        call.fail(f"backward_step_net does not make '{missing[0]}', the gradient of a parameter")
    backward.run(step, spaces)
    initial = zip(backward.states, call.arg("initial_recurrent_state_ids"))
    whole = backward.whole[backward.sequence_name]
    return [whole, *backward.learned.values(), *(backward.initial(state, i) for state, i in initial)]


op(
    "RecurrentNetworkGradient",
    _gradient_types,
    inputs="inputs*",
    outputs="gradients*",
    args=NETWORK_ARGS,
    reference=_gradient,
    traits=Trait.HOST,
    doc="gradients of RecurrentNetwork: runs the backward step net from the last time step to the first",
)
