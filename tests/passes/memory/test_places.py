"""Values that share memory: overwritten by their last reader, or parts of what they were split from."""

from __future__ import annotations

import numpy as np
import pytest
from one_net import imported, nets, operator

import graphc
from graphc.frontends.netdef import Operator
from graphc.ir import evaluate
from graphc.ir.memory_check import check_memory
from graphc.plan import Plan

RNG = np.random.default_rng(0)
CONV = (RNG.standard_normal((32, 32, 3, 3)) / 20).astype(np.float32)
HALF = (RNG.standard_normal((32, 16, 3, 3)) / 20).astype(np.float32)
WEIGHTS = {"w": CONV, "h": HALF}


def compiled(
    ops: list[Operator], shape: tuple[int, ...], outputs: str, level: int = 0, fetch: tuple[str, ...] = ()
) -> Plan:
    """The plan, after its memory was proved and its answers were compared with the reference's."""
    x = RNG.uniform(-1, 1, shape).astype(np.float32)
    weights = {n: w for n, w in WEIGHTS.items() if any(n in op.inputs for op in ops)}
    predict, init = nets(ops, {"x": x}, outputs, weights)
    plan = graphc.compile(predict, init if weights else None, inputs={"x": x}, level=level, threads=2)
    want = evaluate(imported(ops, {"x": x}, outputs, weights), {"x": x}, keep_all=True)
    for _ in range(2):
        got = plan.run({"x": x}, fetch=fetch)
        for name in (*outputs.split(), *fetch):
            scale = max(1.0, float(np.abs(want[name]).max()))
            np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-5 * scale, err_msg=name)
    report = check_memory(plan.schedules[0])
    assert report.ok, report.violations
    return plan


def reasons(plan: Plan) -> list[str]:
    return [reason for b in plan.schedules[0].buffers for reason in b.reasons]


def test_the_last_of_several_readers_overwrites_a_value() -> None:
    ops = [
        operator("Softmax", "x", "a"),
        operator("Softmax", "a", "b"),
        operator("Tanh", "a", "c"),
        operator("Softmax", "c", "d"),
        operator("Sub", "d b", "y"),
    ]
    plan = compiled(ops, (8, 64), "y")
    assert "c overwrites a, whose last reader it is" in reasons(plan)


def test_a_value_that_is_read_later_is_not_overwritten() -> None:
    ops = [
        operator("Softmax", "x", "a"),
        operator("Tanh", "a", "c"),
        operator("Softmax", "a", "b"),
        operator("Softmax", "c", "d"),
        operator("Sub", "d b", "y"),
    ]
    plan = compiled(ops, (8, 64), "y")
    order = [n.op + n.results[0].name for n in plan.graph.nodes]
    overwritten = any(r.startswith("c overwrites a") for r in reasons(plan))
    assert overwritten == (order.index("Softmaxb") < order.index("Tanhc"))


def test_a_border_that_another_reader_wants_is_kept() -> None:
    """The sum overwrites what a convolution reads with a border of zeros."""
    ops = [
        operator("Conv", "x w", "a", kernel=3, pad=1),
        operator("Conv", "a w", "b", kernel=3, pad=1),
        operator("Sum", "b a", "c"),
        operator("Conv", "c w", "d", kernel=3, pad=1),
        operator("Sum", "d c", "e"),
        operator("MaxPool", "e", "y", kernel=2),
    ]
    for level in (0, 2):
        compiled(ops, (2, 32, 9, 7), "y", level, fetch=("a",) if level == 0 else ())


def softmaxes(pairs: str) -> list[Operator]:
    """``"b:d c:e"``: d of b, and e of c."""
    return [operator("Softmax", *pair.split(":")) for pair in pairs.split()]


SPLITS: dict[str, tuple[list[Operator], tuple[int, ...], str, bool]] = {
    "channels in blocks": (
        [
            operator("Conv", "x w", "a", kernel=3, pad=1),
            operator("Split", "a", "b c", axis=1),
            operator("Conv", "b h", "d", kernel=3, pad=1),
            operator("MaxPool", "c", "e", kernel=2),
        ],
        (2, 32, 9, 7),
        "d e",
        True,
    ),
    "columns of one row": (
        [operator("Softmax", "x", "a"), operator("Split", "a", "b c", split=[24, 40], axis=1), *softmaxes("b:d c:e")],
        (1, 64),
        "d e",
        True,
    ),
    "rows": (
        [operator("Softmax", "x", "a"), operator("Split", "a", "b c d", axis=0), *softmaxes("b:e c:f d:g")],
        (6, 64),
        "e f g",
        True,
    ),
    "columns of several rows": (
        [operator("Softmax", "x", "a"), operator("Split", "a", "b c", axis=1), *softmaxes("b:d c:e")],
        (3, 64),
        "d e",
        False,
    ),
    "a part is an output": (
        [operator("Softmax", "x", "a"), operator("Split", "a", "b c", axis=0), operator("Softmax", "c", "e")],
        (6, 64),
        "b e",
        False,
    ),
    "a part is overwritten, the whole is read later": (
        [
            operator("Softmax", "x", "a"),
            operator("Split", "a", "b c", axis=0),
            operator("Tanh", "b", "d"),
            *softmaxes("d:e c:f a:g"),
        ],
        (6, 64),
        "e f g",
        False,
    ),
    "the whole was concatenated": (
        [
            operator("Softmax", "x", "a"),
            operator("Tanh", "x", "b"),
            operator("Concat", "a b", "c c_", axis=0),
            operator("Split", "c", "d e f", split=[2, 6, 4], axis=0),
            *softmaxes("d:dy e:ey f:fy"),
        ],
        (6, 64),
        "dy ey fy",
        True,
    ),
}


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("case", SPLITS)
def test_parts_of_a_split_keep_their_elements(case: str, level: int) -> None:
    ops, shape, outputs, shares = SPLITS[case]
    plan = compiled(ops, shape, outputs, level, fetch=("a",))
    assert any("of axis" in r and " lies at " in r and r.endswith(("of a", "of c")) for r in reasons(plan)) == shares


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (2, 3, 5, 4)])
def test_channels_at_the_end_are_not_taken_for_channels_in_front(shape: tuple[int, ...]) -> None:
    for where in ({"order": "NHWC"}, {"axis": 3}, {"axis": -1}, {"axis": 1}):
        ops = [operator("Softmax", "x", "a"), operator("Tanh", "x", "b"), operator("Concat", "a b", "c c_", **where)]
        compiled([*ops, operator("Softmax", "c", "y")], shape, "y")
