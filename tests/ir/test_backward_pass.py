"""Names, order and refusals of whole backward passes, by the rules that Caffe2 documents for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from graphc.ir import BackwardPass, NamedCall, VerifyError, differentiate


def _calls(text: str) -> list[NamedCall]:
    """``Mul: x x -> y; Relu: y -> y``."""
    result = []
    for part in text.split(";"):
        op, _, blobs = part.partition(":")
        inputs, outputs = (tuple(side.split()) for side in blobs.split("->"))
        result.append(NamedCall(op.strip(), inputs, outputs))
    return result


def _text(calls: Sequence[NamedCall]) -> list[str]:
    return [f"{c.type}: {' '.join(c.inputs)} -> {' '.join(c.outputs)}" for c in calls]


def _pass(text: str, *losses: str) -> BackwardPass:
    return differentiate(_calls(text), losses or ("y",))


def test_fan_out() -> None:
    """The first gradient made keeps the name that the sum has; the sum stands behind the first reader's gradient."""
    made = _pass("Tanh: x -> t; Tanh: t -> a; Tanh: t -> b; Tanh: t -> c; Mean: a b c -> y")
    assert _text(made.operators) == [
        "ConstantFill: y -> y_autogen_grad",
        "MeanGradient: y_autogen_grad -> a_grad b_grad c_grad",
        "TanhGradient: c c_grad -> t_grad",
        "TanhGradient: b b_grad -> _t_grad_autosplit_0",
        "TanhGradient: a a_grad -> _t_grad_autosplit_1",
        "Sum: t_grad _t_grad_autosplit_0 _t_grad_autosplit_1 -> t_grad",
        "TanhGradient: t t_grad -> x_grad",
    ]
    assert [c.role for c in made.operators] == ["", *["gradient"] * 4, "accumulation", "gradient"]
    assert made.gradients["t"] == "t_grad"


def test_shared_weights() -> None:
    made = _pass("FC: x w b -> h; FC: h w b -> y")
    assert _text(made.operators)[1:] == [
        "FCGradient: h w y_autogen_grad -> w_grad b_grad h_grad",
        "FCGradient: x w h_grad -> _w_grad_autosplit_0 _b_grad_autosplit_0 x_grad",
        "Sum: w_grad _w_grad_autosplit_0 -> w_grad",
        "Sum: b_grad _b_grad_autosplit_0 -> b_grad",
    ]


def test_one_operator_reads_a_blob_twice() -> None:
    made = _pass("Mul: x x -> y")
    assert _text(made.operators)[1:] == [
        "MulGradient: y_autogen_grad x x -> x_grad _x_grad_autosplit_0",
        "Sum: x_grad _x_grad_autosplit_0 -> x_grad",
    ]


def test_what_a_sum_passes_on() -> None:
    """Only the operand that is made here may be the result, and stands first then."""
    made = _pass("Tanh: x -> a; Sum: a x -> y")
    assert _text(made.operators)[1:] == [
        "TanhGradient: a y_autogen_grad -> x_grad",
        "Sum: x_grad y_autogen_grad -> x_grad",
    ]
    assert _text(_pass("Sum: x x -> y").operators)[1:] == ["Sum: y_autogen_grad y_autogen_grad -> x_grad"]


def test_in_place() -> None:
    """Versions of a blob share the name of their gradient."""
    made = _pass("FC: x w b -> h; Relu: h -> h; Tanh: h -> p; Tanh: h -> q; Mul: p q -> y")
    assert _text(made.operators)[1:] == [
        "MulGradient: y_autogen_grad p q -> p_grad q_grad",
        "TanhGradient: q q_grad -> h_grad",
        "TanhGradient: p p_grad -> _h_grad_autosplit_0",
        "Sum: h_grad _h_grad_autosplit_0 -> h_grad",
        "ReluGradient: h h_grad -> h_grad",
        "FCGradient: x w h_grad -> w_grad b_grad x_grad",
    ]


def test_in_place_where_only_shapes_are_needed() -> None:
    made = _pass("Add: x b -> x; Tanh: x -> y")
    assert _text(made.operators)[2:] == ["AddGradient: x_grad x b -> x_grad b_grad"]


def test_sparse() -> None:
    """Values that are made get new names, the indices of the forward pass keep theirs; both are joined."""
    made = _pass(
        "SparseLengthsSum: table rows lengths -> a; SparseLengthsSum: table others lengths -> b;"
        "Gather: table third -> c; Sum: a b c -> y"
    )
    assert _text(made.operators)[1:] == [
        "SparseLengthsIndicesInGradientSumGradient: y_autogen_grad lengths others -> _table_grad_values_autosplit_0",
        "SparseLengthsIndicesInGradientSumGradient: y_autogen_grad lengths rows -> _table_grad_values_autosplit_1",
        "Concat: third others rows -> table_grad_indices_concat table_grad_indices_concat_split",
        "Concat: y_autogen_grad _table_grad_values_autosplit_0 _table_grad_values_autosplit_1"
        " -> table_grad_values_concat table_grad_values_concat_split",
    ]
    assert [dict(c.args) for c in made.operators[-2:]] == [{"axis": 1 - 1}] * 2
    assert made.gradients["table"] == ("table_grad_indices_concat", "table_grad_values_concat")


