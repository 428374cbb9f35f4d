"""What translations of operators share: shapes, names, constants, and the nodes that they make."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.frontends.netdef.schema import Message

OPSET = 9
"""The version of ONNX's operators: the last whose Softmax, Flatten, Clip and Slice are Caffe2's."""


def onnx_package(part: str = "") -> Any:
    """The package onnx, or a module of it; raises ``ImportError`` with the remedy where it is missing."""
    try:
        return importlib.import_module(f"onnx.{part}" if part else "onnx")
    except ImportError:
        raise ImportError("models of ONNX need the package onnx: pip install 'graphc[onnx]'") from None


class UntranslatableError(RuntimeError):
    """An operator, or a use of it, that ONNX does not have."""


class Context:
    """The graph that grows: nodes, constants, and what is known of blobs.

    shapes: of every blob, by its name in the model. used: names that blobs have.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], used: set[str]) -> None:
        self.shapes = dict(shapes)
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._used = used

    def new_name(self, hint: str) -> str:
        """A name that no blob has."""
        name, k = hint, 0
        while name in self._used:
            name, k = f"{hint}_{k}", k + 1
        self._used.add(name)
        return name

    def node(self, op_type: str, inputs: Sequence[str], outputs: Sequence[str] | None = None, **attributes: Any) -> str:
        """Append a node; gives its first output, which has a new name unless outputs are named."""
        names = list(outputs) if outputs is not None else [self.new_name(f"{inputs[0]}_{op_type.lower()}")]
        make = onnx_package("helper").make_node
        self.nodes.append(make(op_type, list(inputs), names, **attributes))
        return names[0]

    def constant(self, hint: str, values: Any, dtype: Any = np.float32) -> str:
        """A constant of the graph; gives its name."""
        name = self.new_name(hint)
        self.constants[name] = np.asarray(values, dtype)
        return name

    def reshape(self, blob: str, shape: Sequence[int], outputs: Sequence[str] | None = None) -> str:
        """A blob in another shape."""
        return self.node("Reshape", [blob, self.constant(f"{blob}_shape", shape, np.int64)], outputs)

    def shape(self, blob: str) -> list[int]:
        """The shape of a blob; raises ``UntranslatableError`` where it is unknown."""
        if blob not in self.shapes:
            raise UntranslatableError(f"the shape of {blob} is not known")
        return [int(n) for n in self.shapes[blob]]


class Call:
    """One operator: blobs by their names in the model, and arguments by name."""

    def __init__(self, op: Message) -> None:
        self.type: str = op.type
        self.inputs = list(op.input)
        self.outputs = list(op.output)
        self._args = {arg.name: _value(arg) for arg in op.arg}

    def arg(self, name: str, default: Any = None) -> Any:
        """An argument, or a default."""
        return self._args.get(name, default)

    def require_order(self) -> None:
        """Raise ``UntranslatableError`` for channels behind rows and columns."""
        if self.arg("order", b"NCHW") not in (b"NCHW", "NCHW"):
            raise UntranslatableError("ONNX has the order NCHW alone")

    def window(self, name: str, rank: int, default: int) -> list[int]:
        """``kernels``, or ``kernel``, or ``kernel_h`` and ``kernel_w``: a number for each of the dimensions."""
        several = self.arg(f"{name}s")
        if several:
            return [int(n) for n in several]
        both = [self.arg(f"{name}_{letter}", self.arg(name, default)) for letter in "hw"]
        return [int(n) for n in both] if rank == 2 else [int(self.arg(name, default))] * rank

    def pads(self, rank: int) -> list[int]:
        """Padding before all dimensions, then behind them."""
        if self.arg("pads"):
            return [int(n) for n in self.arg("pads")]
        if rank == 2:
            return [int(self.arg(f"pad_{letter}", self.arg("pad", 0))) for letter in "tlbr"]
        return [int(self.arg("pad", 0))] * rank * 2


def _value(arg: Message) -> Any:
    for field in ("f", "i", "s"):
        if arg.HasField(field):
            return getattr(arg, field)
    return list(arg.floats) or list(arg.ints) or list(arg.strings)
