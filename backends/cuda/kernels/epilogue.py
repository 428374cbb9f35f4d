"""Epilogues inside kernels: the pointwise graph that a node applies to its bare result before it is stored.

Operands of kind ``same`` have the result's shape and strides of their own, ``channel`` ones are dense vectors,
``scalar`` ones a single float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.pointwise import emit
from graphc.backends.cuda.rules import require_reach
from graphc.backends.lines import Lines
from graphc.backends.pointwise import Pointwise
from graphc.ir.opdef import Call
from graphc.ir.schedule import KernelSpec, Param, View


@dataclass(frozen=True)
class Epilogue:
    """The text of an epilogue and the kinds of its operands ``x1``, ``x2`` and on."""

    text: str
    kinds: tuple[str, ...]

    @staticmethod
    def of_call(call: Call) -> Epilogue:
        """That of a node; raises ``LoweringError`` where an operand has no usable shape."""
        pointwise = Pointwise.of_epilogue(call.node)
        return Epilogue(pointwise.text, pointwise.kinds)

    @staticmethod
    def of_spec(spec: KernelSpec) -> Epilogue:
        """That of a kernel's parameters ``epilogue`` and ``kinds``."""
        kinds = str(spec["kinds"])
        return Epilogue(str(spec["epilogue"]), tuple(kinds.split(",")) if kinds else ())

    def static(self) -> dict[str, str]:
        """The parameters of a spec."""
        return {"epilogue": self.text, "kinds": ",".join(self.kinds)}

    @property
    def numbers(self) -> list[int]:
        """Numbers of the operands, from 1 on."""
        return list(range(1, len(self.kinds) + 1))

    @property
    def same(self) -> list[int]:
        """Numbers of the operands of kind ``same``."""
        return [k for k, kind in zip(self.numbers, self.kinds) if kind == "same"]

    def arguments(self) -> list[str]:
        """The kernel's last parameters: ``e1`` is the address of ``x1``, ``e1n``, ``e1c``, ``e1r``, ``e1p`` strides."""
        parts = {"same": ("", "n", "c", "r", "p")}
        return [f"e{k}{part}" for k, kind in zip(self.numbers, self.kinds) for part in parts.get(kind, ("",))]

    def params(self, call: Call, ins: Sequence[View | None]) -> list[Param]:
        """The values of ``arguments``, for a result (N, C, H, W) or (N, C, W), or (N, C)."""
        found: list[Param] = []
        for kind, view in zip(self.kinds, ins[call.n_inputs :]):
            assert view is not None
            require_reach(view)
            strides = (*view.strides, 0, 0) if len(view.strides) == 2 else ()
            found += [view.address, *((strides or image_strides(view)) if kind == "same" else ())]
        return found

    def dense_operands(self, call: Call) -> frozenset[int]:
        """Operand slots of the node that must be dense: the channel vectors."""
        return frozenset(call.n_inputs + i for i, kind in enumerate(self.kinds) if kind == "channel")

    def apply(self, s: Lines, value: str, channel: str, places: Sequence[str], prefix: str = "z") -> str:
        """Code that computes the epilogue of ``value``; the name of the result.

        channel: number of the channel. places: for each operand of kind ``same`` the offset of its element.
        """
        left, names = list(places), [value]
        for k, kind in zip(self.numbers, self.kinds):
            place = left.pop(0) if kind == "same" else {"channel": channel, "scalar": "0"}[kind]
            s(f"{prefix}v{k} = ld_f4(e{k}, {place})")
            names.append(f"{prefix}v{k}")
        lines, result = emit(self.text, names, prefix)
        for line in lines:
            s(line)
        return result
