"""Operators of the engine DNNLOWP by hand: scales that data gives, fixed point, float results, wrong calls."""

from __future__ import annotations

import numpy as np
import operator_cases
import pytest
from operator_calls import f32, refusal

from graphc.frontends.netdef import Operator
from graphc.frontends.netdef.engines import engine_type
from graphc.ir.errors import RunError, VerifyError
from graphc.ir.quant_array import array_quant
from graphc.ir.reference import evaluate_node
from graphc.ir.types import Quant
from graphc.operators import Int8Tensor, run_operator


def int8(values: object, scale: float, zero: int) -> tuple[str, np.ndarray, float, int]:
    return ("int8", np.array(values, np.uint8), scale, zero)


def answer(op: str, *inputs: object, **args: object) -> np.ndarray:
    call = operator_cases.make_call(f"{op}_ENGINE_DNNLOWP", list(inputs), ["Y"], dict(args))
    return evaluate_node(call.node, [operator_cases.array_of(v) for v in inputs])[0]


def test_data_gives_the_scale() -> None:
    """-1 ... 254 is one unit a number, and 0 is the number 1; a range of nothing has the unit 0.1."""
    y = answer("Quantize", f32(-1, 0, 1.5, 2.5, 254))
    assert array_quant(y) == Quant(1.0, 1)
    assert y.tolist() == [0, 1, 2, 4, 255]
    assert array_quant(answer("Quantize", np.zeros(0, np.float32))) == Quant(float(np.float32(0.1)), 0)


def test_symmetric_quantisation_keeps_zero_in_the_middle() -> None:
    y = answer("Quantize", f32(-128, 0, 12), preserve_activation_sparsity=1)
    assert array_quant(y) == Quant(1.0, 128)
    assert y.tolist() == [0, 128, 140]


def test_arguments_give_the_scale() -> None:
    y = answer("Quantize", f32(-2, 0, 3), Y_scale=0.5, Y_zero_point=4)
    assert y.tolist() == [0, 4, 10]
    assert array_quant(y) is None
    assert "only min_max" in refusal("Quantize_ENGINE_DNNLOWP", "float[2]", activation_quantization_kind="l2")


def test_sum_of_quantised_tensors() -> None:
    """(10 - 4) * 0.5 + (3 - 7) * 0.25 = 2 and -2 + 0.5 = -1.5, in halves from 100."""
    a, b = int8([10, 0], 0.5, 4), int8([3, 9], 0.25, 7)
    assert answer("Int8Add", a, b, Y_scale=0.5, Y_zero_point=100).tolist() == [104, 97]
    assert answer("Int8Sum", a, b, Y_scale=0.5, Y_zero_point=100).tolist() == [104, 97]
    assert answer("Int8Mul", a, b, Y_scale=0.5, Y_zero_point=100).tolist() == [94, 98]


def test_any_number_of_inputs() -> None:
    """Eleven tensors, the one of number k in units of 2^-(k mod 2): compiled as interpreted."""
    many = [Int8Tensor(np.array([k, 2 * k], np.uint8), 0.5 ** (k % 2), 0) for k in range(11)]
    names = [f"x{k}" for k in range(11)]
    joined = Operator("Concat", names, ["y", "sizes"], {"axis": 0, "Y_scale": 0.5, "Y_zero_point": 1}, engine="DNNLOWP")
    expected = [1 + v * (1 + (k + 1) % 2) for k in range(11) for v in (k, 2 * k)]
    for target in ("reference", "cpu"):
        y, sizes = run_operator(joined, many, target=target)
        assert y.data.tolist() == expected
        assert sizes.tolist() == [2] * 11


def test_relu_after_a_sum_cuts_the_range() -> None:
    """Y_scale and Y_zero_point reach from -50 to 77.5: what is left is 0 ... 77.5 in 255 units."""
    y = answer("Int8SumRelu", int8([10, 0], 0.5, 4), int8([3, 9], 0.25, 7), Y_scale=0.5, Y_zero_point=100)
    assert y.tolist() == [7, 0]  # 2 / (77.5 / 255) = 6.58


