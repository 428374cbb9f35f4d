"""The table of operators that reduce runs of rows, against their records: every input has its place."""

from __future__ import annotations

import pytest

from graphc.backends.segments import OPERATORS
from graphc.ir.opdef import lookup

WORDS = {
    "data": ("DATA",),
    "weights": ("WEIGHT", "SCALAR"),
    "indices": ("INDICES",),
    "runs": ("LENGTHS", "SEGMENT_IDS"),
    "mapping": ("COMPRESSED_INDICES_MAPPING",),
    "scales": ("scale_bias",),
}
"""Port of the table -> what its name begins with in the records."""


@pytest.mark.parametrize("name", OPERATORS)
def test_ports_are_those_of_the_record(name: str) -> None:
    ports, inputs = OPERATORS[name].ports(), [p.name for p in lookup(name).inputs]
    assert len(ports) == len(inputs)
    for port, number in ports.items():
        assert inputs[number].startswith(WORDS[port]), (port, inputs)
