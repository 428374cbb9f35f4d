"""What a user is told of engines before anything is compiled, and biases that libraries would read as another type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simt
from click.testing import CliRunner
from emulated import TARGET
from one_net import nets, operator
from simt_memory import DeviceMemory
from test_libraries import OPS, WEIGHTS, X

import graphc
from graphc.backends.cuda.library import CudaLibrary
from graphc.backends.cuda.target import find
from graphc.cli.app import graphc as command
from graphc.ir.engine import CHOSEN
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.infer import infer_node
from graphc.ir.opdef import Call
from graphc.ir.reference import evaluate_node
from graphc.ir.schedule import Address, View
from graphc.ir.types import DType, TensorType
from graphc.readiness import Readiness, readiness

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
NET = [str(DIGITS / "predict_net.pb"), "--init", str(DIGITS / "init_net.pb")]
LIBRARY = CudaLibrary(find(TARGET))


def report(ops: list[Any], engine: Any, outputs: str = "y") -> Readiness:
    predict, init = nets(ops, {"x": X}, outputs, WEIGHTS)
    return readiness(predict, init, {"x": TensorType(DType.FLOAT, X.shape)}, TARGET, engine)


def test_check_tells_what_libraries_do_and_why_not() -> None:
    ops = [*OPS[:3], operator("MaxPool", "d", "p", kernel=2), operator("FC", "d m n", "y")]
    found = report(ops, "CUDNN", "p y")
    assert found.ok
    assert found.asked == [
        ("Conv, Relu", "r", "cudnn", ""),
        ("Conv", "d", "cudnn", ""),
        ("MaxPool", "p", "", "cuDNN and cublasLt are not asked for this operator"),
        ("FC", "y", "cublaslt", ""),
    ]
    assert "operators that a library does: 3 of 4" in str(found)
    assert found.to_dict()["asked"][1] == {"operator": "Conv", "blob": "d", "library": "cudnn", "reason": ""}
    assert report(ops, "default", "p y").asked == []
    assert [row[1] for row in report(ops, {"d": "CUDNN"}, "p y").asked] == ["d"]
    assert any(note.startswith("auto: ") for note in report(ops, "auto", "p y").notes)
    assert not report(ops, "CUDNN", "p y").notes


def test_reasons_are_of_the_operator() -> None:
    ops = [operator("Conv", "x k", "y", kernel=1)]
    predict, init = nets(ops, {"x": X, "k": X[:1, :, :1, :1]}, "y", {})
    shapes = {"x": TensorType(DType.FLOAT, X.shape), "k": TensorType(DType.FLOAT, (1, 8, 1, 1))}
    found = readiness(predict, init, shapes, TARGET, "CUDNN")
    assert found.asked == [("Conv", "y", "", "its weights are computed")]
    found = readiness(predict, init, shapes, TARGET, {"y": "CUDNN"})
    assert "does not do 'y': its weights are computed" in found.problems[0]


def test_an_engine_of_a_cpu_is_refused() -> None:
    predict, init = nets(OPS, {"x": X}, "y", WEIGHTS)
    with pytest.raises(graphc.GraphcError, match="is of cards"):
        readiness(predict, init, {}, "portable", "CUDNN")


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(command, [*arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_line() -> None:
    card = ["--target", TARGET, "--engine", "CUDNN"]
    text = run("check", *NET, *card)
    assert "operators that a library does: " in text
    rows = json.loads(run("check", *NET, *card, "--json"))["asked"]
    done = [row["blob"] for row in rows if row["library"]]
    assert done
    assert run("dump", *NET, *card, "--stage", "optimised").count("chosen_engine") == len(done)
    assert run("dump", *NET, *card, "--stage", "scheduled").count('library="cudnn"') > 0
    assert "chosen_engine" not in run("dump", *NET, "--target", TARGET, "--stage", "optimised")
    assert "--stage optimised, scheduled, kernels" in run("dump", *NET, *card, code=2)
    for name in ("check", "dump"):
        assert "--engine [BLOB=]NAME" in run(name, "--help")
        assert "--engine CUDNN" in run(name, "--help")


def product(bias: str, y: str, engine: bool, constant: bool = False) -> tuple[str, np.ndarray, np.ndarray]:
    """The rule of an FC of computed halves, what its kernel gives in the emulator, and the reference."""
    random, graph = np.random.default_rng(4), Graph("t")
    arrays = [random.standard_normal(shape).astype(np.float16) for shape in ((5, 16), (16, 16))]
    arrays.append(random.standard_normal(16).astype({"float16": np.float16, "float": np.float32}[bias]))
    values = [graph.add_input(TensorType(DType.of(a.dtype), a.shape), f"v{i}") for i, a in enumerate(arrays)]
    if constant:
        values[1:] = [graph.add_constant(f"c{i}", arrays[i]) for i in (1, 2)]
    node = Node("FC", values, [Value(TensorType(), "y")], {"precision": y.encode()})
    node.attrs |= {CHOSEN: b"CUDNN"} if engine else {}
    graph.append(node)
    infer_node(node)
    call, memory = Call(node), DeviceMemory(1 << 20)
    choice = LIBRARY.choose(call)
    (want,) = evaluate_node(node, arrays)
    if choice.rule == "library_product":
        assert choice.spec is not None
        return str(choice.spec["kinds"]), want, want

    def placed(array: np.ndarray, type: TensorType) -> View:
        address = memory.allocate(array.nbytes)
        memory.view(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
        strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
        return View(Address("arena", address), type, strides)

    ins = [placed(choice.packed.get(i, a), call.type(i)) for i, a in enumerate(arrays)]
    got = np.zeros_like(want)
    out = placed(got, node.results[0].type)
    for step in LIBRARY.bind(call, choice, ins, [out], Address("arena")):
        for task in step:
            params = [p if isinstance(p, int) else p.offset for p in task.params]
            threads = task.kernel.int("threads")
            simt.launch(memory, task.kernel.name, LIBRARY.source(task.kernel), task.units, threads, params)
    return choice.rule, memory.view(out.address.offset, got.nbytes).view(got.dtype).reshape(got.shape), want


@pytest.mark.parametrize(
    ("bias", "y", "constant", "does"),
    [
        ("float16", "float", False, "gemm"),
        ("float", "float16", False, "gemm"),
        ("float16", "float", True, "f2,f2,f4,f4"),
        ("float16", "float16", False, "f2,f2,f2,f2"),
        ("float", "float", False, "f2,f2,f4,f4"),
    ],
)
def test_a_bias_is_read_in_its_own_type(bias: str, y: str, constant: bool, does: str) -> None:
    """A library reads it in the result's; where it is computed in another one, a kernel of graphc's does the call."""
    rule, got, want = product(bias, y, True, constant)
    assert rule == does
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-3 * np.abs(want).max())


@pytest.mark.parametrize("constant", [False, True])
def test_kernels_read_a_bias_of_halves(constant: bool) -> None:
    rule, got, want = product("float16", "float", False, constant)
    assert rule == "gemm"
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-3 * np.abs(want).max())
