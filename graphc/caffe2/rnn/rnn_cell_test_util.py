"""``caffe2.python.rnn.rnn_cell_test_util``: a recurrent layer with all that it reads, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core, scope, workspace
from graphc.caffe2.model_helper import ModelHelper


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    found: np.ndarray = 1.0 / (1.0 + np.exp(-x))
    return found


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent, by ``sigmoid``."""
    return 2.0 * sigmoid(2.0 * x) - 1.0


def _prepare_rnn(
    t: int,
    n: int,
    dim_in: int,
    create_rnn: Callable[..., Any],
    outputs_with_grads: Sequence[int],
    forget_bias: float,
    memory_optim: bool = False,
    forward_only: bool = False,
    drop_states: bool = False,
    T: int | None = None,
    two_d_initial_states: bool | None = None,
    dim_out: Sequence[int] | None = None,
    num_states: int = 2,
    **kwargs: Any,
) -> tuple[Any, core.Net, list[core.BlobReference]]:
    """What the layer returns, its net, and the blobs of its initial states and its input; the latter is to be fed.

    t, n: time steps and batch. dim_out: units of every layer, as many as inputs unless given. num_states: initial
    states of a layer. two_d_initial_states: these are (batch, units), not (1, batch, units); chance decides unless it
    is said. T: time steps to write out. The states, the lengths of the sequences and the parameters are in the
    workspace, at random.
    """
    units = [dim_in] if dim_out is None else list(dim_out)
    flat = np.random.randint(2) if two_d_initial_states is None else two_d_initial_states
    model = ModelHelper(name="external")
    states: list[core.BlobReference] = []
    for layer, width in enumerate(units):
        for kind in ("hidden", "cell")[:num_states]:
            states.append(model.net.AddExternalInput(f"{kind}_init_{layer}"))
            state = np.random.randn(*((n, width) if flat else (1, n, width)))
            workspace.FeedBlob(states[-1], state.astype(np.float32))
    with scope.NameScope("test_name_scope"):
        data, lengths = model.net.AddScopedExternalInputs("input_blob", "seq_lengths")
        outputs = create_rnn(
            model,
            data,
            lengths,
            states,
            dim_in=dim_in,
            dim_out=units,
            scope="external/recurrent",
            outputs_with_grads=outputs_with_grads,
            memory_optimization=memory_optim,
            forget_bias=forget_bias,
            forward_only=forward_only,
            drop_states=drop_states,
            static_rnn_unroll_size=T,
            **kwargs,
        )
    workspace.RunNetOnce(model.param_init_net)
    workspace.FeedBlob(lengths, np.random.randint(1, t + 1, size=(n,)).astype(np.int32))
    return outputs, model.net, [*states, data]