def test_no_gradient_flows() -> None:
    """Into branches that no loss depends on, and through StopGradient and Accuracy; ZeroGradient makes zeros."""
    made = _pass("FC: x w b -> h; StopGradient: h -> h; Tanh: h -> y; Ceil: y -> unread")
    assert _text(made.operators)[1:] == ["TanhGradient: y y_autogen_grad -> h_grad"]
    assert set(made.gradients) == {"y"}
    made = _pass("ZeroGradient: x ->; Tanh: w -> y")
    assert _text(made.operators)[1:] == ["TanhGradient: y y_autogen_grad -> w_grad", "ConstantFill: x -> x_grad"]


def test_several_losses() -> None:
    """A loss that another one reads gets both gradients; so does one whose gradient is given."""
    made = _pass("Tanh: x -> a; Tanh: a -> y", "a", "y")
    assert _text(made.operators) == [
        "ConstantFill: a -> a_autogen_grad",
        "ConstantFill: y -> y_autogen_grad",
        "TanhGradient: y y_autogen_grad -> _a_grad_autosplit_0",
        "Sum: a_autogen_grad _a_grad_autosplit_0 -> a_autogen_grad",
        "TanhGradient: a a_autogen_grad -> x_grad",
    ]
    made = differentiate(_calls("Tanh: x -> a; Tanh: a -> y"), {"a": "given", "y": None})
    assert _text(made.operators)[1:] == [
        "TanhGradient: y y_autogen_grad -> a_grad",
        "Sum: a_grad given -> a_grad",
        "TanhGradient: a a_grad -> x_grad",
    ]
    made = differentiate(_calls("Gather: table rows -> y"), {"y": "given"})
    assert (made.operators, made.gradients) == ([], {"y": "given", "table": ("rows", "given")})


def test_steps_under_one_name_count_once() -> None:
    """Sqrt makes its gradient in two steps, both of which get the new name of a part of a sum."""
    made = _pass("Sqrt: x -> a; Tanh: x -> b; Mul: a b -> y")
    assert _text(made.operators)[2:] == [
        "TanhGradient: b b_grad -> x_grad",
        "Scale: a_grad -> _x_grad_autosplit_0",
        "Div: _x_grad_autosplit_0 a -> _x_grad_autosplit_0",
        "Sum: x_grad _x_grad_autosplit_0 -> x_grad",
    ]


def test_gradients_that_others_need_are_kept() -> None:
    """Sqr scales the gradient that it gets in place, unless it is that of another blob too."""
    assert _text(_pass("Sqr: x -> y").operators)[1:] == [
        "Scale: y_autogen_grad -> y_autogen_grad",
        "Mul: y_autogen_grad x -> x_grad",
    ]
    made = _pass("Sqr: x -> a; Sum: a b -> y")
    assert _text(made.operators)[1:] == [
        "Scale: y_autogen_grad -> _y_autogen_grad_of_a",
        "Mul: _y_autogen_grad_of_a x -> x_grad",
    ]
    assert made.gradients["b"] == "y_autogen_grad"


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("Ceil: x -> y", ["Ceil", "no gradient"]),
        ("Tanh: x -> z", ["loss 'y'"]),
        ("StopGradient: x -> z; Tanh: x -> y", ["StopGradient", "'x'"]),
        ("Abs: x -> t; FC: t w b -> x; Tanh: x -> y", ["op #0 Abs", "'x'", "op #1 FC"]),
        ("Tanh: x -> t; Relu: t -> t; Tanh: x -> u; Mul: t u -> y", ["op #0 Tanh", "'t'", "op #1 Relu"]),
        ("Tanh: x -> y; Tanh: z -> y", ["op #0 Tanh", "'y'", "op #1 Tanh"]),
        ("Sum: a b -> y; Tanh: z -> y", ["op #0 Sum", "'y'", "op #1 Tanh"]),
        ("Gather: w rows -> a; FC: a w b -> y", ["'w'", "dense", "sparse"]),
        ("Negative: x -> a; Tanh: a -> r; Sum: a r -> a; Tanh: a -> y", ["called 'a_grad'"]),
        ("FC: x w b -> t; Abs: t -> t; Tanh: t -> y", ["op #1 Abs", "'t'", "in place"]),
        ("Negative: x -> b; Scale: a -> a; Sum: a b -> a; Tanh: a -> y", ["op #1 Scale", "'a_grad'", "'b'"]),
    ],
)
def test_refused(net: str, words: list[str]) -> None:
    with pytest.raises(VerifyError) as caught:
        _pass(net)
    assert all(word in str(caught.value) for word in words), caught.value
    assert caught.value.help or "no gradient" in str(caught.value)


def test_devices_of_a_sum_agree() -> None:
    calls = [NamedCall("Tanh", ("x",), ("a",), device="cuda:0"), NamedCall("Tanh", ("x",), ("b",), device="cuda:1")]
    with pytest.raises(VerifyError, match="several devices"):
        differentiate(calls, ["a", "b"])
    calls[1] = NamedCall("Tanh", ("x",), ("b",), device="cuda:0 random_seed=3")
    assert differentiate(calls, ["a", "b"]).operators[-1].device == "cuda:0 random_seed=3"


def test_rules_of_the_caller() -> None:
    """Another rule may know operators that graphc does not."""

    def rule(call: NamedCall, d_outputs: Sequence[object]) -> tuple[list[NamedCall], list[str]]:
        return [NamedCall("MineGradient", (str(d_outputs[0]),), ("dx",))], ["dx"]

    assert differentiate([NamedCall("Mine", ("x",), ("y",))], ["y"], rule).gradients["x"] == "dx"
