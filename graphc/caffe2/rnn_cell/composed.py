"""Cells made of cells: several layers, dropout behind a cell, steps written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import brew, core
from graphc.caffe2.modeling.parameter_sharing import ParameterSharing
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.rnn_cell.cell import RNNCell, rectified


class DropoutCell(RNNCell):
    """A cell whose output, but not its state, goes through dropout; ``is_test`` has to be said."""

    def __init__(
        self, internal_cell: RNNCell, dropout_ratio: float | None = None, use_cudnn: bool = False, **kwargs: Any
    ) -> None:
        if "is_test" not in kwargs:
            raise AssertionError("Argument 'is_test' is required")
        self.is_test = kwargs.pop("is_test")
        super().__init__(**kwargs)
        self.internal_cell = internal_cell
        self.dropout_ratio = dropout_ratio
        self.use_cudnn = use_cudnn
        self.mask = 0

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """That of the cell inside."""
        return self.internal_cell.prepare_input(model, input_blob)

    def get_output_state_index(self) -> int:
        """That of the cell inside."""
        return self.internal_cell.get_output_state_index()

    def get_state_names(self) -> Sequence[str]:
        """Those of the cell inside."""
        return self.internal_cell.get_state_names()

    def get_output_dim(self) -> int:
        """That of the cell inside."""
        return self.internal_cell.get_output_dim()

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        return self.internal_cell._apply(*args, **kwargs)

    def _prepare_output(self, model: Any, states: Any) -> Any:
        return self._apply_dropout(model, self.internal_cell._prepare_output(model, states))

    def _prepare_output_sequence(self, model: Any, state_outputs: Any) -> Any:
        return self._apply_dropout(model, self.internal_cell._prepare_output_sequence(model, state_outputs))

    def _apply_dropout(self, model: Any, output: Any) -> Any:
        if not self.dropout_ratio or self.forward_only:
            return output
        with core.NameScope(self.name or ""):
            dropped = brew.dropout(
                model,
                output,
                f"{output}_with_dropout_mask{self.mask}",
                ratio=float(self.dropout_ratio),
                is_test=self.is_test,
                use_cudnn=self.use_cudnn,
            )
        self.mask += 1
        return dropped


class MultiRNNCellInitializer:
    """The states of all layers, by the layers' initializers."""

    def __init__(self, cells: Sequence[RNNCell]) -> None:
        self.cells = cells

    def create_states(self, model: Any) -> list[Any]:
        """The blobs of the states; raises ``Exception`` for a layer without an initializer."""
        states: list[Any] = []
        for i, cell in enumerate(self.cells):
            if cell.initializer is None:
                raise Exception("Either initial states or initializer have to be set")
            with core.NameScope(f"layer_{i}"), core.NameScope(cell.name):
                states.extend(cell.initializer.create_states(model))
        return states


