"""Descriptions of CUDA targets: an architecture, from which tiles and instructions follow."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.backends.cuda.tuning import UNTUNED, Tuning
from graphc.ir import GraphcError

PREFIX = "cuda:"
BLOCK = 8
"""Channels of a block of values in nets for tensor cores: of halves 16 bytes, as much as a thread loads at once."""


ALIGNMENT = 256
"""Bytes: where a copy of an operand begins in the workspace."""


@dataclass(frozen=True)
class CudaTarget:
    """An architecture.

    arch: NVIDIA's name; its machine code runs on the capabilities ``runs_on``, (major, least and last minor).
    Of the card modelled, to steer choices and never answers: processors: multiprocessors; of each of them in a clock
    products: multiply-adds of halves by ``mma``, warpgroup_products: by ``wgmma``, 0 where there is none; cached: bytes
    from the second-level cache; shared: bytes of shared memory. tuning: what was measured instead of modelled.
    """

    arch: str
    capability: tuple[int, int]
    runs_on: tuple[int, int, int]
    processors: int
    products: int
    warpgroup_products: int
    cached: int
    shared: int
    tuning: Tuning = field(default=UNTUNED, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Text form, stored in plans: ``cuda:sm_90a``."""
        return PREFIX + self.arch

    def block(self, tensors: bool) -> int:
        """Channels of a block of values in a net for tensor cores, or of others, whose values are plain."""
        return BLOCK if tensors else 1

    def serves(self, major: int, minor: int) -> bool:
        """Machine code of this target runs on a card of this compute capability."""
        return major == self.runs_on[0] and self.runs_on[1] <= minor <= self.runs_on[2]


TARGETS = {
    t.name: t
    for t in (
        # machine code serves its own major version from its minor on; that of an "a" its own version only
        # an A100 and an H100: NVIDIA's figures; of the latter's tensor cores mma reaches about 0.6, of the caches half
        CudaTarget("sm_80", (8, 0), (8, 0, 9), 108, 1024, 0, 32, 164 << 10),
        CudaTarget("sm_90a", (9, 0), (9, 0, 0), 132, 1240, 2048, 32, 228 << 10),
    )
}


def is_cuda(name: str) -> bool:
    """The name is one of a CUDA target, known or not."""
    return name == PREFIX[:-1] or name.startswith(PREFIX)


def find(name: str) -> CudaTarget:
    """The target called ``name``; raises ``GraphcError`` with the known names."""
    if name not in TARGETS:
        raise GraphcError(f"unknown target '{name}'", f"known: {', '.join(TARGETS)}")
    return TARGETS[name]
