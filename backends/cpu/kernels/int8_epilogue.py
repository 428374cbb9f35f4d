"""The end of int8 kernels: sums to results, as source, by Caffe2's fixed-point scaling or by one product in float32.

What a kernel's specification says of it (``Ending``): scaling: ``add``, ``shift``, ``grow`` are Caffe2's
(``Scaling.step``), ``near`` and ``far`` those of the native operators, whose results may be too large for a conversion.
residual: R is added. to_float: the result is float32. clamped: bytes are not all that results may be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from graphc.backends.int8_call import NATIVE, Int8Product, Scaling
from graphc.backends.lines import Lines
from graphc.ir.opdef import Call
from graphc.ir.ops.quantized.int8 import quant_of
from graphc.ir.ops.quantized.native import FARTHEST, RESIDUAL, is_float_result, multipliers, residual_ratio
from graphc.ir.schedule import KernelSpec, Param, View

PARAMS = ("zero", "low", "high", "left", "limit", "r", "r_zero", "ratio")
"""Zero point, least and greatest value of the result, left shift and the limit before it; R, its zero point, and the
bits of its unit in float32. For a result in float32 the least value is the bits of one."""

NO_SCALING = Scaling(0, 0, 0)

Row = tuple[str, list[str]]
"""Neighbouring results: the place of the first, in elements, and the variables of their sums, vectors side by side."""


@dataclass(frozen=True)
class Ending:
    """How the sums of a call become results. most: for each map, what no sum is larger than in size.

    multipliers: the native operators' factors, empty where Caffe2's ``fixed`` scales.
    """

    scaling: str
    residual: bool = False
    to_float: bool = False
    clamped: bool = False
    fixed: Scaling = NO_SCALING
    multipliers: tuple[float, ...] = ()

    @staticmethod
    def of(call: Call, p: Int8Product, most: np.ndarray) -> Ending | None:
        """That of a call; None where a factor is not finite."""
        if call.node.op not in NATIVE:
            fixed = Scaling.of(call)
            return Ending(fixed.step(int(most.max(initial=0)), p.zero), clamped=p.low > 0, fixed=fixed)
        scales = call.constant(3)
        assert scales is not None
        factors, residual = multipliers(call, scales), call.has(RESIDUAL)
        if not np.isfinite(factors).all():
            return None
        farthest = float((most * factors.astype(np.float64)).max(initial=0.0))
        farthest += 255 * float(residual_ratio(call)) if residual else 0.0
        step = "near" if farthest < FARTHEST else "far"
        clamped = not is_float_result(call) and (p.low > 0 or call.arg("high") < 255)
        return Ending(step, residual, is_float_result(call), clamped, multipliers=tuple(map(float, factors)))

    def of_maps(self, maps: np.ndarray) -> Ending:
        """That of other maps: those of these numbers, in their order."""
        return replace(self, multipliers=tuple(self.multipliers[m] for m in maps) if self.multipliers else ())

    @property
    def static(self) -> dict[str, int | str]:
        """Parameters of the kernel's specification."""
        flags = {"residual": self.residual, "to_float": self.to_float, "clamped": self.clamped}
        return {"scaling": self.scaling, **{name: int(value) for name, value in flags.items()}}

    def tail(self, p: Int8Product, bias: np.ndarray, group: int, width: int) -> np.ndarray:
        """Bias and what scales, for every map, as bytes: 4 bytes each, every group padded to blocks of ``width``.

        bias: int64 (M,), with what the zero points contribute; modulo 2**32. Behind it multipliers, for Caffe2's
        scaling also right shifts and starts.
        """
        per = bias.size // group
        out = np.zeros((2 if self.multipliers else 4, group, -(-per // width) * width), np.uint32)
        out[0, :, :per] = (bias.reshape(group, per) & 0xFFFFFFFF).astype(np.uint32)
        if self.multipliers:
            out[1, :, :per] = np.array(self.multipliers, np.float32).view(np.uint32).reshape(group, per)
        else:
            start = self.fixed.start(p.zero) & 0xFFFFFFFF
            out[1], out[2], out[3] = self.fixed.multiplier, self.fixed.right, start
        return out.reshape(-1).view(np.uint8)


def params(call: Call, p: Int8Product, rest: View | None) -> tuple[Param, ...]:
    """Values of ``PARAMS``. rest: R, where the call adds one."""
    if call.node.op not in NATIVE:
        fixed = Scaling.of(call)
        return (p.zero, p.low, 255, fixed.left, fixed.limit, 0, 0, 0)
    low = _bits(0.0 if call.arg("relu") else -np.inf) if is_float_result(call) else p.low
    place: Param = 0 if rest is None else rest.address
    added = (0, 0) if rest is None else (quant_of(call, RESIDUAL).zero_point, _bits(residual_ratio(call)))
    return (p.zero, low, call.arg("high"), 0, 0, place, *added)


def _bits(value: float | np.float32) -> int:
    return int(np.float32(value).view(np.uint32))


class Epilogue:
    """Writes the end of a kernel: ``head`` once, ``read`` for some blocks of maps, ``finish`` for their sums.

    first: the number of the kernel's parameter ``PARAMS[0]``.
    """

    def __init__(self, s: Lines, spec: KernelSpec, lanes: int, first: int) -> None:
        self.s, self.lanes, self.first, self.scaling = s, lanes, first, str(spec["scaling"])
        self.is_native = self.scaling in ("near", "far")
        self.residual, self.to_float, self.clamped = (
            bool(spec.int(name)) for name in ("residual", "to_float", "clamped")
        )

    def _real(self, name: str) -> str:
        return f"vsplat(lds(p + {8 * (self.first + PARAMS.index(name))}, 0))"

    def head(self) -> None:
        """Vectors of the numbers that all results share."""
        s = self.s
        if self.residual:
            s(f"ratio_v = {self._real('ratio')}")
            s("r_zero_w = wsplat(r_zero)")
        if self.to_float:
            s(f"least_v = {self._real('low')}")
            return
        s(f"zero_w = wsplat(zero{' * 65537' if self.is_native else ''})")
        if self.clamped:
            s("low_b = bsplat(low)")
            s("high_b = bsplat(high)")
        if not self.is_native:
            s("none_w = wsplat(0)")
        if self.scaling == "grow":
            s("left_w = wsplat(left)")
            s("most_w = wsplat(limit)")
            s("least_w = wsplat(-limit)")

    def read(self, place: str, blocks: int) -> None:
        """Vectors of what blocks of maps have of their own, behind their biases at ``place``."""
        for o in range(blocks):
            at = f"{place} + {4 * o * self.lanes}" if o else place
            if self.is_native:
                self.s(f"multiplier{o} = vload({at} + span, 0)")
                continue
            for i, name in enumerate(("multiplier", "right", "start")):
                self.s(f"{name}{o} = wload({at}, {i + 1} * span)")

    def finish(self, rows: list[Row], count: str = "", mixed: bool = False) -> None:
        """Scale and store rows. count: how many results of a row there are, where they may be fewer than its only
        vector, or its four, has lanes. mixed: the four vectors of a row have their maps in the order of ``wunmix``.
        """
        for place, values in rows:
            for o, total in enumerate(values):
                self._scale(total, o, f"{place} + {o * self.lanes}" if o else place, count)
        if self.to_float:
            self._store_floats(rows, count)
        else:
            self._store(rows, count, mixed)

    def _scale(self, total: str, o: int, place: str, count: str) -> None:
        s = self.s
        if self.is_native:
            s(f"t = vmul(wfloat({total}), multiplier{o})")
            if self.residual:
                value = f"wload_u1m(r, {place}, {count})" if count else f"wload_u1(r, {place})"
                s(f"t = vadd(t, vmul(wfloat(wsub({value}, r_zero_w)), ratio_v))")
            if self.scaling == "far" and not self.to_float:
                s(f"t = vmin(vmax(t, vsplat(-f4({FARTHEST}))), vsplat(f4({FARTHEST})))")
            s(f"f{total} = vmax(t, least_v)" if self.to_float else f"{total} = wround(t)")
            return
        s(f"{total} = wscale({total}, multiplier{o})")
        if self.scaling == "add":
            s(f"{total} = wsra(waway({total}, start{o}), right{o})")
        elif self.scaling == "grow":
            s(f"{total} = wadd(wshl(wmin(wmax({total}, least_w), most_w), left_w), zero_w)")
        else:
            s(f"{total} = wadd(wshift({total}, right{o}), zero_w)")

    def _store_floats(self, rows: list[Row], count: str) -> None:
        s = self.s
        stores = [(f"{place} + {o * self.lanes}", f"f{v}") for place, values in rows for o, v in enumerate(values)]
        if not count:
            for place, v in stores:
                s(f"vstore(y, {place}, {v})")
            return
        with s.block(f"if {count} >= {self.lanes}:"):
            for place, v in stores:
                s(f"vstore(y, {place}, {v})")
        with s.block("else:"):
            for place, v in stores:
                s(f"vstorem(y, {place}, {count}, {v})")

    def _store(self, rows: list[Row], count: str, mixed: bool) -> None:
        """Four vectors at a time, so that a row of four is stored at once, one of two as half of a vector."""
        s, width = self.s, len(rows[0][1])
        per, plain = 4 // width, "wpack" if not self.is_native and not mixed else ""
        pack = plain or ("wunmix" if mixed else "wpack_added")
        added = "" if plain else f", {'zero_w' if self.is_native else 'none_w'}"
        groups = [rows[i : i + per] for i in range(0, len(rows), per)]
        for i, group in enumerate(groups):
            names = [v for _, values in group for v in values]
            names += names[-1:] * (4 - len(names))
            s(f"q{i} = {pack}({', '.join(names)}{added})")
            if self.clamped:
                s(f"q{i} = bmin(bmax(q{i}, low_b), high_b)")
        word = {1: "bstore", 2: "bstore_half{}", 4: "bstore_{}"}[per]
        whole = [(word.format(k), place, f"q{i}") for i, g in enumerate(groups) for k, (place, _) in enumerate(g)]
        if count:
            with s.block(f"if {count} >= {self.lanes * width}:"):
                self._store_whole(whole)
            with s.block("else:"):
                for word, place, q in whole:
                    s(f"{word}m(y, {place}, {count}, {q})")
        else:
            self._store_whole(whole)

    def _store_whole(self, stores: list[tuple[str, str, str]]) -> None:
        for word, place, q in stores:
            self.s(f"{word}(y, {place}, {q})")
