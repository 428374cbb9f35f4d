"""The engine CUDNN: which operators ask NVIDIA's libraries, what they are asked, and what a user is told.

The libraries are stand-ins that compute in NumPy (``library_card.py``), but for one test of the real front end.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import TARGET, on_emulated_card
from library_card import STREAM, Graph, LibraryCard, install
from one_net import nets, operator, reference

import graphc
from graphc.backends.cuda.cubin import Cubin
from graphc.cli.options import parse_engines
from graphc.ir.library_call import CONVOLUTION, LibraryCall, Operand, read_call
from graphc.ir.memory_check import check_memory
from graphc.ir.schedule import KernelSpec, Task
from graphc.ir.schedule_text import parse_schedule, print_schedule
from graphc.plan import Plan
from graphc.runtime import cudnn as runtime_cudnn

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((2, 8, 7, 6)).astype(np.float32)
WEIGHTS = {
    "w": RANDOM.standard_normal((16, 4, 3, 3)).astype(np.float32),
    "b": RANDOM.standard_normal(16).astype(np.float32),
    "v": RANDOM.standard_normal((24, 16, 1, 1)).astype(np.float32),
    "m": RANDOM.standard_normal((5, 24 * 4 * 3)).astype(np.float32),
    "n": RANDOM.standard_normal(5).astype(np.float32),
}
OPS = [
    operator("Conv", "x w b", "c", kernel=3, stride=2, pad=1, group=2),
    operator("Relu", "c", "r"),
    operator("Conv", "r v", "d", kernel=1),
    operator("FC", "d m n", "f"),
    operator("Relu", "f", "y"),
]


def plan_of(ops: list[Any] = OPS, outputs: str = "y", **options: Any) -> Plan:
    predict, init = nets(ops, {"x": X}, outputs, WEIGHTS)
    graph = graphc.import_model(predict, init, {"x": X})
    return graphc.compile_graph(graph, target=TARGET, prepare=False, **options)


def on_card(plan: Plan, patch: pytest.MonkeyPatch) -> tuple[LibraryCard, list[Any], Any]:
    """The plan on a card with libraries; what these are asked; cublasLt's stand-in."""
    card = LibraryCard(on_emulated_card(plan)._source)
    plan.code.card = card
    return card, *install(patch, card.memory)


def labels(plan: Plan) -> dict[str, str]:
    """What each task computes, and the library that does it."""
    return {t.label: t.kernel.library for s in plan.schedules for step in s.steps for t in step if t.label}


