"""Cells that attend to the outputs of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import attention, brew, core
from graphc.caffe2.attention import AttentionType
from graphc.caffe2.rnn_cell.cell import RNNCell
from graphc.caffe2.rnn_cell.lstm import LSTMCell, MILSTMCell


class AttentionCell(RNNCell):
    """A decoder's cell whose input is joined with a context of the encoder's outputs, and which makes the next one.

    encoder_outputs: (steps, batch, encoder_output_dim). encoder_lengths: a blob of lengths, or None. attention_type: of
    ``attention.AttentionType``. weighted_encoder_outputs: a layer of the encoder's outputs, made if it is None. Its
    states are those of the decoder, the first one as ``hidden_t_external``, the context, and with soft coverage how
    much each step of the encoder got. Its output is the decoder's with the context.
    """

    def __init__(
        self,
        encoder_output_dim: int,
        encoder_outputs: Any,
        encoder_lengths: Any,
        decoder_cell: RNNCell,
        decoder_state_dim: int,
        attention_type: int,
        weighted_encoder_outputs: Any,
        attention_memory_optimization: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if attention_type not in range(4):
            raise AssertionError(f"Attention type {attention_type} not implemented")
        self.encoder_output_dim = encoder_output_dim
        self.encoder_outputs = encoder_outputs
        self.encoder_lengths = encoder_lengths
        self.decoder_cell = decoder_cell
        self.decoder_state_dim = decoder_state_dim
        self.attention_type = attention_type
        self.weighted_encoder_outputs = weighted_encoder_outputs
        self.attention_memory_optimization = attention_memory_optimization
        self.encoder_outputs_transposed: Any = None
        self.coverage_weights: Any = None
        self.attention_weights_3d: Any = None
        self.hidden_t_intermediate: Any = None

    def _has_coverage(self) -> bool:
        return self.attention_type == AttentionType.SoftCoverage

    def _apply(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        if extra_inputs is not None:
            raise AssertionError("an AttentionCell takes no extra inputs")
        own = 2 if self._has_coverage() else 1
        before, context = states[:-own], states[-own]
        after = self.decoder_cell._apply(
            model, input_t, seq_lengths, before, timestep, extra_inputs=[(context, self.encoder_output_dim)]
        )
        self.hidden_t_intermediate = self.decoder_cell._prepare_output(model, after)
        context, self.attention_weights_3d, again, *covered = self._attend(model, context, states[-1])
        if self.attention_memory_optimization:
            self.recompute_blobs.extend(again)
        output = [*after, context, *covered]
        index = self.decoder_cell.get_output_state_index()
        output[index] = model.net.Copy(output[index], self.scope("hidden_t_external"))
        model.net.AddExternalOutputs(*output)
        return output

    def _attend(self, model: Any, context_before: Any, coverage_before: Any) -> Any:
        common = {
            "model": model,
            "encoder_output_dim": self.encoder_output_dim,
            "encoder_outputs_transposed": self.encoder_outputs_transposed,
            "decoder_hidden_state_t": self.hidden_t_intermediate,
            "decoder_hidden_state_dim": self.decoder_state_dim,
            "scope": self.name,
            "encoder_lengths": self.encoder_lengths,
        }
        if self.attention_type == AttentionType.Dot:
            return attention.apply_dot_attention(**common)
        common["weighted_encoder_outputs"] = self.weighted_encoder_outputs
        if self.attention_type == AttentionType.Regular:
            return attention.apply_regular_attention(**common)
        if self.attention_type == AttentionType.Recurrent:
            common["attention_weighted_encoder_context_t_prev"] = context_before
            return attention.apply_recurrent_attention(**common)
        return attention.apply_soft_coverage_attention(
            **common, coverage_t_prev=coverage_before, coverage_weights=self.coverage_weights
        )

    def get_attention_weights(self) -> Any:
        """The weights of a step: (batch, encoder steps, 1)."""
        return self.attention_weights_3d

    def _layer(self, model: Any, name: str) -> Any:
        """A layer of the encoder's outputs."""
        size = self.encoder_output_dim
        return brew.fc(model, self.encoder_outputs, self.scope(name), dim_in=size, dim_out=size, axis=2)

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """That of the decoder's cell; the encoder's outputs are transposed, and get their layer."""
        if self.encoder_outputs_transposed is None:
            name = self.scope("encoder_outputs_transposed")
            self.encoder_outputs_transposed = brew.transpose(model, self.encoder_outputs, name, axes=[1, 2, 0])
        if self.weighted_encoder_outputs is None and self.attention_type != AttentionType.Dot:
            self.weighted_encoder_outputs = self._layer(model, "weighted_encoder_outputs")
        return self.decoder_cell.prepare_input(model, input_blob)

    def build_initial_coverage(self, model: Any) -> Any:
        """The coverage before the first step, zeros for each step of the encoder, and the layer that weighs it."""
        self.coverage_weights = self._layer(model, "coverage_weights")
        steps = model.net.Slice(model.net.Shape(self.encoder_outputs), starts=[0], ends=[1])
        return model.net.ConstantFill(steps, self.scope("initial_coverage"), value=0.0, input_as_shape=1)

    def get_state_names(self) -> Sequence[str]:
        """Those of the decoder, with ``hidden_t_external`` for its output, then those of attention."""
        names = list(self.decoder_cell.get_state_names())
        names[self.get_output_state_index()] = self.scope("hidden_t_external")
        own = ["attention_weighted_encoder_context_t", *(["coverage_t"] if self._has_coverage() else [])]
        return [*names, *map(self.scope, own)]

    def get_output_dim(self) -> int:
        """Units of the decoder and size of the context."""
        return self.decoder_state_dim + self.encoder_output_dim

    def get_output_state_index(self) -> int:
        """That of the decoder."""
        return self.decoder_cell.get_output_state_index()

    def _joined(self, model: Any, output: Any, context: Any) -> Any:
        with core.NameScope(self.name or ""):
            return brew.concat(model, [output, context], "states_and_context_combination", axis=2)

    def _prepare_output(self, model: Any, states: Any) -> Any:
        return self._joined(model, self.hidden_t_intermediate, states[-2 if self._has_coverage() else -1])

    def _prepare_output_sequence(self, model: Any, state_outputs: Any) -> Any:
        context = 2 * (len(self.get_state_names()) - (2 if self._has_coverage() else 1))
        output = self.decoder_cell._prepare_output_sequence(model, state_outputs[:context])
        return self._joined(model, output, state_outputs[context])


