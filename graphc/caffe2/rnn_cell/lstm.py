"""LSTM cells: plain, with layer normalisation, with multiplicative integration (MI), with both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import brew
from graphc.caffe2.modeling.initializers import Initializer
from graphc.caffe2.rnn_cell.cell import RNNCell


class LSTMInitializer:
    """Hidden and cell state before the first step as parameters of the model, zero at first."""

    def __init__(self, hidden_size: int) -> None:
        self.hidden_size = hidden_size

    def create_states(self, model: Any) -> list[Any]:
        """The blobs of both states, of one axis."""
        zero = Initializer("ConstantFill", value=0.0)
        names = ("initial_hidden_state", "initial_cell_state")
        return [model.create_param(param_name=n, initializer=zero, shape=[self.hidden_size]) for n in names]


class LSTMCell(RNNCell):
    """Long short-term memory; gates in the order input, forget, output, cell.

    forget_bias: is added to the forget gate. memory_optimization: the gates are computed anew for gradients.
    drop_states: states behind the end of a sequence are zero; else they stay.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        forget_bias: float,
        memory_optimization: bool,
        drop_states: bool = False,
        initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(initializer=initializer or LSTMInitializer(hidden_size), **kwargs)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.forget_bias = float(forget_bias)
        self.memory_optimization = memory_optimization
        self.drop_states = drop_states
        self.gates_size = 4 * hidden_size

    def apply_override(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        """Hidden and cell state after a step."""
        gates = self._previous(model, states[0], extra_inputs, "gates_t", "gates_concatenated_input_t")
        brew.sum(model, [gates, input_t], gates)
        return self._unit(model, states, gates, seq_lengths, timestep, ["hidden_state", "cell_state"], gates)

    def _previous(self, model: Any, hidden: Any, extra_inputs: Any, name: str, joined: str) -> Any:
        """A layer of the gates' size of the hidden state, and of further inputs."""
        size = self.hidden_size
        if extra_inputs is not None:
            blobs, sizes = zip(*extra_inputs)
            hidden = brew.concat(model, [hidden, *blobs], joined, axis=2)
            size += sum(sizes)
        return brew.fc(model, hidden, name, dim_in=size, dim_out=self.gates_size, axis=2)

    def _unit(
        self, model: Any, states: Any, gates: Any, seq_lengths: Any, timestep: Any, names: Sequence[str], again: Any
    ) -> Any:  # fmt: skip
        """The operator LSTMUnit; ``again`` are the gates that memory optimization computes anew."""
        lengths = [] if seq_lengths is None else [seq_lengths]
        hidden, cell = model.net.LSTMUnit(
            [*states, gates, *lengths, timestep],
            list(names),
            forget_bias=self.forget_bias,
            drop_states=self.drop_states,
            sequence_lengths=bool(lengths),
        )
        model.net.AddExternalOutputs(hidden, cell)
        if self.memory_optimization:
            self.recompute_blobs = [again]
        return hidden, cell

    def get_input_params(self) -> dict[str, str]:
        """Names of weights and bias of the input's layer."""
        return {"weights": self.scope("i2h") + "_w", "biases": self.scope("i2h") + "_b"}

    def get_recurrent_params(self) -> dict[str, str]:
        """Names of weights and bias of the hidden state's layer."""
        return {"weights": self.scope("gates_t") + "_w", "biases": self.scope("gates_t") + "_b"}

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """``i2h`` of the whole sequence."""
        name = self.scope("i2h")
        return brew.fc(model, input_blob, name, dim_in=self.input_size, dim_out=self.gates_size, axis=2)

    def get_state_names_override(self) -> Sequence[str]:
        """``hidden_t`` and ``cell_t``."""
        return ["hidden_t", "cell_t"]

    def get_output_dim(self) -> int:
        """Number of units."""
        return self.hidden_size


class LayerNormLSTMCell(LSTMCell):
    """An LSTM whose gates are normalised before they are squashed."""

    def _apply(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        joined = self.scope("gates_concatenated_input_t")
        gates = self._previous(model, states[0], extra_inputs, self.scope("gates_t"), joined)
        brew.sum(model, [gates, input_t], gates)
        normal = _normalised(model, self)
        return self._unit(model, states, normal, seq_lengths, timestep, self.get_state_names(), normal)


def _normalised(model: Any, cell: LSTMCell) -> Any:
    """The gates, normalised, with a scale and an offset."""
    gates, name = cell.scope("gates_t"), cell.scope("gates_t_norm")
    return brew.layer_norm(model, gates, name, dim_in=cell.gates_size, axis=-1)[0]


class MILSTMCell(LSTMCell):
    """An LSTM whose gates are ``alpha x p + beta1 p + beta2 x + b`` of the input x and the previous state's layer p."""

    def _apply(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        gates = self._gates(model, input_t, states, extra_inputs)
        names = [self.scope("hidden_t_intermediate"), self.scope("cell_t")]
        return self._unit(model, states, gates, seq_lengths, timestep, names, gates)

    def _gates(self, model: Any, input_t: Any, states: Any, extra_inputs: Any) -> Any:
        joined = self.scope("gates_concatenated_input_t")
        previous = self._previous(model, states[0], extra_inputs, self.scope("prev_t"), joined)
        alpha, beta_h, beta_i, bias = (
            model.create_param(
                self.scope(name), shape=[self.gates_size], initializer=Initializer("ConstantFill", value=value)
            )
            for name, value in (("alpha", 1.0), ("beta1", 1.0), ("beta2", 1.0), ("b", 0.0))
        )
        factor = model.net.ElementwiseLinear(
            [input_t, alpha, beta_h], self.scope("alpha_by_input_t_plus_beta_h"), axis=2
        )  # fmt: skip
        product = model.net.Mul([factor, previous], self.scope("alpha_by_input_t_plus_beta_h_by_prev_t"))
        rest = model.net.ElementwiseLinear([input_t, beta_i, bias], self.scope("beta_i_by_input_t_plus_b"), axis=2)
        return brew.sum(model, [product, rest], self.scope("gates_t"))


class LayerNormMILSTMCell(MILSTMCell):
    """An LSTM with multiplicative integration whose gates are normalised."""

    def _gates(self, model: Any, input_t: Any, states: Any, extra_inputs: Any) -> Any:
        super()._gates(model, input_t, states, extra_inputs)
        return _normalised(model, self)
