"""``caffe2.python.recurrent``: nets that run once for each step of a sequence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from graphc.caffe2 import core, workspace
from graphc.caffe2.core.backward import backward_pass
from graphc.frontends.netdef.schema import Message


class _Link(NamedTuple):
    """A blob of the step net is row ``step + offset`` of a blob around it."""

    internal: str
    external: str
    offset: int


def _arguments(prefix: str, links: Sequence[_Link], fields: Sequence[str]) -> dict[str, Any]:
    """Links as three arguments of the operator."""
    return {f"{prefix}{field}": [link[i] for link in links] for i, field in enumerate(fields)}


def recurrent_net(
    net: core.Net,
    cell_net: core.Net,
    inputs: Sequence[tuple[Any, Any]],
    initial_cell_inputs: Sequence[tuple[Any, Any]],
    links: Mapping[Any, Any],
    timestep: Any = None,
    scope: str | None = None,
    outputs_with_grads: Sequence[int] = (0,),
    recompute_blobs_on_backward: Collection[Any] | None = None,
    forward_only: bool = False,
) -> Any:
    """Add RecurrentNetwork to a net: the cell net runs for each step of a sequence; the outputs of the operator.

    inputs: one pair of the cell's input and the sequence, of shape (steps, batch, ...). initial_cell_inputs: pairs of
    the cell's inputs for states and what these are before the first step. links: the cell's output that is the input of
    the next step, by input. timestep: the cell's blob that counts steps. scope: prefix of the blobs that the operator
    keeps. For each state there are two outputs: all steps (``STATE_all``) and the last (``STATE_last``).

    outputs_with_grads: positions of outputs that have gradients from outside. recompute_blobs_on_backward: blobs of the
    cell that its gradient computes anew. forward_only: there will be no gradient. Raises ``AssertionError`` unless
    there is one input.
    """
    if len(inputs) != 1:
        raise AssertionError("Only one input blob is supported so far")
    prefix = net.NextName("recurrent") if scope is None else scope
    cell = _Cell(cell_net, inputs[0], initial_cell_inputs, links, timestep, str(prefix))
    arguments: dict[str, Any] = {}
    if not forward_only:
        arguments = _backward(cell, {str(b) for b in recompute_blobs_on_backward or ()}, outputs_with_grads)
    cell_net.Proto().type = "simple"
    outputs = [blob for state in cell.states for blob in (state.output + "_all", state.output + "_last")]
    results = net.RecurrentNetwork(
        cell.inputs,
        [*outputs, f"{prefix}/step_workspaces"],
        **_arguments("alias_", cell.aliases(), ("src", "dst", "offset")),
        recurrent_states=[state.blob for state in cell.states],
        initial_recurrent_state_ids=[cell.inputs.index(state.initial) for state in cell.states],
        **_arguments("link_", cell.links(), ("internal", "external", "offset")),
        enable_rnn_executor=1,
        step_net=cell_net.Proto(),
        timestep="timestep" if timestep is None else str(timestep),
        **arguments,
    )
    return results[:-1]


class _State(NamedTuple):
    """A state of the cell: its input and output there, where it begins, and the blob that holds all steps."""

    input: str
    output: Any
    initial: str
    blob: str


class _Cell:
    """A step net and what it has to do with the net around it.

    references: blobs around it that every step reads, its parameters above all.
    """

    def __init__(
        self, net: core.Net, data: tuple[Any, Any], initial: Sequence[tuple[Any, Any]], links: Mapping[Any, Any],
        timestep: Any, prefix: str,
    ) -> None:  # fmt: skip
        self.net = net
        self.data = (str(data[0]), str(data[1]))
        outputs = {str(name): output for name, output in links.items()}
        self.states = [
            _State(str(name), outputs[str(name)], str(begin), f"{prefix}/{name}_states") for name, begin in initial
        ]
        known = {self.data[0], *(s.input for s in self.states), *(s.initial for s in self.states), str(timestep)}
        self.references = [core.BlobReference(b) for b in net.Proto().external_input if b not in known]
        self.inputs = [data[1], *(begin for _, begin in initial), *self.references]

    def links(self) -> list[_Link]:
        """States come from the row of the step, go to the next one; the input is a row of the sequence."""
        rows = [
            link for s in self.states for link in (_Link(s.input, s.blob, 0), _Link(str(s.output), s.blob, 1))
        ]  # fmt: skip
        return [*rows, _Link(*self.data, 0)]

    def aliases(self) -> list[_Link]:
        """Outputs of the operator: rows from the first on, or the last one."""
        return [
            link
            for s in self.states
            for link in (_Link(s.blob, f"{s.output}_all", 1), _Link(s.blob, f"{s.output}_last", -1))
        ]


def _backward(cell: _Cell, recomputed: set[str], outputs_with_grads: Sequence[int]) -> dict[str, Any]:
    """The arguments of RecurrentNetwork for its gradient: the step net's gradient above all."""
    forward = cell.net.Proto()
    given = _given_gradients(forward, [str(state.output) for state in cell.states])
    operators, found = backward_pass(forward.op, given, True)
    gradients = found.gradients
    net = core.Net("RecurrentBackwardStep")
    proto = net.Proto()
    proto.op.extend([*_recomputing(forward, recomputed), *operators])
    proto.type = "simple"
    ssa, versions = core.get_ssa(proto)
    undefined = core.get_undefined_blobs(ssa)
    made = core.get_ssa(forward)[1]
    proto.external_input.extend(
        blob for blob, version in made.items()
        if version > 0 and blob in undefined and blob not in forward.external_output
    )  # fmt: skip
    links = []
    for state in cell.states:
        links.append(_Link(given[str(state.output)], f"{state.blob}_grad", 1))
        proto.external_input.append(given[str(state.output)])
        # a gradient that no operator writes under the state's own name is linked under the one it has
        own = f"{state.input}_grad"
        links.append(_Link(own if versions.get(own) else str(gradients[state.input]), f"{state.blob}_grad", 0))
    links.append(_Link(str(gradients[cell.data[0]]), f"{cell.data[1]}_grad", 0))
    proto.external_input.extend([*forward.external_input, *forward.external_output])
    trained = [blob for blob in cell.references if str(blob) in gradients]
    arguments: dict[str, Any] = {
        "param": [cell.inputs.index(blob) for blob in trained],
        **_arguments("backward_link_", links, ("internal", "external", "offset")),
        "outputs_with_grads": list(outputs_with_grads),
        "recompute_blobs_on_backward": sorted(recomputed),
        "param_grads": [str(gradients[str(blob)]) for blob in trained],
    }
    return {**arguments, "backward_step_net": proto} if proto.op else arguments


