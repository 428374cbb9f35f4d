"""Datasets whose fields are nested lists: checked, and trimmed to whole batches. They run in Python.

A field named ``a:b:lengths`` holds the lengths of the lists in the fields ``a:b:...``; the root has one row for each
record. Rules from Caffe2's ``dataset_ops``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.opdef import EACH, Arg, Call, Trait, op
from graphc.ir.ops._rules import bounded, require, require_rank
from graphc.ir.ops._segments import rows_of
from graphc.ir.types import UNKNOWN, DType, TensorType

ROOT = -1
LENGTHS = "lengths"


@dataclass(frozen=True)
class Fields:
    """Names of fields; for each the position of the field with the lengths of its lists, ``ROOT`` at the top."""

    names: tuple[str, ...]
    parents: tuple[int, ...]

    @property
    def domains(self) -> list[int]:
        """The root, then every field of lengths in order."""
        return [ROOT, *(i for i, n in enumerate(self.names) if n.split(":")[-1] == LENGTHS)]


def fields_of(call: Call) -> Fields:
    """The fields that the argument names; fails where one needs lengths that come after it."""
    names = tuple(f.decode("utf-8", "replace") for f in call.arg("fields"))
    parts = [n.split(":") for n in names]
    parents = []
    for i, mine in enumerate(parts):
        parent, depth = ROOT, 1
        for j, other in enumerate(parts):
            if j != i and other[-1] == LENGTHS and len(other) > depth and mine[: len(other) - 1] == other[:-1]:
                parent, depth = j, len(other)
        if parent > i:
            call.fail(
                f"field '{names[i]}' needs the lengths '{names[parent]}', which come after it", "reorder the fields"
            )
        parents.append(parent)
    return Fields(names, tuple(parents))


def _check_fields(call: Call) -> Fields:
    """The fields; fails unless each has an input with rows, those of lengths int32 vectors."""
    fields = fields_of(call)
    if len(fields.names) != call.n_inputs:
        call.fail(f"{len(fields.names)} fields, but {call.n_inputs} inputs", "give one input for each field")
    for i in range(call.n_inputs):
        rows_of(call, i)
    for i in fields.domains[1:]:
        require(call, i, (DType.INT32,))
        require_rank(call, i, 1)
    return fields


def _ends(call: Call, fields: Fields, arrays: Sequence[np.ndarray], records: int) -> dict[int, int]:
    """How many rows of each domain the first ``records`` records have; fails for lengths that leave the fields."""
    ends = {ROOT: records}
    for i in fields.domains[1:]:
        lengths = arrays[i][: ends[fields.parents[i]]]
        if (lengths < 0).any():
            call.fail(f"field '{fields.names[i]}' has a negative length")
        ends[i] = int(lengths.sum())
    for i, array in enumerate(arrays):
        if ends[fields.parents[i]] > len(array):
            call.fail(f"field '{fields.names[i]}' has {len(array)} rows, its lengths say {ends[fields.parents[i]]}")
    return ends


def _records(fields: Fields, arrays: Sequence[np.ndarray]) -> int:
    return min((len(a) for a, p in zip(arrays, fields.parents) if p == ROOT), default=0)


def _check(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    fields = _check_fields(call)
    ends = _ends(call, fields, arrays, _records(fields, arrays))
    for name, parent, array in zip(fields.names, fields.parents, arrays):
        if len(array) != ends[parent]:
            call.fail(f"field '{name}' has {len(array)} rows, not {ends[parent]} as the other fields of its lists say")
    return []


def _nothing(call: Call) -> list[TensorType]:
    """No output."""
    _check_fields(call)
    return []


_FIELDS = Arg("fields", "strings", (), "the names of the fields, one for each input")
op(
    "CheckDatasetConsistency",
    _nothing,
    inputs="fields*",
    args=(_FIELDS,),
    reference=_check,
    traits=Trait.HOST | Trait.EFFECT,
    doc="An error unless all fields have as many rows as the lengths of their lists say.",
)


def _trim(call: Call, *arrays: np.ndarray) -> list[np.ndarray]:
    fields, multiple = _check_fields(call), call.arg("multiple_of")
    records = _records(fields, arrays)
    if records % multiple == 0:
        return list(arrays)
    ends = _ends(call, fields, arrays, records // multiple * multiple)
    return [a[: ends[p]] for a, p in zip(arrays, fields.parents)]


def _trim_infer(call: Call) -> list[TensorType]:
    """Every field with fewer rows."""
    _check_fields(call)
    bounded(call, call.arg("multiple_of"), 1, "multiple_of")
    return [t.with_shape(t.shape and (UNKNOWN, *t.shape[1:])) for t in map(call.type, range(call.n_inputs))]


op(
    "TrimDataset",
    _trim_infer,
    inputs="fields*",
    outputs="fields*",
    args=(_FIELDS, Arg("multiple_of", "int", 1, "the number of records left is a multiple of this")),
    reference=_trim,
    traits=Trait.HOST,
    enforced=EACH,
    doc="A dataset without the records after the last whole batch.",
)
