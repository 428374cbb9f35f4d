"""Types of values: element type, dimensions, layout, quantisation. A leaf module: it imports nothing of graphc."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


class DType(enum.Enum):
    """An element type. The value is Caffe2's ``TensorProto.DataType`` number; BFLOAT16, graphc's own, is none of them.

    Arrays of bfloat16 numbers hold their bits as uint16 (``ir/bfloat16.py``).
    """

    FLOAT = 1
    INT32 = 2
    BYTE = 3
    STRING = 4
    BOOL = 5
    UINT8 = 6
    INT8 = 7
    UINT16 = 8
    INT16 = 9
    INT64 = 10
    FLOAT16 = 12
    DOUBLE = 13
    BFLOAT16 = 1016

    @property
    def text(self) -> str:
        """Name in the text format, e.g. ``float``, ``int64``."""
        return self.name.lower()

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype (``object`` holding ``bytes`` for STRING)."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes per element; 8 for STRING, whose elements are references."""
        return self.numpy.itemsize

    @staticmethod
    def of(dtype: np.dtype | type | str) -> DType:
        """The DType of a NumPy dtype in any byte order; raises ``TypeError`` naming a dtype Caffe2 lacks."""
        native = np.dtype(dtype).newbyteorder("=")
        if native.kind in "SUO":
            return DType.STRING
        for d, n in _NUMPY.items():
            if n == native and d not in (DType.BYTE, DType.BFLOAT16):
                return d
        raise TypeError(f"Caffe2 has no tensor type for NumPy dtype {np.dtype(dtype)}")

    @staticmethod
    def parse(text: str) -> DType:
        """Inverse of ``text``; raises ``ValueError``."""
        if text.upper() not in DType.__members__:
            raise ValueError(f"unknown element type {text!r}; known: {', '.join(d.text for d in DType)}")
        return DType[text.upper()]


_NUMPY: dict[DType, np.dtype] = {
    DType.FLOAT: np.dtype(np.float32),
    DType.INT32: np.dtype(np.int32),
    DType.BYTE: np.dtype(np.uint8),
    DType.STRING: np.dtype(object),
    DType.BOOL: np.dtype(np.bool_),
    DType.UINT8: np.dtype(np.uint8),
    DType.INT8: np.dtype(np.int8),
    DType.UINT16: np.dtype(np.uint16),
    DType.INT16: np.dtype(np.int16),
    DType.INT64: np.dtype(np.int64),
    DType.FLOAT16: np.dtype(np.float16),
    DType.DOUBLE: np.dtype(np.float64),
    DType.BFLOAT16: np.dtype(np.uint16),
}


@dataclass(frozen=True)
class Sym:
    """A dimension that is known only when the inputs are: a name (``N``) or an expression over names.

    Arithmetic with ints and other symbols gives a new symbol whose text is the expression, so that one inference
    rule serves both. ``Sym("?")`` stands for "not known at all" and is equal to nothing but itself in text.
    """

    text: str

    def _join(self, op: str, other: Dim, swapped: bool = False) -> Dim:
        if self.text == "?" or (isinstance(other, Sym) and other.text == "?"):
            return UNKNOWN
        if op in ("+", "-") and other == 0 and not swapped:
            return self
        if op in ("*", "//") and other == 1 and not swapped:
            return self
        if op == "*" and other == 0:
            return 0
        if op in ("+", "-") and isinstance(other, int) and not swapped:
            return _add_constant(self.text, other if op == "+" else -other)
        a, b = (_atom(other), _atom(self)) if swapped else (_atom(self), _atom(other))
        return Sym(f"{a}{op}{b}")

    def __add__(self, o: Dim) -> Dim:
        return self._join("+", o)

    def __radd__(self, o: Dim) -> Dim:
        return self._join("+", o)

    def __sub__(self, o: Dim) -> Dim:
        return 0 if o == self and self.text != "?" else self._join("-", o)

    def __rsub__(self, o: Dim) -> Dim:
        return self._join("-", o, swapped=True)

    def __mul__(self, o: Dim) -> Dim:
        return self._join("*", o)

    def __rmul__(self, o: Dim) -> Dim:
        return self._join("*", o)

    def __floordiv__(self, o: Dim) -> Dim:
        return 1 if o == self and self.text != "?" else self._join("//", o)

    def __rfloordiv__(self, o: Dim) -> Dim:
        return self._join("//", o, swapped=True)

    def __str__(self) -> str:
        return self.text


Dim = int | Sym
UNKNOWN = Sym("?")


def _atom(d: Dim) -> str:
    s = str(d)
    return s if re.fullmatch(r"\w+|\?|-?\d+", s) else f"({s})"