class MultiRNNCell(RNNCell):
    """Layers of cells: the output of one is the input of the next. Blobs are called ``NAME/layer_0/...``.

    residual_output_layers: numbers of layers, not 0, whose input is added to their output. output_indices: the states
    that the output is made of.
    """

    def __init__(
        self, cells: Sequence[RNNCell], residual_output_layers: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.cells = list(cells)
        self.residual_output_layers = list(residual_output_layers or ())
        self.initializer = MultiRNNCellInitializer(self.cells)
        # the output is the sum of the layers that residual connections join at the end
        self.output_connected_layers = [len(self.cells) - 1]
        while self.output_connected_layers[0] > 0 and self.output_connected_layers[0] in self.residual_output_layers:
            self.output_connected_layers.insert(0, self.output_connected_layers[0] - 1)
        self.state_names = [
            f"{self.name}/layer_{i}/{name}" for i, cell in enumerate(self.cells) for name in cell.get_state_names()
        ]
        parts = self._slices()
        self.output_indices = [
            parts[i].start + self.cells[i].get_output_state_index() for i in self.output_connected_layers
        ]

    def _slices(self, per_state: int = 1) -> list[slice]:
        """Where the states of each layer stand in a list of all."""
        counts = [per_state * len(cell.get_state_names()) for cell in self.cells]
        ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        return [slice(end - count, end) for end, count in zip(ends, counts)]

    def prepare_input(self, model: Any, input_blob: Any) -> Any:
        """That of the first layer."""
        blob = rectified(input_blob)
        with core.NameScope(self.name or ""):
            return self.cells[0].prepare_input(model, blob)

    def _apply(
        self, model: Any, input_t: Any, seq_lengths: Any, states: Any, timestep: Any, extra_inputs: Any = None
    ) -> Any:  # fmt: skip
        data, lengths, step = rectified(input_t), rectified(seq_lengths), rectified(timestep)
        before = [rectified(state) for state in states]
        extra = [(rectified(blob), size) for blob, size in extra_inputs] if extra_inputs else None
        if len(before) != len(self.state_names):
            raise AssertionError(f"{len(before)} states for {len(self.state_names)}")
        after: list[Any] = []
        for i, (cell, part) in enumerate(zip(self.cells, self._slices())):
            with core.NameScope(self.name), core.NameScope(f"layer_{i}"):
                prepared = cell.prepare_input(model, data) if i else data
                made = cell._apply(model, prepared, lengths, before[part], step, extra_inputs=None if i else extra)
                if i < len(self.cells) - 1:
                    output = cell._prepare_output(model, made)
                    residual = i > 0 and i in self.residual_output_layers
                    name = self.scope(f"residual_output_{i}")
                    data = brew.sum(model, [output, data], name) if residual else output
            after.extend(made)
        return after

    def get_state_names(self) -> Sequence[str]:
        """Those of all layers."""
        return self.state_names

    def get_output_state_index(self) -> int:
        """The output of the last layer."""
        last = self.cells[-1]
        return len(self.state_names) - len(last.get_state_names()) + last.get_output_state_index()

    def get_output_dim(self) -> int:
        """That of the last layer."""
        return self.cells[-1].get_output_dim()

    def _prepare_output(self, model: Any, states: Any) -> Any:
        parts = self._slices()
        outputs = [self.cells[i]._prepare_output(model, states[parts[i]]) for i in self.output_connected_layers]
        return self._joined(model, outputs, "residual_output")

    def _prepare_output_sequence(self, model: Any, state_outputs: Any) -> Any:
        parts = self._slices(2)
        outputs = [
            self.cells[i]._prepare_output_sequence(model, state_outputs[parts[i]]) for i in self.output_connected_layers
        ]
        return self._joined(model, outputs, "residual_output_sequence")

    def _joined(self, model: Any, outputs: Sequence[Any], name: str) -> Any:
        return brew.sum(model, outputs, self.scope(name)) if len(outputs) > 1 else outputs[0]


class UnrolledCell(RNNCell):
    """A cell whose ``T`` steps are written out in the net, one after the other."""

    def __init__(self, cell: RNNCell, T: int) -> None:
        super().__init__(name=cell.name, forward_only=cell.forward_only, initializer=cell.initializer)
        self.T = T
        self.cell = cell

    def apply_over_sequence(
        self,
        model: Any,
        inputs: Any,
        seq_lengths: Any = None,
        initial_states: Any = None,
        outputs_with_grads: Sequence[int] | None = None,
    ) -> tuple[Any, Any]:
        """Add all steps, as ``RNNCell.apply_over_sequence``; the sequence has T steps."""
        prepared = self.cell.prepare_input(model, inputs)
        steps = model.net.Split(prepared, [f"{prepared}_timestep_{i}" for i in range(self.T)], axis=0)
        states, history = initial_states, []
        for t, input_t in enumerate(steps if self.T > 1 else [steps]):
            name = f"timestep_{t}"
            with ParameterSharing({name: ""}), core.NameScope(name):
                timestep = model.param_init_net.ConstantFill(
                    [],
                    "timestep",
                    value=t,
                    shape=[1],
                    dtype=core.DataType.INT32,
                    device_option=core.DeviceOption(caffe2_pb2.CPU),
                )
                states = self.cell._apply(model, input_t, seq_lengths, states, timestep)
            history.append(states)
        outputs = tuple(
            blob for rows in zip(*history) for blob in (self._joined(model, rows), rows[-1])
        )  # fmt: skip
        for i in sorted(set(range(len(outputs))) - set(outputs_with_grads or [self.cell.get_output_state_index() * 2])):
            model.net.ZeroGradient(outputs[i], [])
        return self.cell._prepare_output_sequence(model, outputs), outputs

    @staticmethod
    def _joined(model: Any, rows: Sequence[Any]) -> Any:
        """One blob of a state in all steps."""
        name = str(rows[0]).removeprefix("timestep_0/")
        return model.net.Concat(list(rows), [f"{name}_concat", f"{name}_concat_info"], axis=0)[0]