def test_libraries_answer_as_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(engine="CUDNN")
    assert labels(plan) == {"r": "cudnn", "d": "cudnn", "y": "cublaslt"}
    card, log, _ = on_card(plan, monkeypatch)
    for batch in (2, 3):
        x = np.concatenate([X, X[:1]])[:batch]
        (want,) = reference(OPS, {"x": x}, "y", WEIGHTS)
        np.testing.assert_allclose(plan.run({"x": x})["y"], want, rtol=0, atol=2e-6 * np.abs(want).max())
    assert card.requests == ["r", "d", "y"] * 2
    assert ("without", "TENSOR_CORE") in log
    assert ("workspace", 64 << 20) in log
    assert ("stream", 5, STREAM) in log


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_halves_are_turned_around_the_call(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second convolution reads and writes halves, in NHWC order for cuDNN; its weights are packed so."""
    more = [*OPS[:3], operator("Conv", "d z", "e", kernel=1)]
    monkeypatch.setitem(WEIGHTS, "z", RANDOM.standard_normal((16, 24, 1, 1)).astype(np.float32))
    options = {"precision": {"*": precision, "e": precision}}
    plain, plan = plan_of(more, "e", **options), plan_of(more, "e", engine={"d": "CUDNN"}, **options)
    (task,) = (t for s in plan.schedules for step in s.steps for t in step if t.kernel.library)
    call = read_call(task.kernel, task.params)
    assert {o.kind for o in call.operands} == {{"float16": "f2", "bfloat16": "bf"}[precision]}
    assert call.x.strides == (16 * 4 * 3, 1, 16 * 3, 16)
    on_card(plan, monkeypatch)
    got = plan.run({"x": X})["e"]
    on_emulated_card(plain)
    want = plain.run({"x": X})["e"]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-2 * np.abs(want).max())


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_products_of_halves(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one writes halves, the last one float32."""
    for name, shape in {"p": (24, 8 * 7 * 6), "q": (24,), "s": (16, 24), "t": (16,)}.items():
        monkeypatch.setitem(WEIGHTS, name, RANDOM.standard_normal(shape).astype(np.float32))
    ops = [operator("FC", "x p q", "h"), operator("Relu", "h", "r"), operator("FC", "r s t", "y")]
    plan = plan_of(ops, precision={"*": precision, "y": precision}, engine="CUDNN")
    kind = {"float16": "f2", "bfloat16": "bf"}[precision]
    calls = [t for s in plan.schedules for step in s.steps for t in step if t.kernel.library]
    assert [t.kernel["kinds"] for t in calls] == [f"{kind},{kind},{kind},{kind}", f"{kind},{kind},f4,f4"]
    on_card(plan, monkeypatch)
    (want,) = reference(ops, {"x": X}, "y", WEIGHTS)
    np.testing.assert_allclose(plan.run({"x": X})["y"], want, rtol=0, atol=2e-2 * np.abs(want).max())


def test_pieces_of_a_single_image_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of convolutions and inputs of others are pieces of a Concat, at addresses that cuDNN does not take."""
    random = np.random.default_rng(6)
    for name, shape in {"p": (3, 8, 1, 1), "q": (5, 8, 3, 3), "s": (6, 5, 3, 3), "t": (4, 8, 1, 1)}.items():
        monkeypatch.setitem(WEIGHTS, name, random.standard_normal(shape).astype(np.float32) / 4)
    ops = [
        operator("Conv", "x p", "c", kernel=1),
        operator("Conv", "x q", "d", kernel=3, pad=1),
        operator("Concat", "c d", "y i", axis=1),
        operator("Conv", "d s", "e", kernel=3, pad=1),
        operator("Conv", "y t", "f", kernel=1),
        operator("Sigmoid", "f", "g"),
        operator("Concat", "c e g", "z j", axis=1),
    ]
    x = X[:1, :, :5]
    predict, init = nets(ops, {"x": x}, "y z", WEIGHTS)
    graph = graphc.import_model(predict, init, {"x": x})
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False, engine="CUDNN")
    on_card(plan, monkeypatch)
    calls = [t for s in plan.schedules for step in s.steps for t in step if t.kernel.library]
    assert len(calls) == 4
    got = plan.run({"x": x})
    for name, want in zip("yz", reference(ops, {"x": x}, "y z", WEIGHTS)):
        np.testing.assert_allclose(got[name], want, rtol=0, atol=2e-6 * np.abs(want).max())


def test_matrices_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for a_shape, b_shape, args in (
        ((3, 4), (4, 5), {}),
        ((4, 3), (5, 4), {"trans_a": 1, "trans_b": 1}),
        ((1, 4), (4, 1), {}),
    ):
        inputs = {"a": RANDOM.standard_normal(a_shape), "b": RANDOM.standard_normal(b_shape)}
        check_product("MatMul", inputs, args, monkeypatch)
    inputs = {"a": RANDOM.standard_normal((2, 3, 4)), "b": RANDOM.standard_normal((2, 5, 4))}
    check_product("BatchMatMul", inputs, {"trans_b": 1}, monkeypatch)


def check_product(op: str, arrays: dict[str, np.ndarray], args: dict[str, int], patch: pytest.MonkeyPatch) -> None:
    inputs = {name: array.astype(np.float32) for name, array in arrays.items()}
    ops = [operator(op, "a b", "y", **args)]
    predict, _ = nets(ops, inputs, "y", {})
    plan = graphc.compile_graph(
        graphc.import_model(predict, None, inputs), target=TARGET, prepare=False, engine={"y": "cudnn"}
    )
    card, log, _ = on_card(plan, patch)
    (want,) = reference(ops, inputs, "y", {})
    np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=1e-5)
    assert log[-1] == ("matmul", STREAM)
    assert card.requests == ["y"]


def test_a_nets_word_alone_changes_nothing() -> None:
    ops = [replace(OPS[0], engine="CUDNN"), OPS[1], operator("Conv", "r v", "y", kernel=1)]
    assert labels(plan_of(ops)) == {"r": "", "y": ""}
    assert labels(plan_of(ops, engine="net")) == {"r": "cudnn", "y": ""}
    assert labels(plan_of(ops, engine={"*": "CUDNN", "r": "default"})) == {"r": "", "y": "cudnn"}
    text = str(plan_of(ops, engine="net").graph)
    assert (text.count("chosen_engine"), text.count(' engine="CUDNN"')) == (1, 1)


def test_the_cards_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this card the library is slow at d. A request by blob stands, whatever is faster."""
    sources: dict[str, str] = {}

    def made(wanted: dict[str, tuple[str, int]], *given: Any) -> dict[str, Cubin]:
        sources.update({name: text for name, (text, _) in wanted.items()})
        return {name: Cubin(name, b"\x7fELF", threads, 0, 0, 0, 0) for name, (_, threads) in wanted.items()}

    card = LibraryCard(sources.__getitem__)
    card.slow = {"d"}
    install(monkeypatch, card.memory)
    monkeypatch.setattr("graphc.cuda_code.compile_kernels", made)
    monkeypatch.setattr("graphc.cuda_code.NvidiaCard", lambda *given: card)
    assert labels(plan_of(engine="auto")) == {"r": "cudnn", "d": "", "y": "cublaslt"}
    assert labels(plan_of(engine={"*": "auto", "d": "CUDNN", "y": "default"})) == {"r": "cudnn", "d": "cudnn", "y": ""}


def test_another_ending_is_a_kernel_behind_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A residual, a Relu without a bias, and what no library has: behind both libraries."""
    monkeypatch.setitem(WEIGHTS, "k", RANDOM.standard_normal((16, 16, 1, 1)).astype(np.float32))
    ops = [
        operator("Conv", "x w b", "c", kernel=3, group=2),
        operator("Conv", "c k", "d", kernel=1),
        operator("Add", "d c", "s"),
        operator("Relu", "s", "r"),
        operator("Conv", "r k", "e", kernel=1),
        operator("Relu", "e", "g"),
        operator("FC", "g o p", "f"),
        operator("Sigmoid", "f", "y"),
    ]
    for name, shape in {"o": (5, 16 * 5 * 4), "p": (5,)}.items():
        monkeypatch.setitem(WEIGHTS, name, RANDOM.standard_normal(shape).astype(np.float32) / 50)
    plan = plan_of(ops, engine="CUDNN")
    tasks = [(t.label, t.kernel.library) for s in plan.schedules for step in s.steps for t in step]
    assert tasks == [
        *(("c", "cudnn"), ("r", "cudnn"), ("r", ""), ("g", "cudnn"), ("g", "")),
        *(("y", "cublaslt"), ("y", "")),
    ]
    on_card(plan, monkeypatch)
    (want,) = reference(ops, {"x": X}, "y", WEIGHTS)
    np.testing.assert_allclose(plan.run({"x": X})["y"], want, rtol=0, atol=2e-6)


def test_what_a_library_does_not_do_keeps_its_kernel() -> None:
    ops = [*OPS[:1], operator("MaxPool", "c", "y", kernel=2)]
    assert labels(plan_of(ops, engine="CUDNN")) == {"c": "cudnn", "y": ""}
    with pytest.raises(graphc.LoweringError, match="engine CUDNN does not do 'y'") as error:
        plan_of(ops, engine={"y": "CUDNN"})
    assert "are asked for Conv of images" in (error.value.help or "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "EIGEN"}, "the engine of '*' is 'EIGEN'"),
        ({"engine": {"y": "net"}}, "the engine of 'y' is 'net'"),
        ({"engine": {"q": "CUDNN"}}, "requested for 'q', which no operator computes"),
    ],
)
def test_wrong_requests(options: dict[str, Any], message: str) -> None:
    with pytest.raises(graphc.GraphcError) as error:
        plan_of(**options)
    assert message in str(error.value)


def test_options_of_the_command_line() -> None:
    assert parse_engines(("CUDNN", "a=default", "b=c=net")) == {"*": "CUDNN", "a": "default", "b=c": "net"}
    assert parse_engines(()) == {}


def test_a_cpu_has_no_such_engine() -> None:
    predict, init = nets(OPS, {"x": X}, "y", WEIGHTS)
    with pytest.raises(graphc.GraphcError, match="is of cards"):
        graphc.compile(predict, init, target="portable", engine="CUDNN")


def test_calls_are_data_of_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(engine="CUDNN")
    (schedule,) = plan.schedules
    assert parse_schedule(print_schedule(schedule)) == schedule
    assert check_memory(schedule).ok
    on_emulated_card(plan)
    path = str(tmp_path / "net.pkl")
    plan.save(path)
    loaded = graphc.load(path)
    on_card(loaded, monkeypatch)
    (want,) = reference(OPS, {"x": X}, "y", WEIGHTS)
    np.testing.assert_allclose(loaded.run({"x": X})["y"], want, rtol=0, atol=2e-6 * np.abs(want).max())


CALL = LibraryCall(
    CONVOLUTION,
    Operand("f4", (1, 2, 5, 5), (50, 25, 5, 1), 1024),
    Operand("f4", (4, 2, 3, 3), (18, 9, 3, 1), 2048),
    Operand("f4", (4,), (1,), 4096),
    Operand("f4", (1, 4, 3, 3), (36, 9, 3, 1), 8192),
    True,
    (1, 1, 1, 1, 0, 0, 0, 0),
    16384,
    1 << 20,
)


def test_a_call_is_read_back_from_its_task() -> None:
    task = CALL.task("y", 0, 0)
    assert read_call(task.kernel, task.params) == CALL
    spoiled = [
        Task(task.kernel, task.params[:-1], 1),
        Task(task.kernel, (*task.params, 0), 1),
        Task(KernelSpec.make("cudnn", library="cudnn", kinds="f4,f4,f4", bias=1, relu=0), task.params, 1),
        Task(KernelSpec.make("cudnn", library="other", kinds="f4,f4,f4", bias=0, relu=0), task.params, 1),
        Task(KernelSpec.make("cudnn", library="cudnn", kinds="f4,f4,f4,i4", bias=1, relu=0), task.params, 1),
    ]
    for wrong in spoiled:
        with pytest.raises(graphc.PlanError, match="cannot be read"):
            read_call(wrong.kernel, wrong.params)


@pytest.mark.parametrize(("blob", "module", "library"), [("d", "cudnn", "cuDNN"), ("y", "nvmath", "cublasLt")])
def test_without_the_package(blob: str, module: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(engine={blob: "CUDNN"})
    on_card(plan, monkeypatch)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(graphc.GraphcError, match=f"the plan calls {library}, which is not installed") as error:
        plan.run({"x": X})
    assert "graphc[cudnn]" in (error.value.help or "")


def test_no_kernel_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(engine={"y": "CUDNN"})
    *_, lt = on_card(plan, monkeypatch)
    lt.refuse = True
    with pytest.raises(graphc.RunError, match="cublasLt has no kernel for the product that computes 'y'"):
        plan.run({"x": X})
    plan = plan_of(engine={"d": "CUDNN"})
    on_card(plan, monkeypatch)
    monkeypatch.setattr("library_card.Graph.check_support", lambda self: 1 / 0)
    with pytest.raises(graphc.RunError, match="cuDNN 92800 has no kernel for the convolution that computes 'd'"):
        plan.run({"x": X})


def test_what_was_made_in_libraries_is_destroyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions with the executor that uses them, of which there are two here; handles with the card, and last."""
    plan = plan_of(engine="CUDNN")
    card, log, lt = on_card(plan, monkeypatch)
    for batch in (1, 2, 2, 1):
        plan.run({"x": X[:batch]})
    gc.collect()
    assert sorted(lt.alive.values()) == ["handle", *["layout"] * 6, *["product"] * 2]
    assert len(Graph.alive) == 4
    (segment,) = plan.segments
    for lane in segment._idle:
        lane.__init__(plan.code.memory)
    gc.collect()
    assert [*lt.alive.values()] == ["handle"]
    assert not Graph.alive
    plan.run({"x": X})
    assert not any("destroy_handle" in entry for entry in log)
    del plan, segment, lane, card
    gc.collect()
    assert not lt.alive
    assert lt.made == 1 + 3 * 5
    assert log.count("create_handle") == 1
    assert log[-1] == ("destroy_handle", 5, 0)


def test_a_product_that_is_refused_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(engine={"y": "CUDNN"})
    *_, lt = on_card(plan, monkeypatch)
    lt.refuse = True
    with pytest.raises(graphc.RunError):
        plan.run({"x": X})
    gc.collect()
    assert [*lt.alive.values()] == ["handle"]


def test_the_real_front_end_takes_the_description() -> None:
    """It infers the sizes of the result and compares them with what it is told. No driver is needed."""
    cudnn = pytest.importorskip("cudnn", reason="needs pip install 'graphc[cudnn]'", exc_type=ImportError)
    try:
        assert cudnn.backend_version() >= 90000
    except RuntimeError as error:
        pytest.skip(f"the library itself is missing: {error}")
    graph, tensors = runtime_cudnn.describe(cudnn, CALL)
    assert [tuple(t.get_dim()) for t in tensors] == [(1, 2, 5, 5), (4, 2, 3, 3), (1, 4, 1, 1), (1, 4, 3, 3)]
    assert tuple(tensors[-1].get_stride()) == (36, 9, 3, 1)
    assert callable(cudnn.create_handle)
    assert callable(cudnn.destroy_handle)
    for name in ("create_execution_plans", "deselect_numeric_notes", "deselect_workspace_greater_than", "execute"):
        assert callable(getattr(graph, name))
    assert cudnn.numerical_note.TENSOR_CORE is not None


def test_the_real_bindings_have_the_names() -> None:
    pytest.importorskip("nvmath", reason="needs pip install 'graphc[cudnn]'", exc_type=ImportError)
    from nvmath import CudaDataType
    from nvmath.bindings import cublas, cublasLt

    kinds = [int(CudaDataType[name]) for name in ("CUDA_R_32F", "CUDA_R_16F", "CUDA_R_16BF")]
    assert (kinds, int(cublas.ComputeType.COMPUTE_32F)) == ([0, 2, 14], 68)
    assert [int(cublasLt.Epilogue[name]) for name in ("DEFAULT", "RELU", "BIAS", "RELU_BIAS")] == [1, 2, 4, 6]
    assert cublasLt.matmul_heuristic_result_dtype.names[0] == "algo"
    for name in ("destroy", "matrix_layout_destroy", "matmul_desc_destroy", "matmul_preference_destroy"):
        assert callable(getattr(cublasLt, name))
