"""The report of everything that stops an import."""

from __future__ import annotations

import json

import pytest

from graphc.frontends.netdef import Net, Operator, check
from graphc.frontends.netdef.arguments import convert
from graphc.frontends.netdef.net import TensorArg


def op(type: str, inputs: str = "", outputs: str = "", **args: object) -> Operator:
    return Operator(type, inputs.split(), outputs.split(), args, name="the_name")


def test_a_good_net() -> None:
    report = check(Net("n", [op("Relu", "x", "y"), op("Relu", "y", "z")], ["x"], ["z"]))
    assert report.ok
    assert report.operators == {"Relu": 2}
    assert str(report) == "2 operators of 1 types, 0 problems"


def test_every_problem_at_once() -> None:
    inner = Net("inner", [op("NoSuch", "x", "y")])
    net = Net(
        "n",
        [
            op("Relu", "x y", "y"),
            op("LeakyRelu", "x", "y", alpha=b"big"),
            op("LeakyRelu", "x", "y", alhpa=0.1),
            op("Nonsense", "q", "y", body=inner),
        ],
        ["x"],
        ["never"],
    )
    report = check(net)
    kinds = [(p.kind, p.index, p.subject) for p in report.problems]
    assert kinds == [
        ("arity", 0, "input"),
        ("in place", 0, "y"),
        ("argument", 1, "alpha"),
        ("argument", 2, "alhpa"),
        ("operator", 3, "Nonsense"),
        ("operator", 0, "NoSuch"),
        ("wiring", 0, "y"),
        ("wiring", 3, "q"),
        ("wiring", -1, "never"),
    ]
    assert report.problems[3].remedy == "near names: alpha"
    text = str(report.problems[2])
    assert text.startswith("net 'n' op #1 LeakyRelu 'the_name' (x -> y): argument 'alpha' is the string 'big'")
    assert json.loads(json.dumps(report.to_dict()))["problems"][0]["op_type"] == "Relu"


def test_blobs_that_may_and_that_must_be_shared() -> None:
    """Caffe2's schemas: Conv cannot work in place, Iter cannot work otherwise, Relu and Dropout can do both."""
    good = [op("Relu", "x", "x"), op("Dropout", "x", "x mask", is_test=1), op("Mul", "w x", "x"), op("Iter", "i", "i")]
    assert check(Net("n", good, ["x", "w", "i"], ["x", "i"])).ok
    bad = [op("Conv", "x w", "x", kernel=1), op("Iter", "i", "next"), op("Sum", "w x", "x")]
    problems = check(Net("n", bad, ["x", "w", "i"], ["x", "next"])).problems
    assert [(p.kind, p.index, p.remedy) for p in problems] == [
        ("in place", 0, "give the output a name of its own"),
        ("in place", 1, "name the output 'i'"),
        ("in place", 2, "give the output a name of its own"),
    ]
    assert "input 0 and output 0 are both 'x', Conv cannot work in place there" in str(problems[0])
    assert "Iter changes input 0, 'i', but its output 0 is named 'next'" in str(problems[1])


def test_more_blobs_than_ports_of_an_operator_in_place() -> None:
    names = " ".join(f"b{i}" for i in range(20))
    assert check(Net("n", [op("DataCouple", names, names)], names.split(), ["b19"])).ok
    swapped = op("DataCouple", "a b", "b a")
    assert [p.kind for p in check(Net("n", [swapped], ["a", "b"], ["a"])).problems] == ["in place"] * 4


def test_a_step_net_in_a_string_is_looked_into() -> None:
    step = b'name: "step" op { type: "NoSuch" input: "a" output: "b" }'
    good = op("RecurrentNetwork", "a", "b c", step_net=step, backward_step_net=b"")
    bad = op("RecurrentNetwork", "a", "b c", step_net=b"hello world")
    problems = check(Net("n", [good, bad], ["a"], ["b"])).problems
    found = [(p.kind, p.net, p.subject) for p in problems if p.kind != "arity"]
    assert found == [("argument", "n", "step_net"), ("operator", "step", "NoSuch")]


def test_init_operators_count_where_they_are_needed() -> None:
    init = Net(
        "i",
        [op("NoSuch", "", "w"), op("NoSuch", "", "unused"), op("GivenTensorFill", "", "b", shape=(2,), values=(1.0,))],
    )
    report = check(Net("n", [op("Sum", "x w b", "y")], ["x", "w", "b"], ["y"]), init)
    assert [(p.net, p.index, p.kind) for p in report.problems] == [("i", 0, "operator"), ("i", 2, "weight")]
    assert "has 1 elements, the shape [2] needs 2" in report.problems[1].reason


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"shape": (-1,), "values": (1.0,)}, "negative dimension -1"),
        ({"shape": 3, "values": (1.0,)}, "'shape' is no list of ints"),
        ({"shape": (2**40, 2**40), "values": (1.0,)}, "has 1 elements"),
        ({"shape": (1,) * 40, "values": (1.0,)}, "40 dimensions"),
        ({"shape": (1,), "values": b"x"}, "'values' is no list of numbers"),
        ({"shape": (1,), "values": (1,), "dtype": 99}, "'dtype' is 99"),
        ({"shape": (1,), "values": (300,), "dtype": 7}, "holds 300, beyond int8"),
        ({"shape": (1,), "values": (1.5,), "dtype": 2}, "holds floats, int32 needs ints"),
    ],
)
def test_bad_weights(args: dict, reason: str) -> None:
    report = check(Net("n", [op("Sum", "w", "y")], ["w"], ["y"]), Net("i", [op("GivenTensorFill", "", "w", **args)]))
    assert reason in report.problems[0].reason


def test_an_enormous_constant_fill_is_refused() -> None:
    init = Net("i", [op("ConstantFill", "", "w", shape=(2**40,), value=1.0)])
    report = check(Net("n", [op("Sum", "w", "y")], ["w"], ["y"]), init)
    assert "needs more than 2 GiB" in report.problems[0].reason


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, "int", 3),
        (2.0, "int", 2),
        (3, "float", 3.0),
        (0.1, "float", 0.10000000149011612),
        (b"x", "string", b"x"),
        ((1, 2.0), "ints", (1, 2)),
        ((), "floats", ()),
        ((1, 0.5), "floats", (1.0, 0.5)),
        ((b"a",), "strings", (b"a",)),
        (b"NCHW", "any", b"NCHW"),
    ],
)
def test_conversion(value: object, kind: str, expected: object) -> None:
    got = convert(value, kind)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (b"3", "int", "is the string '3', an int is needed"),
        (0.5, "int", "is the float 0.5, an int is needed"),
        (float("nan"), "int", "an int is needed"),
        ((), "int", "is without a value"),
        (3, "ints", "is the int 3, a list of ints is needed"),
        ((1, b"a"), "ints", "is the string 'a', an int is needed"),
        (3, "graph", "a net is needed"),
        (Net(), "float", "is a net, a float is needed"),
        (TensorArg("t", (b"",)), "any", "is a tensor message"),
    ],
)
def test_conversion_errors(value: object, kind: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        convert(value, kind)
