"""NetDef to graph: versions of blobs, weights, inputs and outputs, nested nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.frontends.netdef import Net, Operator, check, import_net, read_net, to_text
from graphc.ir import DType, Graph, NetError, Node, Quant, TensorType, UnsupportedError, parse
from graphc.ir.verify import verify


def op(type: str, inputs: str = "", outputs: str = "", **args: object) -> Operator:
    return Operator(type, inputs.split(), outputs.split(), args)


def fill(name: str, *shape: int, value: float = 1.0) -> Operator:
    return op("GivenTensorFill", "", name, shape=shape, values=np.full(int(np.prod(shape)), value, np.float32))


def imported(net: Net, init: Net | None = None, **inputs: TensorType) -> Graph:
    graph = import_net(net, init, inputs or None)
    verify(graph)
    return graph


def names(values: list) -> list[str]:
    return [v.name for v in values]


def test_in_place_operators_and_reused_names_become_versions() -> None:
    net = Net(
        "n",
        [op("Relu", "x", "x"), op("Sigmoid", "x", "t"), op("Tanh", "t", "t"), op("Add", "t x", "x")],
        ["x"],
        ["x", "t"],
    )
    graph = imported(net)
    relu, sigmoid, tanh, add = graph.nodes
    assert relu.operands == graph.inputs
    assert sigmoid.operands == relu.results
    assert tanh.operands == sigmoid.results
    assert add.operands == [tanh.results[0], relu.results[0]]
    assert graph.outputs == [add.results[0], tanh.results[0]]
    assert graph.output_names == ["x", "t"]
    assert names(relu.results) == ["x"]


def test_locations_engines_and_devices() -> None:
    text = b"""name: "n" device_option { device_type: 1 device_id: 3 }
      op { type: "Relu" name: "r" input: "x" output: "y" engine: "CUDNN" }
      op { type: "Relu" input: "y" output: "z" device_option { } }"""
    first, second = imported(read_net(text)).nodes
    assert str(first.location) == "n op #0 Relu 'r'"
    assert (first.engine, first.device) == ("CUDNN", "cuda:3")
    assert second.device == "cpu:0"  # in a net that uses a card, too


def test_an_input_may_be_an_output() -> None:
    graph = imported(Net("n", [op("Relu", "x", "y")], ["x"], ["x", "y"]))
    assert graph.outputs[0] is graph.inputs[0]


def test_without_external_output_the_unread_blobs_are_the_outputs() -> None:
    net = Net("n", [op("Dropout", "x", "d mask", is_test=1), op("Relu", "d", "v"), op("Tanh", "v", "v")])
    graph = imported(net)
    assert names(graph.inputs) == ["x"]
    assert graph.output_names == ["v"]
    assert graph.outputs == graph.nodes[-1].results
    assert graph.notes == ["external_output is empty; outputs are the blobs that nothing reads: v"]


@pytest.mark.parametrize(
    ("fill_type", "args", "expected", "dtype"),
    [
        ("GivenTensorFill", {"values": (1.0, 2.5)}, [1.0, 2.5], DType.FLOAT),
        ("GivenTensorDoubleFill", {"values": (1.0, 2.5)}, [1.0, 2.5], DType.DOUBLE),
        ("GivenTensorFp16Fill", {"values": (1.0, 1e6)}, [1.0, np.inf], DType.FLOAT16),
        ("GivenTensorIntFill", {"values": (1, -2)}, [1, -2], DType.INT32),
        ("GivenTensorInt64Fill", {"values": (1, 2**40)}, [1, 2**40], DType.INT64),
        ("GivenTensorInt16Fill", {"values": (1, -2)}, [1, -2], DType.INT16),
        ("GivenTensorBoolFill", {"values": (1, 0)}, [True, False], DType.BOOL),
        ("GivenTensorStringFill", {"values": (b"a", b"bc")}, [b"a", b"bc"], DType.STRING),
        ("GivenTensorByteStringToUInt8Fill", {"values": (b"\x01\xff",)}, [1, 255], DType.UINT8),
        ("GivenTensorFill", {"values": (1, 2), "dtype": 10}, [1, 2], DType.INT64),
        ("ConstantFill", {"value": 1.5}, [1.5, 1.5], DType.FLOAT),
        ("ConstantFill", {"value": 3}, [3, 3], DType.INT64),
        ("ConstantFill", {"value": 3, "dtype": 2}, [3, 3], DType.INT32),
        ("ConstantFill", {}, [0, 0], DType.FLOAT),
    ],
)
def test_fills_become_constants(fill_type: str, args: dict, expected: list, dtype: DType) -> None:
    init = Net("init", [op(fill_type, "", "w", shape=(2,), **args)])
    graph = import_net(Net("n", [op("Add", "x w", "y")], ["x", "w"], ["y"]), init)
    (constant,) = graph.constants
    assert constant.type == TensorType(dtype, (2,))
    assert constant.data.dtype == dtype.numpy
    assert constant.data.tolist() == expected
    assert constant.name == "w"


def test_int8_fills_carry_scale_and_zero_point() -> None:
    weight = op("Int8GivenTensorFill", "", "w", shape=(2, 1), values=b"\x00\xff", Y_scale=0.5, Y_zero_point=7)
    bias = op("Int8GivenIntTensorFill", "", "b", shape=(1,), values=(-70000,), Y_scale=0.25)
    net = Net("n", [op("Sum", "x w b", "y")], ["x", "w", "b"], ["y"])
    w, b = import_net(net, Net("init", [weight, bias])).constants
    assert w.type == TensorType(DType.UINT8, (2, 1), quant=Quant(0.5, 7))
    assert w.data.tolist() == [[0], [255]]
    assert b.type == TensorType(DType.INT32, (1,), quant=Quant(0.25, 0))
    assert b.data.tolist() == [-70000]


def test_weights_share_the_memory_of_the_net() -> None:
    init = Net("init", [fill("w", 100, 100)])
    graph = import_net(Net("n", [op("Add", "x w", "y")], ["x", "w"], ["y"]), init)
    assert np.shares_memory(graph.constants[0].data, init.ops[0].args["values"])


def test_other_init_operators_come_first_and_dead_ones_not_at_all() -> None:
    init = Net("init", [fill("a", 2), op("Sqr", "a", "w"), fill("unused", 3), op("Tanh", "unused", "u")])
    graph = imported(Net("n", [op("Add", "x w", "y")], ["x", "w"], ["y"]), init)
    assert [n.op for n in graph.nodes] == ["Sqr", "Add"]
    assert names(graph.constants) == ["a"]
    assert graph.nodes[0].location.origins[0].net == "init"


def test_a_blob_filled_twice_has_two_constants() -> None:
    net = Net("n", [fill("w", 1), op("Add", "x w", "y"), fill("w", 2), op("Add", "y w", "z")], ["x"], ["z"])
    graph = imported(net)
    assert [c.constant.name for c in graph.constants] == ["w", "w.1"]
    assert names(graph.constants) == ["w", "w"]


def test_random_init_operators_are_refused() -> None:
    init = Net("init", [op("XavierFill", "", "w", shape=(2, 2))])
    with pytest.raises(NetError, match="drawn at random") as e:
        import_net(Net("n", [op("Add", "x w", "y")], ["x", "w"], ["y"]), init)
    assert "save the weights as fills" in e.value.message


class TestInputs:
    """Which external inputs are given at run time (trap 40 and 41)."""

    NET = Net("n", [op("FC", "data w b", "y"), op("Mul", "y s", "z", broadcast=1)], ["data", "w", "b", "s"], ["z"])
    WEIGHTS = [fill("w", 4, 4), fill("b", 4), fill("s", 4)]

    def test_unfilled(self) -> None:
        graph = imported(self.NET, Net("i", self.WEIGHTS))
        assert names(graph.inputs) == ["data"]
        assert graph.inputs[0].type == TensorType()

    @pytest.mark.parametrize("dummy", [fill("data", 1, 1, value=0), op("ConstantFill", "", "data", shape=(1,))])
    def test_placeholder(self, dummy: Operator) -> None:
        graph = imported(self.NET, Net("i", [*self.WEIGHTS, dummy]))
        assert names(graph.inputs) == ["data"]
        assert graph.notes == [
            "'data' is an input, though the init net fills it: its fill is a placeholder of one element"
        ]

    def test_a_zero_bias_of_one_element_is_a_weight(self) -> None:
        init = Net("i", [fill("w", 1, 4), fill("b", 1, value=0), fill("s", 1, value=0)])
        assert names(imported(self.NET, init).inputs) == ["data"]

    def test_placeholder_after_the_weights(self) -> None:
        net = Net("n", self.NET.ops, ["w", "b", "s", "data"], ["z"])
        graph = imported(net, Net("i", [*self.WEIGHTS, fill("data", 1, value=0)]))
        assert names(graph.inputs) == ["data"]

    def test_example_saved_as_weight(self) -> None:
        graph = imported(self.NET, Net("i", [*self.WEIGHTS, fill("data", 2, 4)]))
        assert names(graph.inputs) == ["data"]
        assert "the net has no other" in graph.notes[0]

    def test_named(self) -> None:
        type = TensorType.parse("float[N,4]")
        init = Net("i", [*self.WEIGHTS, fill("data", 2, 4)])
        graph = imported(self.NET, init, data=type, s=TensorType.parse("float[4]"))
        assert names(graph.inputs) == ["data", "s"]
        assert graph.inputs[0].type == type

    def test_unknown_name(self) -> None:
        with pytest.raises(NetError, match="does not read the input 'dada'") as e:
            imported(self.NET, Net("i", self.WEIGHTS), dada=TensorType())
        assert "near names: data" in e.value.help

    def test_order_is_that_of_external_input(self) -> None:
        net = Net("n", [op("Sub", "a b", "y")], ["b", "a"], ["y"])
        assert names(imported(net).inputs) == ["b", "a"]

    def test_missing_weights_are_listed_together(self) -> None:
        with pytest.raises(NetError, match="no weights for 2 blobs of net 'n': w, b"):
            imported(self.NET, Net("i", [fill("s", 4), fill("other", 1)]))
        with pytest.raises(NetError, match="no weights for 3 blobs of net 'n': w, b, s"):
            imported(self.NET, Net("i", [fill("data", 1)]), data=TensorType())

    def test_without_init_net_weights_are_inputs(self) -> None:
        assert names(imported(self.NET).inputs) == ["data", "w", "b", "s"]


class TestWiring:
    """Caffe2's rules for nets (N-08)."""

    @pytest.mark.parametrize(
        ("net", "message"),
        [
            (
                Net("n", [op("Relu", "dat", "y")], ["data"], ["y"]),
                r"op #0 Relu \(dat -> y\): Source for input 'dat' is unknown for net 'n'.*near names: data",
            ),
            (Net("n", [op("Relu", "x", "y")], ["x"], ["z"]), "external_output 'z' is never produced"),
            (
                Net("n", [op("Relu", "t", "y"), op("Tanh", "x", "t")], ["x"], ["y"]),
                "produced by op #1 Tanh, which comes later: the net is not in order",
            ),
            (
                Net("n", [op("Add", "x b", "a"), op("Tanh", "a", "b")], ["x"], ["b"]),
                "a cycle of op #0 Add -> op #1 Tanh -> op #0 Add",
            ),
            (Net("n", [op("Relu", "y", "y")], ["x"], ["y"]), "is the operator's own output"),
        ],
    )
    def test_bad_nets(self, net: Net, message: str) -> None:
        with pytest.raises(NetError, match=message):
            import_net(net)

    def test_undeclared_inputs_are_inputs_where_none_are_declared(self) -> None:
        graph = imported(Net("n", [op("Add", "a b", "c"), op("Relu", "c", "a")], [], ["c"]))
        assert names(graph.inputs) == ["a", "b"]
        assert graph.notes == ["'a' is an input: it is read before op #1 Relu writes it"]


