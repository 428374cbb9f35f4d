"""Blobs that a run did not give, to be computed when somebody looks at them."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.caffe2.workspace.compiled import CompiledStage, Demands, Variant
from graphc.caffe2.workspace.values import Value


class Pending:
    """What stands in blobs that a plan fused away or kept to itself.

    variant: the plan of that run, which has the weights. inputs: what its inputs held. Looking at one of the blobs runs
    the stage again, by a plan that gives every blob, and lets later runs give that one at once.
    """

    def __init__(self, stage: CompiledStage, variant: Variant, inputs: Mapping[str, Value], demands: Demands) -> None:
        self._stage, self._variant, self._inputs, self._demands = stage, variant, inputs, demands

    def compute(self, name: str) -> dict[str, Value]:
        """All blobs of the stage, of which ``name`` is wanted; raises ``GraphcError``."""
        self._demands.wanted.add(name)
        self._demands.prepared = None
        return self._stage.run(_Inputs({**self._variant.weights, **self._inputs}), Demands(), True)


class _Inputs:
    """A source of the inputs of one run."""

    def __init__(self, raw: Mapping[str, Value]) -> None:
        self.raw, self.filled = dict(raw), set[str]()

    def value(self, name: str) -> Value:
        """What a blob held."""
        value = self.raw[name]
        return value.compute(name)[name] if type(value) is Pending else value
