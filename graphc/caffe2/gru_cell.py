"""``caffe2.python.gru_cell``: the gated recurrent unit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import brew
from graphc.caffe2.rnn_cell import _LSTM, RNNCell


class GRUCell(RNNCell):
    """A gated recurrent unit: gates in the order reset, update, output.

    linear_before_reset: the reset gate multiplies the layer of the hidden state, instead of the hidden state. Behind
    the end of a sequence the state stays, or is zero with ``drop_states``. forget_bias changes nothing.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        forget_bias: float,
        memory_optimization: bool,
        drop_states: bool = False,
        linear_before_reset: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.forget_bias = float(forget_bias)
        self.memory_optimization = memory_optimization
        self.drop_states = drop_states
        self.linear_before_reset = linear_before_reset

    def _layer(self, model: Any, blob: Any, name: str) -> Any:
        size = self.hidden_size
        return brew.fc(model, blob, self.scope(name), dim_in=size, dim_out=size, axis=2)

    def _apply(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        before, net = states[0], model.net
        parts = [self.scope(f"input_t_{gate}") for gate in ("reset", "update", "output")]
        input_reset, input_update, input_output = net.Split([input_t], parts, axis=2)
        reset = self._layer(model, before, "reset_gate_t")
        update = self._layer(model, before, "update_gate_t")
        reset = net.Sum([reset, input_reset], self.scope("reset_gate_t"))
        factor = net.Sigmoid(reset, self.scope("reset_gate_t_sigmoid"))
        if self.linear_before_reset:
            layer = self._layer(model, before, "output_gate_t")
            output = net.Mul([factor, layer], self.scope("output_gate_t_mul"))
        else:
            modified = net.Mul([factor, before], self.scope("modified_hidden_t_prev"))
            output = self._layer(model, modified, "output_gate_t")
        update = net.Sum([update, input_update], self.scope("update_gate_t"))
        output = net.Sum([output, input_output], self.scope("output_gate_t_summed"))
        gates, _ = net.Concat(
            [reset, update, output], [self.scope("gates_t"), self.scope("_gates_t_concat_dims")], axis=2
        )
        lengths = [] if seq_lengths is None else [seq_lengths]
        after = net.GRUUnit(
            [before, gates, *lengths, timestep],
            list(self.get_state_names()),
            forget_bias=self.forget_bias,
            drop_states=self.drop_states,
            sequence_lengths=bool(lengths),
        )
        net.AddExternalOutputs(after)
        return (after,)

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """``i2h`` of the whole sequence, for the three gates."""
        size = 3 * self.hidden_size
        return brew.fc(model, input_blob, self.scope("i2h"), dim_in=self.input_size, dim_out=size, axis=2)

    def get_state_names(self) -> Sequence[str]:
        """``hidden_t``, with the cell's name."""
        return (self.scope("hidden_t"),)

    def get_output_dim(self) -> int:
        """Number of units."""
        return self.hidden_size


GRU = functools.partial(_LSTM, GRUCell)
"""A layer, or several, over sequences, see ``rnn_cell.LSTM``: all steps and the last of the hidden state."""
