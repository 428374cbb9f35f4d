"""Element types of what kernels read and write in half precision, as suffixes of their words: ``vload_bf(x, i)``.

A kernel on float32 alone has none of this among its parameters: it is the same kernel with and without half precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.precision import reads_float, rounded
from graphc.ir.schedule import KernelSpec
from graphc.ir.types import DType

SUFFIX = {DType.FLOAT: "", DType.FLOAT16: "_h", DType.BFLOAT16: "_bf"}


def suffix(dtype: DType | None) -> str:
    """The suffix of words that load and store an element type."""
    return SUFFIX.get(dtype, "") if dtype is not None else ""


def itemsize(suffix: str) -> int:
    """Bytes of an element."""
    return 2 if suffix else 4


def at(name: str, offset: str, suffix: str) -> str:
    """Address and offset for words that know no halves, such as ``prefetch``."""
    return f"{name} + 2 * ({offset}), 0" if suffix else f"{name}, {offset}"


def stored(numbers: np.ndarray, suffix: str) -> np.ndarray:
    """float32 numbers as a kernel with words of that suffix loads them: one dimension, halves as uint16."""
    dtype = next(d for d, s in SUFFIX.items() if s == suffix)
    array = np.ascontiguousarray(rounded(np.asarray(numbers, np.float32), dtype)).reshape(-1)
    return array.view(np.uint16) if suffix else array


def joined(*arrays: np.ndarray) -> np.ndarray:
    """Arrays one after the other: as float32 where all are, else as bytes."""
    if all(a.dtype == np.float32 for a in arrays):
        return np.concatenate(arrays)
    return np.concatenate([a.view(np.uint8) for a in arrays])


@dataclass(frozen=True)
class Types:
    """Suffixes of the input, the weights and the result of a kernel."""

    x: str = ""
    weights: str = ""
    y: str = ""

    @staticmethod
    def of_call(call: Call) -> Types:
        """Those of a convolution or product; of pools and the like with x and y alone."""
        weights = suffix(call.type(1).dtype) if call.n_inputs > 1 and reads_float(call.node, 1) else ""
        return Types(suffix(call.type(0).dtype), weights, suffix(call.node.results[0].type.dtype))

    @staticmethod
    def of_spec(spec: KernelSpec) -> Types:
        """Those of a kernel's parameters."""
        given = str(spec.get("types", ",,")).split(",")
        return Types(*(f"_{code}" if code else "" for code in given))

    def static(self) -> dict[str, str]:
        """The parameters of a spec."""
        codes = [s.removeprefix("_") for s in (self.x, self.weights, self.y)]
        return {"types": ",".join(codes)} if any(codes) else {}

    @property
    def dot(self) -> bool:
        """Input and weights are bfloat16: multiplied two by two."""
        return self.x == self.weights == "_bf"


FLOATS = Types()
"""Everything is float32."""