class LSTMWithAttentionCell(AttentionCell):
    """An LSTM that attends to an encoder."""

    decoder_class: type[LSTMCell] = LSTMCell

    def __init__(
        self,
        encoder_output_dim: int,
        encoder_outputs: Any,
        encoder_lengths: Any,
        decoder_input_dim: int,
        decoder_state_dim: int,
        name: str,
        attention_type: int,
        weighted_encoder_outputs: Any,
        forget_bias: float,
        lstm_memory_optimization: bool,
        attention_memory_optimization: bool,
        forward_only: bool = False,
    ) -> None:
        decoder = self.decoder_class(
            input_size=decoder_input_dim,
            hidden_size=decoder_state_dim,
            forget_bias=forget_bias,
            memory_optimization=lstm_memory_optimization,
            name=f"{name}/decoder",
        )
        super().__init__(
            encoder_output_dim=encoder_output_dim,
            encoder_outputs=encoder_outputs,
            encoder_lengths=encoder_lengths,
            decoder_cell=decoder,
            decoder_state_dim=decoder_state_dim,
            attention_type=attention_type,
            weighted_encoder_outputs=weighted_encoder_outputs,
            attention_memory_optimization=attention_memory_optimization,
            name=name,
            forward_only=forward_only,
        )


class MILSTMWithAttentionCell(LSTMWithAttentionCell):
    """An LSTM with multiplicative integration that attends to an encoder."""

    decoder_class = MILSTMCell


def LSTMWithAttention(
    model: Any,
    decoder_inputs: Any,
    decoder_input_lengths: Any,
    initial_decoder_hidden_state: Any,
    initial_decoder_cell_state: Any,
    initial_attention_weighted_encoder_context: Any,
    encoder_output_dim: int,
    encoder_outputs: Any,
    encoder_lengths: Any,
    decoder_input_dim: int,
    decoder_state_dim: int,
    scope: str,
    attention_type: int = AttentionType.Regular,
    outputs_with_grads: Sequence[int] = (0, 4),
    weighted_encoder_outputs: Any = None,
    lstm_memory_optimization: bool = False,
    attention_memory_optimization: bool = False,
    forget_bias: float = 0.0,
    forward_only: bool = False,
) -> Any:
    """An LSTM over a sequence that attends to an encoder, see ``AttentionCell``.

    Gives all steps and the last one of hidden state, cell state and context, and of the coverage if there is one.
    """
    cell = LSTMWithAttentionCell(
        encoder_output_dim=encoder_output_dim,
        encoder_outputs=encoder_outputs,
        encoder_lengths=encoder_lengths,
        decoder_input_dim=decoder_input_dim,
        decoder_state_dim=decoder_state_dim,
        name=scope,
        attention_type=attention_type,
        weighted_encoder_outputs=weighted_encoder_outputs,
        forget_bias=forget_bias,
        lstm_memory_optimization=lstm_memory_optimization,
        attention_memory_optimization=attention_memory_optimization,
        forward_only=forward_only,
    )
    states = [
        initial_decoder_hidden_state,
        initial_decoder_cell_state,
        initial_attention_weighted_encoder_context,
    ]
    if attention_type == AttentionType.SoftCoverage:
        states.append(cell.build_initial_coverage(model))
    return cell.apply_over_sequence(model, decoder_inputs, decoder_input_lengths, states, outputs_with_grads)[1]
