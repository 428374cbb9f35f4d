"""Numbers that operators report to the global statistics, calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.caffe2 import core, workspace


def put(op_type: str, values: list[float], name: str, **arguments: object) -> None:
    workspace.FeedBlob("value", np.array(values, np.float64))
    workspace.RunOperatorOnce(core.CreateOperator(op_type, "value", [], stat_name=name, **arguments))


def test_sums_counts_and_distances_from_the_first():
    for value in (1.25, 3.0):
        put("StdDevPut", [value], "put_deviation", magnitude_expand=100)
        put("AveragePut", [value], "put_average")
        put("IncrementPut", [value], "put_sum", magnitude_expand=4)
    found = {name: value for name, value in workspace.GetStats().items() if name.startswith("put_")}
    assert found == {
        "put_deviation/stat_value/sum": 425,
        "put_deviation/stat_value/count": 2,
        "put_deviation/stat_value/sumoffset": 175,
        "put_deviation/stat_value/sumsqoffset": 175**2,
        "put_average/stat_value/sum": 4,
        "put_average/stat_value/count": 2,
        "put_sum/stat_value": 17,
    }


def test_numbers_without_a_whole_one():
    with pytest.raises(RuntimeError, match=r"IncrementPut.*no whole number of 64 bits for put_large"):
        put("IncrementPut", [1e20], "put_large")
    with pytest.raises(RuntimeError, match="Default value must be provided"):
        put("IncrementPut", [], "put_empty")
    put("IncrementPut", [-1e20], "put_bounded", bound=True)
    put("IncrementPut", [np.nan], "put_nan", bound=True)
    put("IncrementPut", [], "put_default", default_value=3.0)
    stats = workspace.GetStats()
    assert [stats[f"put_{n}/stat_value"] for n in ("bounded", "nan", "default")] == [-(2**63), 0, 3]
