"""Versions of blobs: what a net reads and writes, operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Versioned = tuple[str, int]
Ssa = list[tuple[list[Versioned], list[Versioned]]]
"""For each operator the versions of its inputs and those of its outputs."""


def get_ssa(net: Any, blob_versions: dict[str, int] | None = None) -> tuple[Any, dict[str, int]]:
    """Versions of a net's blobs, and the last version of each.

    net: a Net, a NetDef, or a list of these, for which there is a list. Version 0 is what a blob holds before the net;
    every write makes the next one. blob_versions: where to begin; it is continued in place.
    """
    versions = {} if blob_versions is None else blob_versions
    if isinstance(net, list):
        return [get_ssa(one, versions)[0] for one in net], versions
    proto = net.Proto() if hasattr(net, "Proto") else net
    for name in proto.external_input:
        versions.setdefault(name, 0)
    ssa: Ssa = []
    for op in proto.op:
        inputs = [(name, versions.setdefault(name, 0)) for name in op.input]
        for name in op.output:
            versions[name] = versions.get(name, 0) + 1
        ssa.append((inputs, [(name, versions[name]) for name in op.output]))
    return ssa, versions


def get_undefined_blobs(ssa: Ssa) -> set[str]:
    """Blobs that are read before any operator writes them: the inputs of the net."""
    return {name for inputs, _ in ssa for name, version in inputs if version == 0}


def get_output_producers(ssa: Ssa) -> dict[Versioned, int]:
    """Position of the operator that writes a version of a blob."""
    return {output: i for i, (_, outputs) in enumerate(ssa) for output in outputs}


def get_op_ids_in_path(
    ssa: Ssa, blob_versions: dict[str, int], inputs: Iterable[Any], outputs: Sequence[Any]
) -> list[int]:
    """Positions of the operators that the last versions of ``outputs`` need, given those of ``inputs``."""
    given = {(str(i), blob_versions[str(i)]) for i in inputs}
    producers = get_output_producers(ssa)
    queue = [(str(o), blob_versions[str(o)]) for o in outputs]
    used: set[int] = set()
    while queue:
        wanted = queue.pop()
        if wanted in given or wanted not in producers or producers[wanted] in used:
            continue
        used.add(producers[wanted])
        queue.extend(ssa[producers[wanted]][0])
    return sorted(used)
