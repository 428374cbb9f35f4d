"""Contexts: a class whose objects are current inside of ``with object:``, one stack for each thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)
Object = TypeVar("Object", bound="Managed")


class ContextInfo:
    """The objects of a context class that are active in this thread, the current one last."""

    def __init__(self, cls: type, allow_default: bool, arg_name: str | None) -> None:
        self.cls, self.allow_default, self.arg_name = cls, allow_default, arg_name
        self._local_stack = threading.local()

    @property
    def _stack(self) -> list[Any]:
        if not hasattr(self._local_stack, "objects"):
            self._local_stack.objects = []
        stack: list[Any] = self._local_stack.objects
        return stack

    def enter(self, value: Any) -> None:
        """Make an object the current one."""
        self._stack.append(value)

    def exit(self, value: Any) -> None:
        """End the current object's time; raises ``AssertionError`` if it is another one."""
        if not self._stack or self._stack.pop() is not value:
            raise AssertionError(f"Context {self.cls} is empty, or another one was entered last.")

    def get_active(self, required: bool = True) -> Any:
        """The current object; without one a new one if the class allows it.

        Raises ``AssertionError`` if there is none; gives None where it is not required.
        """
        if not self._stack:
            if not required:
                return None
            if not self.allow_default:
                raise AssertionError(f"Context {self.cls} is required but none is active.")
            self.enter(self.cls())
        return self._stack[-1]


class ContextRegistry:
    """The context classes."""

    def __init__(self) -> None:
        self._contexts: dict[type, ContextInfo] = {}

    def register(self, ctx_info: ContextInfo) -> None:
        """Add a class; raises ``AssertionError`` for one that is known."""
        if ctx_info.cls in self._contexts:
            raise AssertionError(f"Context {ctx_info.cls} already registered")
        self._contexts[ctx_info.cls] = ctx_info

    def get(self, cls: type) -> ContextInfo:
        """What is known of a class; raises ``AssertionError``."""
        if cls not in self._contexts:
            raise AssertionError(f"Context {cls} not registered.")
        return self._contexts[cls]


_REGISTRY = ContextRegistry()


def context_registry() -> ContextRegistry:
    """All context classes."""
    return _REGISTRY


def get_active_context(cls: Any, val: Any = None, required: bool = True) -> Any:
    """The given object, or the current one of a context class; raises ``AssertionError`` for one of another class."""
    if val is None:
        return context_registry().get(cls._ctx_class).get_active(required=required)
    if not isinstance(val, cls):
        raise AssertionError(f"Wrong context type. Expected: {cls}, got {type(val)}.")
    return val


class define_context:
    """A decorator: objects of the class are contexts, ``cls.current()`` is the current one.

    allow_default: one is made where none is active. Objects decorate functions, too, which run in the context.
    """

    def __init__(self, arg_name: str | None = None, allow_default: bool = False) -> None:
        self.arg_name, self.allow_default = arg_name, allow_default

    def __call__(self, cls: Class) -> Class:
        if hasattr(cls, "_ctx_class"):
            raise AssertionError(f"{cls} parent class ({cls._ctx_class}) already defines context.")
        info = ContextInfo(cls, self.allow_default, self.arg_name)
        context_registry().register(info)
        before, after = getattr(cls, "__enter__", None), getattr(cls, "__exit__", None)

        def enter(self: Any) -> Any:
            if before is not None:
                before(self)
            info.enter(self)
            return self

        def leave(self: Any, *args: Any) -> None:
            info.exit(self)
            if after is not None:
                after(self, *args)

        def decorate(self: Any, function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

            return wrapper

        members = {"_ctx_class": cls, "__enter__": enter, "__exit__": leave, "__call__": decorate}
        for name, member in {**members, "current": classmethod(get_active_context)}.items():
            setattr(cls, name, member)
        return cls


class Managed:
    """A base class: objects of a class that derives from it, and of the classes below that one, are contexts."""

    _ctx_class: type
    _allow_default = False

    def __init_subclass__(cls, is_base: bool = False) -> None:
        if not is_base and not hasattr(cls, "_ctx_class"):
            cls._ctx_class = cls
            context_registry().register(ContextInfo(cls, cls._allow_default, None))

    @classmethod
    def current(cls, value: Any = None, required: bool = True) -> Any:
        """The given object, or the current one; without one ``AssertionError``, or None where it is not required."""
        return get_active_context(cls, value, required)

    def __enter__(self: Object) -> Object:
        context_registry().get(self._ctx_class).enter(self)
        return self

    def __exit__(self, *args: Any) -> None:
        context_registry().get(self._ctx_class).exit(self)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A decorator: the function runs in the context."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper


class DefaultManaged(Managed, is_base=True):
    """``Managed``, where an object is made if none is active."""

    _allow_default = True
