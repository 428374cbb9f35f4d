"""The simplest cell: ``h = tanh(W x + U h + b)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import brew
from graphc.caffe2.rnn_cell.cell import RNNCell


class BasicRNNCell(RNNCell):
    """``h = activation(i2h(x) + gates_t(h))`` with "tanh" or "relu"; raises ``RuntimeError`` for another activation.

    Behind the end of a sequence, if lengths are given, the state stays, or is zero with ``drop_states``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        forget_bias: float,
        memory_optimization: bool,
        drop_states: bool = False,
        initializer: Any = None,
        activation: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(initializer=initializer, **kwargs)
        if activation not in ("relu", "tanh"):
            raise RuntimeError(f"BasicRNNCell with unknown activation function ({activation})")
        self.drop_states = drop_states
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.activation = activation

    def apply_override(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        """The state after a step."""
        before = states[0]
        gates = brew.fc(model, before, "gates_t", dim_in=self.hidden_size, dim_out=self.hidden_size, axis=2)
        brew.sum(model, [gates, input_t], gates)
        activate = model.net.Tanh if self.activation == "tanh" else model.net.Relu
        if seq_lengths is None:
            return (activate(gates, "hidden_t"),)
        # a gradient needs the new state beside the one that is kept: Caffe2, which gives both one name, has none
        after = activate(gates, "hidden_t" if self.forward_only else "hidden_t_step")
        return (self._until_end(model, before, after, seq_lengths, timestep),)

    def _until_end(self, model: Any, before: Any, after: Any, seq_lengths: Any, timestep: Any) -> Any:
        """The new state of sequences that have this step, the old one, or zero, of the others."""
        step = model.net.CopyFromCPUInput(timestep, "timestep_gpu")
        has_step = model.net.GT([seq_lengths, step], "valid_b", broadcast=1)
        is_over = model.net.LE([seq_lengths, step], "invalid_b", broadcast=1)
        masks = [model.net.Cast(blob, name, to="float") for blob, name in ((has_step, "valid"), (is_over, "invalid"))]
        if not self.forward_only:
            masks = [model.net.StopGradient(mask, mask) for mask in masks]
        new = model.net.Mul([after, masks[0]], "hidden_valid", broadcast=1, axis=1)
        if self.drop_states:
            return new
        old = model.net.Mul([before, masks[1]], "hidden_invalid", broadcast=1, axis=1)
        return model.net.Add([new, old], "hidden_t")

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """``i2h`` of the whole sequence."""
        name = self.scope("i2h")
        return brew.fc(model, input_blob, name, dim_in=self.input_size, dim_out=self.hidden_size, axis=2)

    def get_state_names(self) -> Sequence[str]:
        """``hidden_t``, with the cell's name."""
        return (self.scope("hidden_t"),)

    def get_output_dim(self) -> int:
        """Number of units."""
        return self.hidden_size
