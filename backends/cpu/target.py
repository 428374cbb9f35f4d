"""Descriptions of CPU targets: what the machine can do, from which tiles, vector width and instructions follow."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache

from graphc.ir import GraphcError


@dataclass(frozen=True)
class CpuTarget:
    """An instruction set. lanes: float32 elements of a vector, also the channel block. registers: vector registers.

    cpu, features: LLVM's names. fma: fused multiply-add exists in hardware, and conversion of float16. vnni: so does
    the dot product of uint8 and int8 quadruples; bf16: that of bfloat16 pairs. l2, l3: bytes of the caches of the
    machine modelled; they steer choices and never answers.
    """

    name: str
    lanes: int
    registers: int
    fma: bool
    cpu: str
    features: str
    vnni: bool = False
    bf16: bool = False
    l2: int = 1 << 20
    l3: int = 16 << 20

    def block(self, tensors: bool) -> int:
        """Channels of a block of values; tensors: in a net that cards would have for their tensor cores."""
        return self.lanes


X86_TARGETS = {
    "avx512_bf16": CpuTarget(
        "avx512_bf16", 16, 32, True, "skylake-avx512", "+avx512vnni,+fast-dpwssd,+avx512bf16", vnni=True, bf16=True
    ),
    "avx512_vnni": CpuTarget("avx512_vnni", 16, 32, True, "skylake-avx512", "+avx512vnni,+fast-dpwssd", vnni=True),
    "avx512": CpuTarget("avx512", 16, 32, True, "skylake-avx512", ""),
    "avx2": CpuTarget("avx2", 8, 16, True, "haswell", ""),
    "portable": CpuTarget("portable", 4, 16, False, "x86-64", ""),
}
ARM_TARGETS = {"portable": CpuTarget("portable", 4, 32, True, "generic", "")}


def targets() -> dict[str, CpuTarget]:
    """The targets that this machine's architecture has, widest first."""
    return X86_TARGETS if platform.machine().lower() in ("x86_64", "amd64") else ARM_TARGETS


AVX512 = ("avx512f", "avx512dq", "avx512bw", "avx512vl")
NEEDS = {
    "avx512_bf16": (*AVX512, "avx512vnni", "avx512bf16"),
    "avx512_vnni": (*AVX512, "avx512vnni"),
    "avx512": AVX512,
    "avx2": ("avx2", "fma", "f16c"),
}
"""What a processor has to have, by target, widest first."""


@cache
def native() -> CpuTarget:
    """The widest target that this machine runs."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    for target, needs in NEEDS.items():
        if target in targets() and all(has.get(f) for f in needs):
            return targets()[target]
    return targets()["portable"]


def find(name: str) -> CpuTarget:
    """The target called ``name`` (``native`` included); raises ``GraphcError`` with the known names."""
    if name == "native":
        return native()
    if name not in targets():
        raise GraphcError(f"unknown target '{name}'", f"known here: native, {', '.join(targets())}")
    return targets()[name]