def test_unknown_operators_and_arguments_are_listed_together() -> None:
    net = Net("n", [op("Rellu", "x", "y"), op("Conv", "y w", "z", kernal=3), op("FooBar", "z", "q")], ["x", "w"], ["q"])
    with pytest.raises(UnsupportedError) as e:
        import_net(net)
    assert len(e.value.problems) == 3
    assert "FooBar, Rellu" in e.value.message
    assert "near names: " in e.value.problems[0]
    assert "kernel" in e.value.problems[1]


def test_harmless_arguments_are_dropped_and_kinds_converted() -> None:
    node = imported(
        Net(
            "n",
            [op("Tanh", "x", "x", use_nvtx=1, kts=b"TensorOps"), op("LeakyRelu", "x", "y", alpha=1)],
            ["x"],
            ["y"],
        )
    ).nodes
    assert node[0].attrs == {}
    assert node[1].attrs == {"alpha": 1.0}
    assert isinstance(node[1].attrs["alpha"], float)


def only(graph: Graph, type: str) -> Node:
    return next(n for n in graph.nodes if n.op == type)


class TestNestedNets:
    """The convention of subnets.py."""

    def test_if_without_else_hands_through(self) -> None:
        then = Net("then", [op("Relu", "x", "t"), op("Tanh", "t", "y")])
        net = Net(
            "n", [op("Sigmoid", "x", "y"), op("If", "c", "", then_net=then), op("Abs", "y", "z")], ["x", "c"], ["z"]
        )
        graph = imported(net)
        node = only(graph, "If")
        assert names(node.operands) == ["c", "x", "y"]
        assert names(node.results) == ["y"]
        first, second = node.attrs["then_net"], node.attrs["else_net"]
        assert names(first.inputs) == names(second.inputs) == ["x", "y"]
        assert names(first.outputs) == ["y"]
        assert second.outputs == [second.inputs[1]]
        assert graph.nodes[-1].operands == node.results

    def test_if_that_writes_on_both_ways(self) -> None:
        nets = {"then_net": Net("a", [op("Relu", "x", "y")]), "else_net": Net("b", [op("Tanh", "x", "y")])}
        graph = imported(Net("n", [op("If", "c", "", **nets)], ["c", "x"], ["y"]))
        assert graph.outputs == only(graph, "If").results

    def test_if_that_writes_on_one_way_only(self) -> None:
        net = Net("n", [op("If", "c", "y", then_net=Net("a", [op("Relu", "x", "y")]))], ["c", "x"], ["y"])
        with pytest.raises(NetError, match="its output y has no value where else_net runs"):
            import_net(net)

    def test_while(self) -> None:
        loop = Net("loop", [op("Add", "i one", "i")])
        cond = Net("cond", [op("LT", "i n", "go")])
        net = Net("n", [op("While", "go", "", loop_net=loop, cond_net=cond)], ["go", "i", "one", "n"], ["i"])
        node = only(imported(net), "While")
        assert names(node.results) == ["i", "go"]
        loop_graph, cond_graph = node.attrs["loop_net"], node.attrs["cond_net"]
        assert names(loop_graph.inputs) == names(cond_graph.inputs) == names(node.operands[1:])
        assert names(loop_graph.outputs) == ["i", "go"]
        assert names(cond_graph.outputs) == ["go", "i", "go"]
        assert cond_graph.output_names == ["go.condition", "i", "go"]

    def test_problems_inside_are_found(self) -> None:
        net = Net("n", [op("If", "c", "y", then_net=Net("inner", [op("Rellu", "x", "y")]))], ["c", "x"], ["y"])
        with pytest.raises(UnsupportedError, match="net 'inner' op #0 Rellu"):
            import_net(net)

    def test_unknown_blob_inside(self) -> None:
        net = Net("n", [op("If", "c", "y", then_net=Net("inner", [op("Relu", "x", "y")]))], ["c"], ["y"])
        with pytest.raises(NetError, match="Source for input 'x' is unknown"):
            import_net(net)


