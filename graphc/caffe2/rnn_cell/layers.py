"""Recurrent layers over sequences: LSTM and its relatives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import workspace
from graphc.caffe2.rnn_cell.basic import BasicRNNCell
from graphc.caffe2.rnn_cell.composed import MultiRNNCell, UnrolledCell
from graphc.caffe2.rnn_cell.lstm import LayerNormLSTMCell, LayerNormMILSTMCell, LSTMCell, MILSTMCell


def _LSTM(
    cell_class: Any,
    model: Any,
    input_blob: Any,
    seq_lengths: Any,
    initial_states: Any,
    dim_in: int,
    dim_out: Any,
    scope: str | None = None,
    outputs_with_grads: Sequence[int] = (0,),
    return_params: bool = False,
    memory_optimization: bool = False,
    forget_bias: float = 0.0,
    forward_only: bool = False,
    drop_states: bool = False,
    return_last_layer_only: bool = True,
    static_rnn_unroll_size: int | None = None,
    **cell_kwargs: Any,
) -> tuple[Any, ...]:
    """A recurrent layer, or several: all steps and the last of each state.

    input_blob: (steps, batch, dim_in). seq_lengths: a blob of a length for each of the batch, or None. initial_states:
    blobs, (1, batch, dim_out), for all layers; None makes parameters of them. dim_out: units, a list for several
    layers. outputs_with_grads: positions of outputs of the last layer that have gradients; an LSTM's outputs are
    hidden state (all, last) and cell state (all, last). return_params: the last output is a dict of parameters' names.
    static_rnn_unroll_size: so many steps are written out in the net.
    """
    sizes = list(dim_out) if isinstance(dim_out, list | tuple) else [dim_out]
    cells = [
        cell_class(
            input_size=before,
            hidden_size=size,
            forget_bias=forget_bias,
            memory_optimization=memory_optimization,
            name=scope if len(sizes) == 1 else None,
            forward_only=forward_only,
            drop_states=drop_states,
            **cell_kwargs,
        )
        for before, size in zip([dim_in, *sizes], sizes)
    ]
    cell: Any = cells[0] if len(sizes) == 1 else MultiRNNCell(cells, name=scope, forward_only=forward_only)
    last_layer = 4 * (len(sizes) - 1)
    whole = cell if static_rnn_unroll_size is None else UnrolledCell(cell, static_rnn_unroll_size)
    _, result = whole.apply_over_sequence(
        model=model,
        inputs=input_blob,
        seq_lengths=seq_lengths,
        initial_states=initial_states,
        outputs_with_grads=[last_layer + i for i in outputs_with_grads],
    )
    outputs = tuple(result)[last_layer:] if return_last_layer_only else tuple(result)
    if not return_params:
        return outputs
    return (*outputs, {"input": cell.get_input_params(), "recurrent": cell.get_recurrent_params()})


LSTM = functools.partial(_LSTM, LSTMCell)
BasicRNN = functools.partial(_LSTM, BasicRNNCell)
MILSTM = functools.partial(_LSTM, MILSTMCell)
LayerNormLSTM = functools.partial(_LSTM, LayerNormLSTMCell)
LayerNormMILSTM = functools.partial(_LSTM, LayerNormMILSTMCell)


def layered_LSTM(
    model: Any,
    input_blob: Any,
    seq_lengths: Any,
    initial_states: Any,
    dim_in: int,
    dim_out: Any,
    scope: str,
    outputs_with_grads: Sequence[int] = (0,),
    return_params: bool = False,
    memory_optimization: bool = False,
    forget_bias: float = 0.0,
    forward_only: bool = False,
    drop_states: bool = False,
    create_lstm: Callable[..., Any] = LSTM,
) -> Any:
    """LSTM layers as operators of their own; each begins with the states at the end of the one before."""
    sizes = dim_out if isinstance(dim_out, list) else [dim_out]
    if not sizes or (len(sizes) > 1 and return_params):
        raise AssertionError("dim_out can't be empty, and return_params is not supported for several layers")
    result: Any = None
    for i, size in enumerate(sizes):
        result = create_lstm(
            model=model,
            input_blob=input_blob,
            seq_lengths=seq_lengths,
            initial_states=initial_states,
            dim_in=dim_in,
            dim_out=size,
            scope=scope,
            outputs_with_grads=outputs_with_grads,
            return_params=return_params,
            memory_optimization=memory_optimization,
            forget_bias=forget_bias,
            forward_only=forward_only,
            drop_states=drop_states,
        )
        input_blob, dim_in, initial_states = result[0], size, (result[1], result[3])
        scope = f"{scope}_layer_{i + 1}"
    return result


def GetLSTMParamNames() -> dict[str, list[str]]:
    """Names of the gates' weights and biases, in the order in which an LSTM's layers hold them."""
    gates = ("input_gate", "forget_gate", "output_gate", "cell")
    return {"weights": [f"{gate}_w" for gate in gates], "biases": [f"{gate}_b" for gate in gates]}


def InitFromLSTMParams(
    lstm_pblobs: Mapping[str, Mapping[str, Any]], param_values: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Set an LSTM's parameters from those of its gates.

    lstm_pblobs: what ``return_params`` gives. param_values: arrays by ``GetLSTMParamNames`` for "input", "recurrent".
    """
    for layer, values in param_values.items():
        for kind, names in GetLSTMParamNames().items():
            blob = lstm_pblobs[layer][kind]
            joined = np.concatenate([np.asarray(values[name]).ravel() for name in names])
            workspace.FeedBlob(blob, joined.reshape(workspace.FetchBlob(blob).shape).astype(np.float32))
