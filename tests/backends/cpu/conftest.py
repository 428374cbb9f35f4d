"""Fixtures: the targets of this machine with one kernel cache for the whole session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Machine

from graphc.backends.cpu.target import native, targets


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Machine]:
    """A ``Machine`` for every target that this processor runs; GRAPHC_CACHE_DIR keeps kernels between sessions."""
    folder = Path(os.environ.get("GRAPHC_CACHE_DIR") or tmp_path_factory.mktemp("kernels"))
    names = list(targets())
    return {name: Machine(name, folder) for name in names[names.index(native().name) :]}


@pytest.fixture(params=("avx512", "avx2", "portable"))
def machine(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Machine:
    """Each target in turn; with AVX-512 the widest of those whose float kernels are the same."""
    return _of(machines, next((n for n in machines if n.startswith(request.param)), request.param))


@pytest.fixture(params=("avx512_vnni", "avx2", "portable"))
def int8_machine(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Machine:
    """Each target in turn that has kernels of its own for 8-bit integers; those with VNNI share theirs."""
    has_vnni = request.param == "avx512_vnni"
    return _of(machines, "avx512_bf16" if has_vnni and "avx512_bf16" in machines else request.param)


def _of(machines: dict[str, Machine], name: str) -> Machine:
    if name not in machines:
        pytest.skip(f"this processor has no {name}")
    return machines[name]
