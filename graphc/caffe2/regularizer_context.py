"""Which regularizers parameters get that are created inside of ``with UseRegularizer(...)``."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import context
from graphc.caffe2.modifier_context import ModifierContext, UseModifierBase


@context.define_context(allow_default=True)
class RegularizerContext(ModifierContext):
    """The regularizers in use, by name; ``RegularizerContext.current()`` is that of this thread."""

    def has_regularizer(self, name: str) -> bool:
        """There is a regularizer of this name."""
        return self._has_modifier(name)

    def get_regularizer(self, name: str) -> Any:
        """The regularizer of this name; raises ``AssertionError``."""
        if not self.has_regularizer(name):
            raise AssertionError(f"{name} regularizer is not provided!")
        return self._get_modifier(name)


class UseRegularizer(UseModifierBase):
    """Layers created in the block get these regularizers."""

    def _context_class(self) -> Any:
        return RegularizerContext
