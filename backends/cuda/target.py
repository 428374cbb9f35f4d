"""Descriptions of CUDA targets: an architecture, from which tiles and instructions follow."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir import GraphcError

PREFIX = "cuda:"


@dataclass(frozen=True)
class CudaTarget:
    """An architecture.

    arch: NVIDIA's name; its machine code runs on the capabilities ``runs_on``, (major, least and last minor).
    processors: multiprocessors of the card modelled; they steer choices and never answers. lanes: channels of a block
    of values, 1: everything is plain.
    """

    arch: str
    capability: tuple[int, int]
    runs_on: tuple[int, int, int]
    processors: int
    lanes: int = 1

    @property
    def name(self) -> str:
        """Text form, stored in plans: ``cuda:sm_90a``."""
        return PREFIX + self.arch

    def serves(self, major: int, minor: int) -> bool:
        """Machine code of this target runs on a card of this compute capability."""
        return major == self.runs_on[0] and self.runs_on[1] <= minor <= self.runs_on[2]


TARGETS = {
    t.name: t
    for t in (
        # machine code serves its own major version from its minor on; that of an "a" its own version only
        CudaTarget("sm_80", (8, 0), (8, 0, 9), 108),
        CudaTarget("sm_90a", (9, 0), (9, 0, 0), 132),
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
