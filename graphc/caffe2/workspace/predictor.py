"""``workspace.Predictor``: a saved model in a workspace of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.caffe2.workspace.coercion import StringifyProto
from graphc.caffe2.workspace.created_net import CreatedNet
from graphc.caffe2.workspace.errors import EnforceError, enforced, missing_blob
from graphc.caffe2.workspace.program import program_of
from graphc.caffe2.workspace.store import Workspace


class Predictor:
    """Runs a net on the weights that an init net makes, apart from all other workspaces.

    init_net, predict_net: messages, nets or bytes. Threads may share a predictor; their runs wait for each other.
    Raises ``RuntimeError`` for nets that cannot run.
    """

    def __init__(self, init_net: Any, predict_net: Any) -> None:
        self._workspace, self._lock = Workspace(), threading.RLock()
        data = StringifyProto(predict_net)
        with enforced():
            self._workspace.run_once(StringifyProto(init_net))
            for name in program_of(data).net.external_inputs:
                self._workspace.create(name)
            self._net = CreatedNet(program_of(data))

    @property
    def inputs(self) -> list[str]:
        """The net's external inputs in order; ``run`` feeds the first ones."""
        return list(self._net.program.net.external_inputs)

    @property
    def outputs(self) -> list[str]:
        """The net's external outputs in order."""
        return list(self._net.program.net.external_outputs)

    def run(self, inputs: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        """The external outputs in order.

        inputs: arrays for the first external inputs, or by name. Outputs are copies; a quantised one comes as
        ``Int8Tensor``. Raises ``RuntimeError``.
        """
        with self._lock:
            self._feed(inputs)
            self._net.run(self._workspace)
            return [self._workspace.fetch(name) for name in self.outputs]

    def run_map(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The external outputs by name, for inputs by name."""
        return dict(zip(self.outputs, self.run(inputs)))

    def _feed(self, inputs: Sequence[Any] | Mapping[str, Any]) -> None:
        names = self.inputs
        if not isinstance(inputs, Mapping):
            if len(inputs) > len(names):
                raise EnforceError(
                    f"the predictor was given {len(inputs)} inputs, the net has {len(names)}",
                    f"external inputs: {', '.join(names)}",
                )
            inputs = dict(zip(names, inputs))
        for name, given in inputs.items():
            if str(name) not in names:
                raise missing_blob(str(name), names, f"{name} is no input of the net '{self._net.name}'")
            self._workspace.feed(str(name), given)
