"""Floats that do not fit an integer: on a card as on a CPU, and as C++ on x86 has them."""

from __future__ import annotations

import ctypes
import math
import re
from typing import Any

import numpy as np
import pytest
from emulated import answers, emulated_plan
from one_net import nets, operator

import graphc
from graphc.backends.cuda.target import find
from graphc.ir import DType
from graphc.ir.opdef import withdraw

STRANGE = [np.nan, np.inf, -np.inf, 3e9, -3e9, 1e20, -1e20, 5e9, 2.0**31, -(2.0**31), 2.0**63, 300.7, -300.7, -1.5]
SMALLEST = -(2**31)
AS_INT32 = [SMALLEST] * 11 + [300, -300, -1]
AS_INT64 = (
    [-(2**63)] * 3 + [3 * 10**9, -3 * 10**9] + [-(2**63)] * 2 + [5 * 10**9, 2**31, SMALLEST, -(2**63), 300, -300, -1]
)
BITS = {DType.UINT8: np.uint8, DType.INT8: np.int8, DType.UINT16: np.uint16, DType.INT16: np.int16}
"""Types shorter than int32, which take its lowest bits."""


@pytest.mark.parametrize("source", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64, *BITS], ids=lambda d: d.name)
def test_cast(source: Any, dtype: DType) -> None:
    """By the emulator, the reference and the CPU, whose answers are those of cvttss2si and cvttsd2si."""
    want = AS_INT64 if dtype is DType.INT64 else np.array(AS_INT32).astype(BITS.get(dtype, np.int32)).tolist()
    ops, inputs = [operator("Cast", "x", "y", to=dtype.value)], {"x": np.array(STRANGE, source)}
    plan, (got,) = answers(ops, inputs, "y")
    assert [k.template for k in plan.kernels] == ["scalars"]
    assert got.tolist() == want
    predict, _ = nets(ops, inputs, "y", {})
    assert graphc.compile_graph(graphc.import_model(predict, None, inputs)).run(inputs)["y"].tolist() == want


def convert(x: np.ndarray, y: np.ndarray) -> None:
    """The loop of an operator of a user."""
    for i in range(x.shape[0]):
        y[i, 0] = int(x[i, 0])
        y[i, 1] = np.int32(x[i, 1])
        y[i, 2] = np.uint8(x[i, 2])
        y[i, 3] = math.floor(x[i, 3])


def test_loops() -> None:
    graphc.register_operator("Convert", convert, inputs="X", outputs="Y")
    try:
        ops, inputs = [operator("Convert", "x", "y")], {"x": np.repeat(np.array(STRANGE)[:, None], 4, 1)}
        plan = emulated_plan(ops, inputs, "y", {})
        assert [k.template for k in plan.kernels] == ["zero", "loop"]
        down = [*AS_INT64[:-2], -301, -2]
        bytes_ = np.array(AS_INT32).astype(np.uint8)
        want = np.stack([AS_INT64, AS_INT32, bytes_, down], 1).astype(np.float64)
        np.testing.assert_array_equal(plan.run(inputs)["y"], want)
        predict, _ = nets(ops, inputs, "y", {})
        np.testing.assert_array_equal(
            graphc.compile_graph(graphc.import_model(predict, None, inputs)).run(inputs)["y"], want
        )
    finally:
        withdraw("Convert")


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("name", ["int8", "uint16", "int32", "int64"])
def test_what_the_compiler_is_given(source: str, name: str) -> None:
    """The instructions for a card, run here with a card's own conversion: the nearest integer, of NaN 0."""
    conversions = pytest.importorskip("graphc.backends.cuda.conversions")
    types, ir, llvm = (pytest.importorskip(m) for m in ("numba.cuda.types", "llvmlite.ir", "llvmlite.binding"))
    target, real = getattr(types, name), ir.FloatType() if source == "float32" else ir.DoubleType()

    class Card(ir.IRBuilder):
        def fptosi(self, value: Any, typ: Any, name: str = "") -> Any:
            called = f"llvm.fptosi.sat.i{typ.width}.f{source[5:]}"
            kind = ir.FunctionType(typ, [real])
            return self.call(ir.Function(self.module, kind, called), [value])

    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.IntType(target.bitwidth), [real]), "f")
    b = Card(function.append_basic_block())
    b.ret(conversions.to_integer(None, b, getattr(types, source), target, function.args[0]))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    with llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine) as engine:
        engine.finalize_object()
        to, of = np.dtype(name), ctypes.c_float if source == "float32" else ctypes.c_double
        made = ctypes.CFUNCTYPE(np.ctypeslib.as_ctypes_type(to), of)(engine.get_function_address("f"))
        want = AS_INT64 if name == "int64" else np.array(AS_INT32).astype(to).tolist()
        assert [made(v) for v in STRANGE] == want


CONVERTING = """
def k(x):
    v = ld_f4(x, 0)
    a = array_u1(x, (4,))
    a[0] = v
    st_i8(x, 1, v)
    st_i4(x, 1, i32(v))
    st_i8(x, 2, int(f8(v)) + np.int8(v))
"""


def test_the_compiler_is_given_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a kernel makes an integer of a float."""
    worker, nvvm = (pytest.importorskip(m) for m in ("graphc.backends.cuda.worker", "numba.cuda.cudadrv.nvvm"))
    read: list[str] = []
    add = nvvm.CompilationUnit.add_module
    monkeypatch.setattr(nvvm.CompilationUnit, "add_module", lambda self, t: (read.append(t.decode()), add(self, t))[1])
    worker.compile_kernel("k", CONVERTING, 32, find("cuda:sm_80"))
    text = "\n".join(read)
    chosen = re.findall(r'(%"[^"]*") = fptosi [^\n]*\n[^\n]*= select [^\n]* \1,', text)
    assert len(chosen) == text.count("fptosi") == 5
    assert "fptoui" not in text