def test_real_nets_with_weights(shared: Path) -> None:
    for folder in sorted((shared / "models").iterdir()):
        if not (folder / "init_net.pb").is_file():
            continue
        predict, init = read_net(folder / "predict_net.pb"), read_net(folder / "init_net.pb")
        graph = imported(predict, init)
        with np.load(folder / "inputs.npz") as file:
            assert names(graph.inputs) == list(file.files), folder.name
        assert graph.output_names == predict.external_outputs
        assert len(graph.nodes) == len(predict.ops)
        again = import_net(read_net(to_text(predict).encode()), init)
        assert [n.attrs for n in again.nodes] == [n.attrs for n in graph.nodes]


def test_real_nets_without_weights(shared: Path) -> None:
    done = 0
    for path in sorted((shared / "models" / "without_weights").rglob("*.pb*")):
        if "plan" not in path.name and check(read_net(path)).ok:
            imported(read_net(path))
            done += 1
    assert done >= 10


def test_golden_nets(shared: Path) -> None:
    """Nets of Caffe2's own tests import, but for operators that graphc lacks."""
    done = 0
    for path in sorted((shared / "golden_nets").glob("*.npz")):
        with np.load(path) as file:
            net = read_net(bytes(file["net"]))
        problems = check(net).problems
        assert all(p.kind == "operator" for p in problems), path
        if not problems:
            imported(net)
            done += 1
    assert done >= 100


def test_names_are_any_text() -> None:
    net = Net("n", [op("Relu", "gpu_0/data", "1"), op("Tanh", "1", "Relu")], ["gpu_0/data"], ["Relu"])
    net.ops[1].outputs = net.external_outputs = ['a b%"ü']
    graph = imported(net)
    assert graph.output_names == ['a b%"ü']
    assert parse(str(graph)) == graph
