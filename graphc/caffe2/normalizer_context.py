"""Which normalizers parameters get that are created inside of ``with UseNormalizer(...)``."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import context
from graphc.caffe2.modifier_context import ModifierContext, UseModifierBase


@context.define_context(allow_default=True)
class NormalizerContext(ModifierContext):
    """The normalizers in use, by name; ``NormalizerContext.current()`` is that of this thread."""

    def has_normalizer(self, name: str) -> bool:
        """There is a normalizer of this name."""
        return self._has_modifier(name)

    def get_normalizer(self, name: str) -> Any:
        """The normalizer of this name; raises ``AssertionError``."""
        if not self.has_normalizer(name):
            raise AssertionError(f"{name} normalizer is not provided!")
        return self._get_modifier(name)


class UseNormalizer(UseModifierBase):
    """Layers created in the block get these normalizers."""

    def _context_class(self) -> Any:
        return NormalizerContext
