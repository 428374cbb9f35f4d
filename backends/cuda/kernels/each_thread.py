"""The beginning of kernels in which every thread does the same work for a number of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec


@contextmanager
def each_thread(
    s: Lines, spec: KernelSpec, parameters: Sequence[str], number: str = "i", total: str = "total"
) -> Iterator[None]:
    """A kernel of these parameters, whose body a thread runs where its ``number`` in the launch is below ``total``."""
    with s.block(f"def {spec.name}({', '.join(parameters)}):"):
        s(f"{number} = i64(block()) * {spec['threads']} + thread()")
        with s.block(f"if {number} < {total}:"):
            yield
