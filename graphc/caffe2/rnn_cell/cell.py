"""``RNNCell``: what recurrent cells have in common."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core, recurrent, utils
from graphc.caffe2.model_helper import ModelHelper


def rectified(blob: Any) -> Any:
    """A blob, whose name no scope changes any more; None stays. Raises ``Exception`` for another kind of object."""
    if isinstance(blob, str):
        return core.ScopedBlobReference(blob)
    if blob is not None and not isinstance(blob, core.BlobReference):
        raise Exception(f"Unknown blob reference type {type(blob).__name__}")
    return blob


class RNNCell:
    """A step of a recurrent net.

    A subclass has ``apply_override(model, input_t, seq_lengths, states, timestep)``, which adds the operators of a
    step and gives the states after it, the output first, and ``get_state_names_override()``. ``prepare_input`` is for
    what can be computed for all steps together. name: the prefix of the cell's blobs. initializer: has
    ``create_states(model)``. forward_only: there will be no gradient.
    """

    def __init__(self, name: str | None = None, forward_only: bool = False, initializer: Any = None) -> None:
        self.name = name
        self.recompute_blobs: list[Any] = []
        self.forward_only = forward_only
        self._initializer = initializer

    @property
    def initializer(self) -> Any:
        """What creates the states before the first step, if none are given."""
        return self._initializer

    @initializer.setter
    def initializer(self, value: Any) -> None:
        self._initializer = value

    def scope(self, name: str) -> str:
        """The name of one of the cell's blobs."""
        return f"{self.name}/{name}" if self.name is not None else name

    def apply_over_sequence(
        self,
        model: Any,
        inputs: Any,
        seq_lengths: Any = None,
        initial_states: Any = None,
        outputs_with_grads: Sequence[int] | None = None,
    ) -> tuple[Any, Any]:
        """Run the cell over a sequence (steps, batch, ...): its output, and for each state all steps and the last one.

        Raises ``Exception`` for another number of states than the cell has, and without states or an initializer.
        """
        if initial_states is None:
            if self.initializer is None:
                raise Exception("Either initial states or initializer have to be set")
            with core.NameScope(self.name):
                initial_states = self.initializer.create_states(model)
        names = self.get_state_names()
        utils.raiseIfNotEqual(
            len(initial_states), len(names), "Number of initial state values doesn't match the number of states"
        )
        prepared = self.prepare_input(model, inputs)
        step = ModelHelper(name=self.name, param_model=model)
        input_t, timestep = step.net.AddScopedExternalInputs("input_t", "timestep")
        previous = step.net.AddScopedExternalInputs(*(f"{name}_prev" for name in names))
        states = self._apply(step, input_t, seq_lengths, previous, timestep)
        declared = set(step.net.Proto().external_output)
        step.net.AddExternalOutput(*(state for state in states if str(state) not in declared))
        all_states = recurrent.recurrent_net(
            net=model.net,
            cell_net=step.net,
            inputs=[(input_t, prepared)],
            initial_cell_inputs=list(zip(previous, initial_states)),
            links=dict(zip(previous, states)),
            timestep=timestep,
            scope=self.name,
            forward_only=self.forward_only,
            outputs_with_grads=outputs_with_grads or [self.get_output_state_index() * 2],
            recompute_blobs_on_backward=self.recompute_blobs,
        )
        return self._prepare_output_sequence(model, all_states), all_states

    def apply(self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any) -> tuple[Any, Any]:
        """Add one step to a model: the output and the states after it."""
        prepared = self.prepare_input(model, input_t)
        after = self._apply(model, prepared, seq_lengths, states, timestep)
        return self._prepare_output(model, after), after

    def _apply(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        """The operators of a step; what they make has the cell's name before it, what they read has not."""
        given = self._rectify_apply_inputs(input_t, seq_lengths, states, timestep, extra_inputs)
        with core.NameScope(self.name):
            return self.apply_override(model, *given)

    def _rectify_apply_inputs(
        self, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any
    ) -> list[Any]:  # fmt: skip
        given = [rectified(input_t), rectified(seq_lengths), [rectified(s) for s in states], rectified(timestep)]
        if "extra_inputs" in inspect.signature(self.apply_override).parameters:
            given.append([(rectified(blob), size) for blob, size in extra_inputs] if extra_inputs else None)
        return given

    def apply_override(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        """Add the operators of a step: the states after it.

        input_t: (1, batch, size). extra_inputs: pairs of a blob and its size that are not prepared.
        """
        raise NotImplementedError("Abstract method")

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """What can be computed of the input, a sequence or one step of it, without the states."""
        return input_blob

    def get_output_state_index(self) -> int:
        """Which state is the output."""
        return 0

    def get_state_names(self) -> Sequence[str]:
        """The names of the states, with the cell's name."""
        return [self.scope(name) for name in self.get_state_names_override()]

    def get_state_names_override(self) -> Sequence[str]:
        """The names of the states."""
        raise NotImplementedError("Abstract method")

    def get_output_dim(self) -> int:
        """The size of the output of a step."""
        raise NotImplementedError("Abstract method")

    def _prepare_output(self, model: Any, states: Any) -> Any:
        return states[self.get_output_state_index()]

    def _prepare_output_sequence(self, model: Any, state_outputs: Any) -> Any:
        return state_outputs[2 * self.get_output_state_index()]