def _given_gradients(forward: Message, outputs: Sequence[str]) -> dict[str, str]:
    """The names of the gradients that the states after a step get from outside.

    A state that the step net itself reads has another gradient inside; the sum of both has the usual name.
    """
    made, read = set[str](), set[str]()
    for op in forward.op:
        read.update(name for name in op.input if name in made)
        made.update(op.output)
    return {name: f"{name}_grad_outside" if name in read else f"{name}_grad" for name in outputs}


def _recomputing(forward: Message, blobs: set[str]) -> list[Message]:
    """The operators that make these blobs; raises ``AssertionError`` if they make others, too."""
    found = [op for op in forward.op if blobs & set(op.output)]
    for op in found:
        if not blobs >= set(op.output):
            raise AssertionError(f"{op.type} makes {list(op.output)}: either all of these are recomputed or none")
    return found


def set_rnn_executor_config(
    rnn_op: Message, num_threads: int | None = None, max_cuda_streams: int | None = None
) -> None:
    """Note how many threads a RecurrentNetwork operator may use, which changes no answer."""
    if rnn_op.type not in ("RecurrentNetwork", "RecurrentNetworkGradient"):
        raise AssertionError(f"{rnn_op.type} is no recurrent network")
    for name, value in (("num_threads", num_threads), ("max_cuda_streams", max_cuda_streams)):
        if value is not None:
            rnn_op.arg.add(name=f"rnn_executor.{name}", i=value)


def retrieve_step_blobs(net: core.Net, prefix: str = "rnn") -> list[Any]:
    """Copy the blobs of the steps of a net's recurrent networks into the workspace, and give their names."""
    found: list[Any] = []
    operators = [op for op in net.Proto().op if op.type == "RecurrentNetwork"]
    for i, op in enumerate(operators, 1):
        names = f"{prefix}_{i}"
        fetch = core.CreateOperator("RecurrentNetworkBlobFetcher", [op.output[-1]], [names], prefix=prefix)
        workspace.RunOperatorOnce(fetch)
        found += workspace.FetchBlob(names).tolist()
    return found
