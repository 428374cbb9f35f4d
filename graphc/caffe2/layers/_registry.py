"""Layers by name: what ``model.FC(...)`` finds."""

from __future__ import annotations

from typing import Any

_LAYER_REGISTRY: dict[str, type[Any]] = {}


def register_layer(name: str, layer: type[Any]) -> None:
    """Make a class known as a layer; raises ``AssertionError`` for a name that is taken."""
    if name in _LAYER_REGISTRY:
        raise AssertionError(f"{name} already exists")
    _LAYER_REGISTRY[name] = layer


def layer_exists(name: str) -> bool:
    """There is a layer of this name."""
    return name in _LAYER_REGISTRY


def get_layer_class(name: str) -> type[Any]:
    """The class of a layer; raises ``KeyError``."""
    return _LAYER_REGISTRY[name]


def create_layer(layer_name: str, *args: Any, **kwargs: Any) -> Any:
    """An object of the class, from these arguments."""
    return _LAYER_REGISTRY[layer_name](*args, **kwargs)
