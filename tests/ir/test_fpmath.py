"""TF32: rounding against values by hand, the reference against NumPy, what the verifier and the text make of it."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir import Builder, Graph, Node, TensorType, Value, VerifyError, evaluate
from graphc.ir.fpmath import FPMATH, OPERATORS, is_tf32, to_tf32
from graphc.ir.parser import parse
from graphc.ir.printer import constant_arrays, print_graph
from graphc.ir.verify import verify

ULP = 2.0**-10
"""Between 1 and the next number of TF32."""


def floats(*bits: int) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1.0, 1.0),
        (1 + ULP, 1 + ULP),
        (1 + ULP / 2, 1 + ULP),  # ties go away from zero, here from an even last bit to an odd one
        (1 + ULP * 3 / 2, 1 + 2 * ULP),
        (1 + ULP / 2 - 2.0**-23, 1.0),
        (-1 - ULP / 2, -1 - ULP),
        (-1 - ULP / 2 + 2.0**-23, -1.0),
        (2 - 2.0**-23, 2.0),  # carries into the exponent
        (2 - ULP, 2 - ULP),
        (3 * 2.0**60 + 2.0**50, 3 * 2.0**60 + 2.0**51),
        (1 / 3, 1365 / 4096),
        (0.1, 1638 / 16384),
    ],
)
def test_rounding(number: float, expected: float) -> None:
    assert to_tf32(np.float32(number)) == np.float32(expected)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x7F7FFFFF, 0x7F800000),  # the largest number: infinite
        (0x7F7FF000, 0x7F800000),
        (0x7F7FEFFF, 0x7F7FE000),  # the largest that stays finite
        (0xFF7FFFFF, 0xFF800000),
        (0x7F800000, 0x7F800000),
        (0xFF800000, 0xFF800000),
        (0x00000000, 0x00000000),
        (0x80000000, 0x80000000),  # -0 is -0
        (0x00000001, 0x00000000),  # denormals lie as far apart as the smallest normal numbers
        (0x80000FFF, 0x80000000),
        (0x00001000, 0x00002000),
        (0x007FFFFF, 0x00800000),
    ],
)
def test_rounding_at_the_ends(bits: int, expected: int) -> None:
    assert to_tf32(floats(bits)).view(np.uint32)[0] == expected


def test_nan_stays_nan() -> None:
    """Also where a card does not see the bits that TF32 does not have."""
    rounded = to_tf32(floats(0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF801FFF, 0x7FFFFFFF, 0xFFFFFFFF))
    assert np.isnan((rounded.view(np.uint32) & 0xFFFFE000).view(np.float32)).all()


def test_shapes_and_orders_stay() -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(to_tf32(turned), turned)
    assert to_tf32(np.float32(1)).shape == ()
    assert to_tf32(np.zeros((0, 3), np.float32)).shape == (0, 3)


def by_hand(array: np.ndarray) -> np.ndarray:
    """Eleven bits of the significand, in float64."""
    significand, exponent = np.frexp(array.astype(np.float64))
    kept = np.copysign(np.floor(np.abs(significand) * 2**11 + 0.5), significand)
    return np.ldexp(kept, exponent - 11)


def test_rounding_of_many_numbers() -> None:
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal(10_000) * 2.0 ** rng.integers(-100, 100, 10_000)).astype(np.float32)
    np.testing.assert_array_equal(to_tf32(numbers), by_hand(numbers))


# ---- graphs ----------------------------------------------------------------------------------------------------------


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def graph_of(op: str, *operands: np.ndarray, **attrs: object) -> Graph:
    """One operator in TF32; operands behind the first are weights."""
    graph = Graph("g", "optimised")
    b = Builder(graph)
    x, *rest = operands
    values = [b.input("x", TensorType.parse(f"float[{','.join(map(str, x.shape))}]"))]
    values += [b.constant(f"w{i}", array) for i, array in enumerate(rest)]
    b.output(b.op(op, values, {FPMATH: "tf32", **attrs}, "y"))
    verify(graph)
    return graph


def windows(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, C * 9, H - 2, W - 2): 3x3 windows."""
    n, c, h, w = x.shape
    taps = [x[:, :, i : i + h - 2, j : j + w - 2] for i in range(3) for j in range(3)]
    return np.stack(taps, 2).reshape(n, c * 9, h - 2, w - 2)


