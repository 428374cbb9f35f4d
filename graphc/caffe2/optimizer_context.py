"""Which optimizers parameters get that are created inside of ``with UseOptimizer(...)``."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import context
from graphc.caffe2.modifier_context import ModifierContext, UseModifierBase

DEFAULT_OPTIM = "DEFAULT"


@context.define_context(allow_default=True)
class OptimizerContext(ModifierContext):
    """The optimizers in use, by name; ``OptimizerContext.current()`` is that of this thread."""

    def has_optimizer(self, name: str) -> bool:
        """There is an optimizer of this name."""
        return self._has_modifier(name)

    def get_optimizer(self, name: str) -> Any:
        """The optimizer of this name; raises ``AssertionError``."""
        if not self.has_optimizer(name):
            raise AssertionError(f"{name} optimizer is not provided!")
        return self._get_modifier(name)


class UseOptimizer(UseModifierBase):
    """Parameters created in the block get this optimizer, or that of their tag: ``UseOptimizer({"BIAS": one})``."""

    def _context_class(self) -> Any:
        return OptimizerContext
