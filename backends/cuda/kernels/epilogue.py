"""Epilogues (``backends/epilogue.py``) inside kernels: operands of kind ``same`` have strides of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.typed import code_of
from graphc.backends.cuda.pointwise import emit
from graphc.backends.cuda.rules import require_reach
from graphc.backends.epilogue import Operands
from graphc.backends.lines import Lines
from graphc.backends.pointwise import Pointwise
from graphc.ir.opdef import Call
from graphc.ir.schedule import KernelSpec, Param, View


@dataclass(frozen=True)
class Epilogue(Operands):
    """An epilogue and the codes of the elements of its operands."""

    codes: tuple[str, ...]

    @staticmethod
    def of_call(call: Call) -> Epilogue:
        """That of a node; raises ``LoweringError`` where an operand has no usable shape."""
        pointwise = Pointwise.of_epilogue(call.node)
        operands = call.node.operands[len(call.node.operands) - len(pointwise.kinds) :]
        codes = tuple(code_of(v.type) for v in operands if v is not None)
        return Epilogue(pointwise.text, pointwise.kinds, codes)

    @staticmethod
    def of_spec(spec: KernelSpec) -> Epilogue:
        """That of a kernel's parameters ``epilogue`` and ``kinds``."""
        pairs = [pair.partition(":") for pair in str(spec["kinds"]).split(",") if pair]
        return Epilogue(str(spec["epilogue"]), tuple(k for k, _, _ in pairs), tuple(c or "f4" for _, _, c in pairs))

    def static(self) -> dict[str, str]:
        """The parameters of a spec; a kind is followed by its code unless that is of float32."""
        pairs = (kind if code == "f4" else f"{kind}:{code}" for kind, code in zip(self.kinds, self.codes))
        return {"epilogue": self.text, "kinds": ",".join(pairs)}

    def arguments(self) -> list[str]:
        """The kernel's last parameters: ``e1`` is the address of ``x1``, ``e1n``, ``e1c``, ``e1r``, ``e1p`` strides."""
        parts = {"same": ("", "n", "c", "r", "p")}
        return [f"e{k}{part}" for k, kind in zip(self.numbers, self.kinds) for part in parts.get(kind, ("",))]

    def params(self, call: Call, ins: Sequence[View | None], block: int = 1) -> list[Param]:
        """The values of ``arguments``, for a result (N, C, H, W) or (N, C, W), or a dense matrix.

        block: channels between which the strides ``e1c`` of plain values lie.
        """
        found: list[Param] = []
        for kind, view in zip(self.kinds, ins[call.n_inputs :]):
            assert view is not None
            require_reach(view)
            found.append(view.address)
            if kind == "same":
                is_image = call.node.op.startswith("Conv")
                n, c, r, p = image_strides(view) if is_image else (view.type.static_shape[-1], 1, 0, 0)
                found += [n, c * block if view.type.layout.block == 1 else c, r, p]
        return found

    def apply(self, s: Lines, value: str, channel: str, places: Sequence[str], prefix: str = "z") -> str:
        """Code that computes the epilogue of ``value``; the name of the result.

        channel: number of the channel. places: for each operand of kind ``same`` the offset of its element.
        """
        left, names = list(places), [value]
        for k, kind, code in zip(self.numbers, self.kinds, self.codes):
            place = left.pop(0) if kind == "same" else {"channel": channel, "scalar": "0"}[kind]
            s(f"{prefix}v{k} = ld_{code}(e{k}, {place})")
            names.append(f"{prefix}v{k}")
        return self.compute(s, names, prefix)

    def compute(self, s: Lines, values: Sequence[str], prefix: str) -> str:
        """Code that computes the epilogue of the result and the operands at hand; the name of what comes out."""
        lines, result = emit(self.text, values, prefix)
        for line in lines:
            s(line)
        return result
