"""Operators of type Python: functions of the process, which operators name by a token."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.caffe2.workspace.values import Value, fed_value, is_boxed

Function = Callable[..., Any]

_FUNCTIONS: dict[str, tuple[Function, Function | None, bool]] = {}
"""Token -> function, its gradient, and whether they get the workspace."""
_BUILDERS: dict[bytes, tuple[Any, ...]] = {}
"""Pickled builder -> the builder itself: what makes a function, its arguments and its named arguments."""
_ABSENT = ("its function is not in this process", "create the operator with net.Python in this process")
_NUMBERS = itertools.count(1)


def python_arguments(f: Any, grad_f: Any, python_func_type: Any, pass_workspace: bool) -> dict[str, Any]:
    """The arguments by which an operator names a function; see ``Net.Python``.

    A token; for a function that a builder makes the builder's pickle, as Caffe2 has it. Pickles are never opened: nets
    may come from anywhere.
    """
    if isinstance(f, tuple) and not python_func_type:
        if grad_f and not isinstance(grad_f, tuple):
            raise AssertionError("A tuple has to be passed to both f and grad_f or neither.")
        builder = _pickled(f)
        gradient = _pickled(grad_f) if grad_f else ""
        return {"pickled_builder": builder, "pickled_grad_builder": gradient, "pass_workspace": pass_workspace}
    return {"token": register_python(f, grad_f, python_func_type, pass_workspace)}


def _pickled(builder: tuple[Any, ...]) -> bytes:
    if len(builder) != 3:
        raise AssertionError("Expected builder tuple (func, args, kwargs)")
    function, args, kwargs = builder
    found = pickle.dumps((function, tuple(args), dict(kwargs)))
    _BUILDERS[found] = builder
    return found


def register_python(f: Any, grad_f: Any = None, python_func_type: Any = None, pass_workspace: bool = False) -> str:
    """The token of a function and its gradient."""
    if python_func_type:
        made = python_func_type(f)
        f, grad_f = made.forward, made.backward
    token = f"{getattr(f, '__module__', '')}.{getattr(f, '__qualname__', type(f).__name__)}:{next(_NUMBERS)}"
    _FUNCTIONS[token] = (_built(f), _built(grad_f) if grad_f else None, pass_workspace)
    return token


def _built(f: Any) -> Function:
    function: Function = f[0](*f[1], **f[2]) if isinstance(f, tuple) else f
    return function


class PythonTensor:
    """An input or output of a Python function. data: the elements; writes to those of an output count."""

    def __init__(self, value: Value = None) -> None:
        self._value = value

    @property
    def data(self) -> Any:
        """The elements, an array of float32 without any where nothing was set."""
        if self._value is None:
            self._value = np.zeros(0, np.float32)
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions."""
        return tuple(np.shape(self.data))

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.shape

    def reshape(self, shape: Any) -> None:
        """Give it another shape; elements are kept where their number stays the same, else they are zeros."""
        shape, old = tuple(int(d) for d in shape), self.data
        self._value = old.reshape(shape) if old.size == np.prod(shape) else np.zeros(shape, old.dtype)

    def init(self, dims: Any, dtype: Any) -> None:
        """Make it zeros of a shape and NumPy type."""
        self._value = np.zeros(tuple(dims), dtype)

    def feed(self, array: Any) -> None:
        """Set it to a copy of an array."""
        self._value = fed_value("output", array)


@host_operator("Python")
def run_python(call: HostCall) -> None:
    """Call a function with its inputs and outputs as lists of ``PythonTensor``."""
    _call(call, _built_once(call, "pickled_builder") or _registered(call)[0])


@host_operator("PythonGradient")
def run_python_gradient(call: HostCall) -> None:
    """Call the gradient of a function."""
    gradient = _built_once(call, "pickled_grad_builder")
    if gradient is None and not call.op.args.get("pickled_builder"):
        gradient = _registered(call)[1]
    if gradient is None:
        call.fail("the function has no gradient", "give grad_f to net.Python")
    _call(call, gradient)


def _registered(call: HostCall) -> tuple[Function, Function | None, bool]:
    token = call.arg("token", "")
    if token not in _FUNCTIONS:
        call.fail(*_ABSENT)
    return _FUNCTIONS[token]


def _built_once(call: HostCall, argument: str) -> Function | None:
    """The function of a builder, which makes one for each operator of each created net; None where there is none."""
    builder = call.op.args.get(argument)
    if not builder:
        return None
    if builder not in _BUILDERS:
        call.fail(*_ABSENT)
    key = id(call.op)
    if key not in call.memory:
        call.memory[key] = _built(_BUILDERS[builder])
    function: Function = call.memory[key]
    return function


def _call(call: HostCall, function: Function) -> None:
    inputs = [PythonTensor(_copied(v)) for v in call.read_all()]
    outputs = [PythonTensor(_previous(call, n)) for n in call.op.outputs]
    passes = call.arg("pass_workspace", 0) if call.op.args.get("pickled_builder") else _registered(call)[2]
    workspace = (call.blobs,) if passes else ()
    function(inputs, outputs, *workspace)
    for i, tensor in enumerate(outputs):
        if tensor._value is not None:
            call.write(i, _copied(tensor._value))


def _previous(call: HostCall, name: str) -> Value:
    """A copy of what an output held before, which functions may write to."""
    if name not in call.blobs.names():
        return None
    value = call.blobs.value(name)
    return _copied(value) if isinstance(value, np.ndarray) and not is_boxed(value) else None


def _copied(value: Value) -> Value:
    return np.array(value) if isinstance(value, np.ndarray) and not is_boxed(value) else value
