"""Parameters that several name scopes share: ``with ParameterSharing({"decoder": "encoder"}): ...``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from graphc.caffe2 import scope

_SLASH = scope._NAMESCOPE_SEPARATOR


class ParameterSharingContext:
    """Which name scope stands for another one when parameters get their names."""

    def __init__(self) -> None:
        self._contexts: list[Mapping[str, str]] = []

    def _resolve_scope_overrides(self, candidate_scope: str) -> str:
        """The scope whose parameters a scope uses, both with a slash at the end.

        The longest prefix that has an override is replaced, until none has one.
        """
        overrides = {k: v for context in self._contexts for k, v in context.items()}
        ends = [i + 1 for i, letter in enumerate(candidate_scope) if letter == _SLASH]
        prefixes = [candidate_scope[:end] for end in reversed(ends)]
        prefix = next((p for p in prefixes if overrides.get(p, p) != p), None)
        if prefix is None:
            return candidate_scope
        return self._resolve_scope_overrides(overrides[prefix]) + candidate_scope[len(prefix) :]

    def get_parameter_name(self, name: str) -> str:
        """The name of a parameter that is created in the current name scope."""
        return self._resolve_scope_overrides(scope.CurrentNameScope()) + name

    def add_scope_overrides(self, shared_scopes: Mapping[str, str]) -> None:
        """From now on a scope stands for another one, by full names with a slash at the end."""
        self._contexts.append(shared_scopes)

    def pop(self) -> None:
        """Undo the last ``add_scope_overrides``."""
        if not self._contexts:
            raise AssertionError("no scopes are shared")
        self._contexts.pop()


parameter_sharing_context = ParameterSharingContext()


def _normalize_namescope(namescope: str) -> str:
    return namescope + _SLASH if namescope and not namescope.endswith(_SLASH) else namescope


@contextmanager
def ParameterSharing(shared_scopes: Mapping[str, str]) -> Iterator[None]:
    """In the block parameters of a scope are those of another one; names are relative to the current scope.

    Raises ``AssertionError`` for a scope that would stand for one inside of itself.
    """
    if not isinstance(shared_scopes, dict):
        raise AssertionError(f"a dict from scope to scope is needed, not {type(shared_scopes).__name__}")
    for name, shared in shared_scopes.items():
        if shared.startswith(name):
            raise AssertionError(f"Illegal override for parameter sharing. {name} is prefix of {shared}")
    current = scope.CurrentNameScope()
    parameter_sharing_context.add_scope_overrides(
        {_normalize_namescope(current + k): _normalize_namescope(current + v) for k, v in shared_scopes.items()}
    )
    try:
        yield
    finally:
        parameter_sharing_context.pop()
