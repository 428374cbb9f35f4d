"""How words of kernel source are made known to Numba: as intrinsics, whose code LLVM's builder gives.

Two Numbas compile kernels, one for CPUs and one for cards. They have the same parts in modules of their own, so that a
target says which parts are its own. Compile workers alone import this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from graphc.backends.vocabulary import ELEMENTS

Build = Callable[..., Any]
"""(builder, *values of LLVM) -> the value of a word."""


@dataclass(frozen=True)
class Numba:
    """The parts of one Numba: its modules ``types``, ``cgutils`` and ``arrayobj``, its decorator ``intrinsic``."""

    types: Any
    cgutils: Any
    arrayobj: Any
    intrinsic: Any

    def elements(self) -> dict[str, tuple[Any, Any]]:
        """NumPy's letters of numbers -> Numba's and LLVM's types."""
        floats = {"f4": ir.FloatType(), "f8": ir.DoubleType()}
        kinds = {code: np.dtype(code) for code in ELEMENTS if code != "b1"}
        return {c: (getattr(self.types, k.name), floats.get(c, ir.IntType(8 * k.itemsize))) for c, k in kinds.items()}

    def word(self, result: Any, arguments: tuple[Any, ...], build: Build, name: str = "word") -> Any:
        """A word ``(arguments) -> result`` whose code is ``build(builder, *values)``; name: in Numba's messages."""

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            made = build(builder, *values)
            return context.get_dummy_value() if result is self.types.none else made

        names = "".join(f", a{i}" for i in range(len(arguments)))
        scope: dict[str, Any] = {"signature": result(*arguments), "generate": generate}
        exec(f"def {name}(context{names}):\n    return signature, generate\n", scope)  # Numba counts named arguments
        return self.intrinsic(scope[name])

    def call(self, b: Any, name: str, result: Any, *values: Any) -> Any:
        """Call a function that LLVM or a library has under this name."""
        kind = ir.FunctionType(result, [v.type for v in values])
        return b.call(self.cgutils.get_or_insert_function(b.module, kind, name), values)

    def arrays(self) -> dict[str, Any]:
        """``array_f4(address, shape)`` and so on for every type: a row-major array that lies at a byte address."""
        kinds = {code: numba for code, (numba, _) in self.elements().items()} | {"b1": self.types.boolean}
        return {f"array_{code}": self._array(kind) for code, kind in kinds.items()}

    def _array(self, element: Any) -> Any:
        index = self.types.intp

        def typing(context: Any, address: Any, shape: Any) -> Any:
            kind = self.types.Array(element, len(shape), "C")

            def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
                return self._structure(context, b, kind, args[0], self.cgutils.unpack_tuple(b, args[1], kind.ndim))

            return kind(index, self.types.UniTuple(index, len(shape))), generate

        return self.intrinsic(typing)

    def _structure(self, context: Any, b: Any, kind: Any, address: Any, shape: list[Any]) -> Any:
        """The array that nobody owns; its strides follow from the shape."""
        element = context.get_data_type(kind.dtype)
        item = context.get_constant(self.types.intp, context.get_abi_sizeof(element))
        strides = [item]
        for size in reversed(shape[1:]):
            strides.insert(0, b.mul(strides[0], size))
        array = self.arrayobj.make_array(kind)(context, b)
        data = b.inttoptr(address, element.as_pointer())
        self.arrayobj.populate_array(array, data, shape, strides[-len(shape) :] if shape else [], item, None)
        return array._getvalue()