def test_float_results_are_as_near_as_the_numbers() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((5, 7), (3, 7), (3,)))
    y = answer("FC", x, w, b, dequantize_output=1)
    np.testing.assert_allclose(y, x @ w.T + b, atol=0.1)
    image, filter = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((4, 1, 1, 3))
    y = answer("Int8Conv", image.astype(np.float32), filter.astype(np.float32), kernel=1, order=b"NHWC")
    quant = array_quant(y)
    assert quant is not None
    real = (y.astype(np.float32) - quant.zero_point) * quant.scale
    np.testing.assert_allclose(real, image @ filter[:, 0, 0].T, atol=0.15)


def test_filters_of_a_group_share_a_scale() -> None:
    """Weights of 0.1 and 100: with one scale for both groups the small one is lost in the rounding."""
    x, w = int8([[[[4, 4]]]], 1.0, 0), f32(0.1, 100).reshape(2, 1, 1, 1)
    args = {"kernel": 1, "group": 2, "order": b"NHWC", "Y_scale": 0.1, "Y_zero_point": 0}
    assert answer("Int8Conv", x, w, quantize_groupwise=1, **args).ravel().tolist() == [4, 255]
    assert answer("Int8Conv", x, w, quantize_groupwise=0, **args).ravel().tolist() == [0, 255]


def test_maximum_over_a_border_ignores_it() -> None:
    x = int8(np.arange(4).reshape(1, 1, 2, 2), 0.5, 3)
    y = answer("Int8MaxPool", x, kernel=2, pad=1, stride=1)
    assert y.tolist() == [[[[0, 1, 1], [2, 3, 3], [2, 3, 3]]]]
    assert answer("Int8AveragePool", x, kernel=2, pad=1, stride=1, Y_scale=0.25, Y_zero_point=9)[0, 0, 1, 1] == 6


def test_tanh_has_one_scale() -> None:
    y = answer("Int8Tanh", int8([128, 255, 0, 1], 3 / 127, 128))
    assert y.tolist() == [128, 255, 1, 1]


def test_rows_out_of_range_are_refused() -> None:
    with pytest.raises(RunError, match="INDICES has an index outside"):
        answer("Int8Gather", int8([[1], [2]], 1.0, 0), np.array([2], np.int64))
    assert "channels of X and filter" in refusal(
        "Int8Conv_ENGINE_DNNLOWP", "uint8[1,4,4,3]{scale=1.0,zero=0}", "float[2,1,1,4]", kernel=1, order="NHWC"
    )
    with pytest.raises(VerifyError, match="not quantised"):
        answer("Int8Add", np.zeros(2, np.uint8), np.zeros(2, np.uint8))


def test_an_engine_names_a_record() -> None:
    def chosen(type: str, engine: str, **args: bytes) -> str:
        return engine_type(Operator(type, ["x"], ["y"], dict(args), engine=engine))

    assert chosen("Add", "DNNLOWP") == "Add_ENGINE_DNNLOWP"
    assert chosen("Conv", "CUDNN,DNNLOWP_ACC16") == "Conv_ENGINE_DNNLOWP_ACC16"
    assert chosen("Add", "CUDNN") == "Add"
    assert chosen("Softmax", "DNNLOWP") == "Softmax"
    assert chosen("Conv", "NNPACK", activation=b"Relu") == "ConvRelu"
    assert chosen("Conv", "CUDNN", activation=b"Relu") == chosen("Conv", "NNPACK") == "Conv"


def test_compiled_with_a_scale_that_data_gives() -> None:
    op = Operator("Int8Add", ["a", "b"], ["c"], engine="DNNLOWP")
    inputs = [Int8Tensor(np.array([0, 255], np.uint8), 1.0, 1), Int8Tensor(np.array([5, 5], np.uint8), 1.0, 5)]
    (c,) = run_operator(op, inputs)
    assert isinstance(c, Int8Tensor)
    assert (c.data.tolist(), c.scale, c.zero_point) == ([0, 255], 1.0, 1)


def test_arguments_of_a_scale_are_in_range() -> None:
    for zero in (-1, 256, 2**63 - 1):
        with pytest.raises(VerifyError, match=r"a value in 0 \.\.\. 255"):
            answer("Quantize", f32(1, 2), Y_scale=0.5, Y_zero_point=zero)
    for scale in (1e-45, float("inf"), float("nan")):
        with pytest.raises(VerifyError, match="a finite scale"):
            answer("Quantize", f32(1, 2), Y_scale=scale, Y_zero_point=0)
