"""Objects that change what helpers do, by name, inside of ``with`` blocks: optimizers, regularizers, normalizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT_MODIFIER = "DEFAULT"


class ModifierContext:
    """Modifiers by name; those of an inner block come before those of the blocks around it."""

    def __init__(self) -> None:
        self._modifiers_list: list[Mapping[str, Any]] = []

    def _modifiers(self) -> dict[str, Any]:
        return {name: modifier for level in self._modifiers_list for name, modifier in level.items()}

    def _has_modifier(self, name: str) -> bool:
        return name in self._modifiers()

    def _get_modifier(self, name: str) -> Any:
        return self._modifiers().get(name)

    def push_modifiers(self, modifiers: Mapping[str, Any]) -> None:
        """Begin a block."""
        self._modifiers_list.append(modifiers)

    def pop_modifiers(self) -> None:
        """End a block."""
        if not self._modifiers_list:
            raise AssertionError("no modifiers are in use")
        self._modifiers_list.pop()


class UseModifierBase:
    """``with UseX(modifier)`` or ``with UseX({name: modifier})``: they count for what is created in the block."""

    def __init__(self, modifier_or_dict: Any) -> None:
        by_name = isinstance(modifier_or_dict, dict)
        self._modifiers = modifier_or_dict if by_name else {DEFAULT_MODIFIER: modifier_or_dict}

    def _context_class(self) -> Any:
        raise NotImplementedError

    def __enter__(self) -> UseModifierBase:
        self._context_class().current().push_modifiers(self._modifiers)
        return self

    def __exit__(self, *exception: object) -> None:
        self._context_class().current().pop_modifiers()
