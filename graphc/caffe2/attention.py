"""``caffe2.python.attention``: how much a decoder's step takes from each step of an encoder.

Shapes: encoder outputs (steps, batch, size), transposed (batch, size, steps); decoder state (1, batch, size); weights
of attention (batch, steps, 1); context (1, batch, size). Every function gives the context, the weights and the blobs
that may be computed anew for gradients; parameters are called ``SCOPE/NAME_w`` and ``SCOPE/NAME_b``.
"""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import brew


class AttentionType:
    """Kinds of attention."""

    Regular, Recurrent, Dot, SoftCoverage = range(4)


def s(scope: str, name: str) -> str:
    """The name of a blob of attention."""
    return f"{scope}/{name}"


def _context(model: Any, encoder_outputs_transposed: Any, size: int, weights: Any, scope: str) -> Any:
    """The encoder's outputs, summed by weights."""
    name = s(scope, "attention_weighted_encoder_context")
    context = brew.batch_mat_mul(model, [encoder_outputs_transposed, weights], name)
    return model.net.Reshape(context, [context, name + "_old_shape"], shape=[1, -1, size])[0]


def _weights(model: Any, logits: Any, scope: str, encoder_lengths: Any) -> Any:
    """Softmax over the encoder's steps, up to the length of each sequence if there are lengths."""
    if encoder_lengths is not None:
        logits = model.net.SequenceMask([logits, encoder_lengths], ["masked_attention_logits"], mode="sequence")
    return brew.softmax(model, logits, s(scope, "attention_weights_3d"), engine="CUDNN", axis=1)


def _logits(model: Any, match: Any, size: int, scope: str) -> Any:
    """One number for each step of the encoder, of a layer over the tangent of a sum: (batch, steps, 1)."""
    squashed = model.net.Tanh(match, match)
    name = s(scope, "attention_logits")
    logits = brew.fc(model, squashed, name, dim_in=size, dim_out=1, axis=2, freeze_bias=True)
    return brew.transpose(model, logits, name + "_transposed", axes=[1, 0, 2])


def _row(model: Any, blob: Any, dim_in: int, dim_out: int, scope: str, name: str) -> Any:
    """A layer of a state, as (batch, size)."""
    layer = brew.fc(model, blob, s(scope, name), dim_in=dim_in, dim_out=dim_out, axis=2)
    return model.net.Squeeze(layer, layer, dims=[0])


def _matched(
    model: Any, match: Any, size: int, transposed: Any, scope: str, lengths: Any
) -> tuple[Any, Any, list[Any]]:
    """Context, weights and what may be computed anew, of the sum of encoder and decoder."""
    weights = _weights(model, _logits(model, match, size, scope), scope, lengths)
    return _context(model, transposed, size, weights, scope), weights, [match]


def apply_regular_attention(
    model: Any,
    encoder_output_dim: int,
    encoder_outputs_transposed: Any,
    weighted_encoder_outputs: Any,
    decoder_hidden_state_t: Any,
    decoder_hidden_state_dim: int,
    scope: str,
    encoder_lengths: Any = None,
) -> tuple[Any, Any, list[Any]]:
    """Attention by a layer over ``tanh(encoder + decoder)``."""
    size = encoder_output_dim
    state = _row(
        model, decoder_hidden_state_t, decoder_hidden_state_dim, size, scope, "weighted_decoder_hidden_state"
    )  # fmt: skip
    name = s(scope, "decoder_hidden_encoder_outputs_sum")
    match = model.net.Add([weighted_encoder_outputs, state], name, broadcast=1, use_grad_hack=1)
    return _matched(model, match, size, encoder_outputs_transposed, scope, encoder_lengths)


def apply_recurrent_attention(
    model: Any,
    encoder_output_dim: int,
    encoder_outputs_transposed: Any,
    weighted_encoder_outputs: Any,
    decoder_hidden_state_t: Any,
    decoder_hidden_state_dim: int,
    attention_weighted_encoder_context_t_prev: Any,
    scope: str,
    encoder_lengths: Any = None,
) -> tuple[Any, Any, list[Any]]:
    """Attention by a layer over ``tanh(encoder + decoder + context of the step before)``."""
    size = encoder_output_dim
    before = attention_weighted_encoder_context_t_prev
    context = _row(model, before, size, size, scope, "weighted_prev_attention_context")
    state = _row(
        model, decoder_hidden_state_t, decoder_hidden_state_dim, size, scope, "weighted_decoder_hidden_state"
    )  # fmt: skip
    name = s(scope, "decoder_hidden_encoder_outputs_sum")
    both = model.net.Add([context, state], name + "_tmp")
    match = model.net.Add([weighted_encoder_outputs, both], name, broadcast=1)
    return _matched(model, match, size, encoder_outputs_transposed, scope, encoder_lengths)


def apply_dot_attention(
    model: Any,
    encoder_output_dim: int,
    encoder_outputs_transposed: Any,
    decoder_hidden_state_t: Any,
    decoder_hidden_state_dim: int,
    scope: str,
    encoder_lengths: Any = None,
) -> tuple[Any, Any, list[Any]]:
    """Attention by products of the encoder's outputs and the decoder's state, or a layer of it."""
    state = decoder_hidden_state_t
    if decoder_hidden_state_dim != encoder_output_dim:
        name = s(scope, "weighted_decoder_hidden_state")
        state = brew.fc(model, state, name, dim_in=decoder_hidden_state_dim, dim_out=encoder_output_dim, axis=2)
    column = model.net.Squeeze(state, s(scope, "squeezed_weighted_decoder_hidden_state"), dims=[0])
    column = model.net.ExpandDims(column, column, dims=[2])
    logits = model.net.BatchMatMul([encoder_outputs_transposed, column], s(scope, "attention_logits"), trans_a=1)
    weights = _weights(model, logits, scope, encoder_lengths)
    return _context(model, encoder_outputs_transposed, encoder_output_dim, weights, scope), weights, []


def apply_soft_coverage_attention(
    model: Any,
    encoder_output_dim: int,
    encoder_outputs_transposed: Any,
    weighted_encoder_outputs: Any,
    decoder_hidden_state_t: Any,
    decoder_hidden_state_dim: int,
    scope: str,
    encoder_lengths: Any,
    coverage_t_prev: Any,
    coverage_weights: Any,
) -> tuple[Any, Any, list[Any], Any]:
    """Regular attention that knows how much each step of the encoder got before; the fourth blob is how much it has
    now, (1, batch, steps)."""
    size, net = encoder_output_dim, model.net
    state = _row(
        model, decoder_hidden_state_t, decoder_hidden_state_dim, size, scope, "weighted_decoder_hidden_state"
    )  # fmt: skip
    name = s(scope, "decoder_hidden_encoder_outputs_sum")
    both = net.Add([weighted_encoder_outputs, state], name + "_tmp", broadcast=1)
    coverage = net.Squeeze(coverage_t_prev, s(scope, "coverage_t_prev_2d"), dims=[0])
    coverage = brew.transpose(model, coverage, s(scope, "coverage_t_prev_transposed"))
    scaled = net.Mul([coverage_weights, coverage], s(scope, "scaled_coverage_weights"), broadcast=1, axis=0)
    match = net.Add([both, scaled], name)
    context, weights, again = _matched(model, match, size, encoder_outputs_transposed, scope, encoder_lengths)
    flat = net.Squeeze(weights, s(scope, "attention_weights_2d"), dims=[2])
    covered = net.Add([coverage_t_prev, flat], s(scope, "coverage_t"), broadcast=1)
    return context, weights, again, covered
