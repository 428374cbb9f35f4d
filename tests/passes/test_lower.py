"""Lowering: what is written in place, what is copied, what is zeroed, and that answers do not depend on it."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.ir import evaluate, parse
from graphc.plan import Plan

RNG = np.random.default_rng(0)
W = (RNG.standard_normal((32, 16, 3, 3)) / 12).astype(np.float32)
B = RNG.standard_normal(32).astype(np.float32)
V = (RNG.standard_normal((32, 16, 1, 1)) / 4).astype(np.float32)
X = RNG.standard_normal((2, 16, 9, 7)).astype(np.float32)


WEIGHTS = {"w": W, "b": B, "v": V}


def net_text(body: str, outputs: str, shape: tuple[int, ...]) -> str:
    return f"""graph "g" stage=imported {{
  input %x : float[{",".join(map(str, shape))}]
  constant %w : float[32,16,3,3] = @w
  constant %b : float[32] = @b
  constant %v : float[32,16,1,1] = @v
  {body}
  {outputs}
}}"""


def compare(plan: Plan, body: str, outputs: str, x: np.ndarray) -> None:
    """The plan's outputs are those of the reference, whose sums run in another order."""
    want = evaluate(parse(net_text(body, outputs, x.shape), WEIGHTS), {"x": x})
    for name, value in plan.run({"x": x}).items():
        np.testing.assert_allclose(value, want[name], rtol=0, atol=1e-5 * max(1, np.abs(want[name]).max()))


def compiled(body: str, outputs: str) -> Plan:
    plan = graphc.compile_graph(parse(net_text(body, outputs, X.shape), WEIGHTS), threads=2)
    compare(plan, body, outputs, X)
    return plan


def templates(plan: Plan) -> list[str]:
    return [t.kernel.template for step in plan.schedules[0].steps for t in step]


def copies(plan: Plan) -> int:
    return sum(t in ("copy_bytes", "move", "transpose") for t in templates(plan))


TWO_CONVS = """%p = Conv(%x, %w, %b) {kernel=3, pad=1}
  %q = Conv(%x, %v, %b) {kernel=1}"""


def test_concatenated_convolutions_write_into_the_result() -> None:
    plan = compiled(TWO_CONVS + "\n  %c = Concat(%p, %q) {axis=1}\n  %y = MaxPool(%c) {kernel=2}", "output %y")
    assert copies(plan) == 2  # the input to blocked layout, the output back


def test_a_value_concatenated_twice_is_copied_to_both_places() -> None:
    plan = compiled(
        "%p = Conv(%x, %v, %b) {kernel=1}\n  %c = Concat(%p, %p) {axis=1}\n  %y = MaxPool(%c) {kernel=2}", "output %y"
    )
    assert copies(plan) == 4  # the two, the input to blocked layout, the output back


def test_nested_concats() -> None:
    body = (
        TWO_CONVS
        + """
  %c = Concat(%p, %q) {axis=1}
  %r = Conv(%x, %v, %b) {kernel=1}
  %d = Concat(%r, %c) {axis=1}
  %y = MaxPool(%d) {kernel=3, pad=1}"""
    )
    assert copies(compiled(body, "output %y")) == 3  # %r is %q, which lies in one place only


def test_halos_are_zeroed_in_reused_memory() -> None:
    """The second run meets what the first left in the arena."""
    body = """%p = Conv(%x, %w, %b) {kernel=3, pad=1}
  %s = Sigmoid(%p)
  %q = Slice(%s) {starts=[0, 0, 0, 0], ends=[-1, 16, -1, -1]}
  %y = Conv(%q, %w, %b) {kernel=3, pad=1}"""
    plan = compiled(body, "output %y")
    first = plan.run({"x": X})["y"]
    np.testing.assert_array_equal(plan.run({"x": X})["y"], first)
    assert "halo" in templates(plan)


def test_a_constant_picture_gets_a_border() -> None:
    """The weight is what changes: a training net that is fed once, by a fill."""
    text = """graph "g" stage=imported {
  input %w : float[32,16,3,3]
  constant %x : float[2,16,9,7] = @x
  %y = Conv(%x, %w) {kernel=3, pad=1}
  output %y
}"""
    plan = graphc.compile_graph(parse(text, {"x": X}), threads=2)
    want = evaluate(parse(text, {"x": X}), {"w": W})["y"]
    np.testing.assert_allclose(plan.run({"w": W})["y"], want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_reshapes_cost_nothing() -> None:
    plan = compiled(
        "%a, %n = Reshape(%x) {shape=[0,-1]}\n  %y = Sigmoid(%a)\n  %z, %o = Reshape(%y) {shape=[4,-1]}", "output %z"
    )
    assert copies(plan) == 0


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("", "output %x"),
        ("", "output %b"),
        ("%y = Sigmoid(%x)", 'output %y\n  output %y as "z"\n  output %x'),
        ("%y = Sigmoid(%x)\n  %z, %o = Reshape(%y) {shape=[4,-1]}", "output %y\n  output %z"),
        (TWO_CONVS + "\n  %c = Concat(%p, %q) {axis=1}", "output %p\n  output %c"),
    ],
)
def test_outputs_that_are_also_something_else(body: str, outputs: str) -> None:
    compiled(body, outputs)


def test_other_sizes_need_no_kernel_and_no_compilation() -> None:
    body, outputs = TWO_CONVS + "\n  %c = Concat(%p, %q) {axis=1}\n  %y = MaxPool(%c) {kernel=2}", "output %y"
    plan = compiled(body, outputs)
    known = dict(plan.code.addresses)
    for shape in ((1, 16, 9, 7), (3, 16, 20, 33), (5, 16, 4, 4)):
        compare(plan, body, outputs, RNG.standard_normal(shape).astype(np.float32))
    assert plan.code.addresses == known


def test_blobs_can_be_fetched_by_name() -> None:
    body = "%p = Conv(%x, %w, %b) {kernel=3, pad=1}\n  %m = MaxPool(%p) {kernel=2}\n  %y = Conv(%m, %k, %b) {kernel=1}"
    text = f"""graph "g" stage=imported {{
  input %x : float[2,16,9,7]
  constant %w : float[32,16,3,3] = @w
  constant %b : float[32] = @b
  constant %k : float[32,32,1,1] = @k
  {body}
  output %y
}}"""
    weights = {"w": W, "b": B, "k": np.ascontiguousarray(np.concatenate([V, V], 1))}
    plan = graphc.compile_graph(parse(text, weights), threads=2)
    want = evaluate(parse(text, weights), {"x": X}, keep_all=True)
    got = plan.run({"x": X}, fetch=["p", "m"])
    for name in ("p", "m", "y"):
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-5 * np.abs(want[name]).max())
    with pytest.raises(graphc.RunError, match="does not exist in the plan"):
        plan.run({"x": X}, fetch=["nothing"])