CASES = {
    "Conv": (
        (random(2, 3, 5, 6), random(4, 3, 3, 3), random(4)),
        {"kernel": 3},
        lambda x, w, b: np.einsum("nkhw,mk->nmhw", windows(x), w.reshape(4, -1)) + b[:, None, None],
    ),
    "FC": ((random(3, 7), random(5, 7), random(5)), {}, lambda x, w, b: x @ w.T + b),
    "FCTransposed": ((random(3, 7), random(7, 5), random(5)), {}, lambda x, w, b: x @ w + b),
    "MatMul": ((random(7, 3), random(7, 5)), {"trans_a": 1}, lambda x, w: x.T @ w),
    "BatchMatMul": ((random(2, 3, 7), random(2, 5, 7)), {"trans_b": 1}, lambda x, w: x @ w.transpose(0, 2, 1)),
}


@pytest.mark.parametrize("op", CASES)
def test_products_of_rounded_operands(op: str) -> None:
    (x, w, *bias), attrs, compute = CASES[op]
    (got,) = evaluate(graph_of(op, x, w, *bias, **attrs), {"x": x}).values()
    exact = compute(by_hand(x), by_hand(w), *bias)
    unrounded = compute(x.astype(np.float64), w, *bias)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, exact, rtol=0, atol=2e-6)
    assert np.abs(got - unrounded).max() > 5e-5  # so the test tells


def test_bias_and_operands_of_epilogues_are_not_rounded() -> None:
    graph = parse("""graph "g" stage=optimised {
      input %x : float[1,1]
      input %e : float[1,1]
      constant %w : float[1,1] = dense<[1.0]>
      constant %b : float[1] = dense<[1.0001]>
      %y : float[1,1] = FC(%x, %w, %b, %e) {epilogue=graph "epilogue" stage=typed {
        input %y : float[1,1]
        input %e : float[1,1]
        %z : float[1,1] = Add(%y, %e)
        output %z
      }, fpmath="tf32"}
      output %y
    }""")
    verify(graph)
    x, e = np.float32([[1 + ULP / 2]]), np.float32([[2.0**-20]])
    (got,) = evaluate(graph, {"x": x, "e": e}).values()
    assert got == np.float32(1 + ULP) + np.float32(1.0001) + e
    assert to_tf32(np.float32(1.0001)) == 1
    text = print_graph(graph)
    assert print_graph(parse(text)) == text


def test_text_comes_back() -> None:
    x, w = random(3, 7), random(5, 7)
    graph = graph_of("FC", x, w, random(5))
    text = print_graph(graph)
    assert '{fpmath="tf32"}' in text
    again = parse(text, constant_arrays(graph))
    verify(again)
    assert is_tf32(again.nodes[0])
    assert print_graph(again) == text
    np.testing.assert_array_equal(evaluate(again, {"x": x})["y"], evaluate(graph, {"x": x})["y"])


# ---- what is refused -------------------------------------------------------------------------------------------------


def with_mode(graph: Graph, mode: object, stage: str = "optimised") -> Graph:
    graph.nodes[0].attrs[FPMATH] = mode  # type: ignore[assignment]
    graph.stage = stage
    return graph


@pytest.mark.parametrize("mode", [b"tf16", b"TF32", b"", 1])
def test_other_modes(mode: object) -> None:
    with pytest.raises(VerifyError, match=r"the attribute fpmath is .*, not tf32"):
        verify(with_mode(graph_of("FC", random(3, 7), random(5, 7), random(5)), mode))


@pytest.mark.parametrize("stage", ["imported", "typed"])
def test_stages_that_have_none(stage: str) -> None:
    with pytest.raises(VerifyError, match="fpmath"):
        verify(with_mode(graph_of("FC", random(3, 7), random(5, 7), random(5)), b"tf32", stage))


@pytest.mark.parametrize("op", ["Relu", "ConvTranspose", "Add"])
def test_operators_that_multiply_otherwise(op: str) -> None:
    node = Node(op, [], [Value(TensorType(), "y")], {FPMATH: b"tf32"})
    with pytest.raises(ValueError, match="cannot multiply in tf32"):
        is_tf32(node)
    graph = Graph("g", "typed")
    b = Builder(graph)
    b.output(b.op("Relu", [b.input("x", "float[2]")], {}, "y"))
    with pytest.raises(VerifyError, match="Relu -> 'y': it cannot multiply in tf32"):
        verify(with_mode(graph, b"tf32"))


def test_operands_are_float32() -> None:
    """Halves have fewer bits than TF32; what a kernel would make of them nobody says."""
    graph = parse("""graph "g" stage=optimised {
      input %x : float16[3,7]
      input %w : float16[7,5]
      %y : float[3,5] = MatMul(%x, %w) {precision="float"}
      output %y
    }""")
    verify(graph)
    with pytest.raises(VerifyError, match="of operands that are not of float32 it cannot multiply in tf32"):
        verify(with_mode(graph, b"tf32"))


def test_others_have_none() -> None:
    assert not is_tf32(Node("Relu", [], []))
    assert {*CASES, "Conv2D"} == set(OPERATORS)