def _add_constant(text: str, k: int) -> Dim:
    """``text + k`` with a trailing constant merged, so that ``H+2-2`` is ``H``."""
    m = re.fullmatch(r"(.*[\w)])([+-]\d+)", text)
    head, old = (m.group(1), int(m.group(2))) if m and m.group(1).count("(") == m.group(1).count(")") else (text, 0)
    total = old + k
    return Sym(head) if total == 0 else Sym(f"{head}{total:+d}")


def dims_agree(a: Dim, b: Dim) -> bool:
    """False only where two dimensions are both known and differ."""
    return a == b if isinstance(a, int) and isinstance(b, int) else True


def merge_dims(a: Dim, b: Dim) -> Dim:
    """The better known of two dimensions that agree."""
    if isinstance(a, int):
        return a
    return b if isinstance(b, int) or a == UNKNOWN else a


@dataclass(frozen=True)
class Layout:
    """How a 4-D value (N, C, H, W) lies in memory.

    ``block == 1``: plain row-major order of the logical shape. ``block == b``: NCHWc, physical shape
    (N, ceil(C / b), H, W, b); lanes beyond C hold unspecified finite or non-finite values that no operator reads.
    """

    block: int = 1

    @property
    def text(self) -> str:
        """``plain`` or ``nchw16c``."""
        return "plain" if self.block == 1 else f"nchw{self.block}c"

    @staticmethod
    def parse(text: str) -> Layout:
        """Inverse of ``text``; raises ``ValueError``."""
        if text == "plain":
            return PLAIN
        m = re.fullmatch(r"nchw(\d+)c", text)
        if not m:
            raise ValueError(f"unknown layout {text!r}")
        return Layout(int(m.group(1)))


PLAIN = Layout()


@dataclass(frozen=True)
class Quant:
    """Affine quantisation of a whole tensor: real = (q - zero_point) * scale."""

    scale: float
    zero_point: int


OPEN_QUANT = Quant(0.0, 0)
"""Stands for a scale and zero point that are known only when the data is (engine DNNLOWP)."""


@dataclass(frozen=True)
class TensorType:
    """Type of a value.

    dtype: None while unknown. shape: None while the rank is unknown, else a tuple of dims. Text form, e.g.
    ``float[N,64,56,56]``, ``float[*]``, ``?[*]``, ``float[1,64,56,56]{nchw16c}``, ``uint8[1,8]{scale=0.1,zero=128}``.
    """

    dtype: DType | None = None
    shape: tuple[Dim, ...] | None = None
    layout: Layout = PLAIN
    quant: Quant | None = None

    @property
    def rank(self) -> int | None:
        """Number of dimensions, None while unknown."""
        return None if self.shape is None else len(self.shape)

    @cached_property
    def is_static(self) -> bool:
        """Every dimension is an int."""
        return self.shape is not None and all(isinstance(d, int) for d in self.shape)

    @cached_property
    def static_shape(self) -> tuple[int, ...]:
        """The shape of a static type; raises ``ValueError`` for others."""
        if self.shape is None or not self.is_static:
            raise ValueError(f"the shape of {self} is not known yet")
        return tuple(d for d in self.shape if isinstance(d, int))

    @cached_property
    def size(self) -> int:
        """Number of logical elements of a static type."""
        n = 1
        for d in self.static_shape:
            n *= d
        return n

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the logical elements of a static type."""
        return self.size * (self.dtype.itemsize if self.dtype else 4)

    def with_shape(self, shape: tuple[Dim, ...] | None) -> TensorType:
        """The same type with another shape."""
        return replace(self, shape=shape)

    def __str__(self) -> str:
        dims = "*" if self.shape is None else ",".join(map(str, self.shape))
        extra = [self.layout.text] if self.layout != PLAIN else []
        if self.quant:
            extra += [f"scale={self.quant.scale!r}", f"zero={self.quant.zero_point}"]
        tail = "{" + ",".join(extra) + "}" if extra else ""
        return f"{self.dtype.text if self.dtype else '?'}[{dims}]{tail}"

    @staticmethod
    def parse(text: str) -> TensorType:
        """Inverse of ``str``; raises ``ValueError``."""
        m = re.fullmatch(r"(\w+|\?)\[([^\]]*)\](?:\{(.*)\})?", text)
        if not m:
            raise ValueError(f"not a type: {text!r}")
        dtype = None if m.group(1) == "?" else DType.parse(m.group(1))
        body = m.group(2)
        shape = None if body == "*" else tuple(_parse_dim(d) for d in body.split(",") if d)
        layout, params = PLAIN, {}
        for item in (m.group(3) or "").split(","):
            if "=" in item:
                key, _, value = item.partition("=")
                params[key] = value
            elif item:
                layout = Layout.parse(item)
        quant = Quant(float(params["scale"]), int(params["zero"])) if params else None
        return TensorType(dtype, shape, layout, quant)


def _parse_dim(text: str) -> Dim:
    return int(text) if re.fullmatch(r"-?\d+", text) else Sym(text)
