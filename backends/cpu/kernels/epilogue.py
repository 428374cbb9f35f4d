"""Epilogues (``backends/epilogue.py``) inside kernels, on vectors in registers.

A kernel is specialised on the epilogue's text and on the kinds of its operands; addresses and strides come last in
its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.cpu.kernels import half_types
from graphc.backends.cpu.kernels.half_types import suffix
from graphc.backends.cpu.pointwise import emit
from graphc.backends.epilogue import Operands
from graphc.backends.lines import Lines
from graphc.backends.pointwise import Pointwise
from graphc.ir.opdef import Call
from graphc.ir.schedule import KernelSpec, Param, View
from graphc.ir.types import Layout

STRIDES = ("n", "c", "h")
"""Strides that a kernel reads for an operand of kind ``same``: image, plane, row; pixels lie as in the result."""


@dataclass(frozen=True)
class Epilogue(Operands):
    """An epilogue. halves: the suffixes of the words that load its operands (``half_types``), empty where all are
    float32; only operands of kind ``same`` may be halves.
    """

    halves: tuple[str, ...] = ()

    @staticmethod
    def of_call(call: Call) -> Epilogue:
        """That of a node; raises ``LoweringError`` where an operand has no usable shape."""
        pointwise = Pointwise.of_epilogue(call.node)
        halves = tuple(suffix(v.type.dtype) for v in call.node.operands[call.n_inputs :] if v is not None)
        return Epilogue(pointwise.text, pointwise.kinds, halves if any(halves) else ())

    @staticmethod
    def of_spec(spec: KernelSpec) -> Epilogue:
        """That of a kernel's parameters ``epilogue`` and ``kinds``."""
        kinds = str(spec["kinds"])
        halves = str(spec.get("halves", ""))
        return Epilogue(
            str(spec["epilogue"]),
            tuple(kinds.split(",")) if kinds else (),
            tuple(f"_{code}" if code else "" for code in halves.split(",")) if halves else (),
        )

    def static(self) -> dict[str, str]:
        """The parameters of a spec."""
        halves = {"halves": ",".join(h.removeprefix("_") for h in self.halves)} if self.halves else {}
        return {"epilogue": self.text, "kinds": ",".join(self.kinds), **halves}

    def half(self, e: int) -> str:
        """The suffix of operand ``x<e>``."""
        return self.halves[e - 1] if self.halves else ""

    def load(self, e: int, at: str) -> str:
        """The expression that loads a vector of operand ``x<e>`` from an offset."""
        return f"vload{self.half(e)}(e{e}, {at})"

    def prefetch(self, e: int, at: str) -> str:
        """The statement that brings it into the cache."""
        return f"prefetch({half_types.at(f'e{e}', at, self.half(e))})"

    def params(
        self, call: Call, ins: Sequence[View | None], start: tuple[int, int] = (0, 0), spread: int = 1
    ) -> list[Param]:
        """The kernel's last parameters: of each operand the address, then for kind ``same`` its strides.

        start: row and column of the result's first element that the task computes; spread: rows from one to the next.
        """
        found: list[Param] = []
        for kind, view in zip(self.kinds, ins[call.n_inputs :]):
            assert view is not None
            if kind != "same":
                found.append(view.address)
                continue
            packed = len(view.strides) > len(call.node.results[0].type.static_shape)
            image, plane, row = view.strides[:3] if packed else image_strides(view)
            first = start[0] * row + start[1] * view.strides[3 if len(view.strides) > 3 else -1]
            size = view.type.dtype.itemsize if view.type.dtype else 4
            found += [view.address.plus(size * first), image, plane, spread * row]
        return found

    def read(self, s: Lines, first: int) -> None:
        """Read the parameters from number ``first`` on: ``e1`` is the address of ``x1``, ``e1n`` a stride."""
        for i, kind in enumerate(self.kinds, 1):
            s(f"e{i} = ld(p, {first})")
            first += 1
            for name in STRIDES if kind == "same" else ():
                s(f"e{i}{name} = ld(p, {first})")
                first += 1
            if kind == "scalar":
                s(f"v{i} = vbcast(e{i}, 0)")

    def read_channels(self, s: Lines, suffix: str, channel: str, channels: str) -> None:
        """Load the lanes from ``channel`` of every channel operand; lanes beyond ``channels`` are not touched."""
        for i, kind in enumerate(self.kinds, 1):
            if kind == "channel":
                s(f"v{i}{suffix} = vloadm(e{i}, {channel}, {channels} - ({channel}))")

    def apply(self, s: Lines, value: str, suffix: str, same: Sequence[str] = ()) -> str:
        """Compute the epilogue of the vector ``value``; the name of the result.

        suffix: that of ``read_channels``. same: an expression of a vector for each operand of kind ``same``.
        """
        left = list(same)
        names = [value]
        for i, kind in enumerate(self.kinds, 1):
            if kind == "same":
                s(f"r{i} = {left.pop(0)}")
            names.append({"same": f"r{i}", "channel": f"v{i}{suffix}", "scalar": f"v{i}"}[kind])
        lines, result = emit(self.text, names, prefix="z")
        for line in lines:
            s(line)
        return result

    def same_views(self, call: Call, ins: Sequence[View | None]) -> list[View]:
        """Views of the operands of kind ``same``."""
        return [v for kind, v in zip(self.kinds, ins[call.n_inputs :]) if kind == "same" and v is not None]

    def packed(self, call: Call) -> dict[int, np.ndarray]:
        """Constant operands of the result's shape, in the result's layout."""
        layout = call.node.results[0].type.layout
        found = {}
        for i, kind in enumerate(self.kinds, call.n_inputs):
            operand = call.node.operands[i]
            data = operand.data if operand is not None else None
            if kind == "same" and data is not None and layout.block > 1:
                found[i] = to_blocked(data.reshape(call.node.results[0].type.static_shape), layout)
        return found


def image_strides(view: View) -> tuple[int, int, int]:
    """Strides of image, plane and row of a (N, C, H, W), (N, C, W), or dense (N, C, D, H, W) value (D, H: rows)."""
    strides = view.strides
    return strides[0], strides[1], {3: 0, 4: strides[2]}.get(len(strides), strides[-2])


def to_blocked(a: np.ndarray, layout: Layout) -> np.ndarray:
    """A plain (N, C, H, W) array in NCHWc, its pad lanes zero."""
    n, c, h, w = a.shape
    planes = -(-c // layout.block)
    out = np.zeros((n, planes * layout.block, h, w), a.dtype)
    out[:, :c] = a
    return np.ascontiguousarray(out.reshape(n, planes, layout.block, h, w).transpose(0, 1, 3, 4, 2))
