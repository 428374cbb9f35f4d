"""Kernels of products by four warps as machine code: products beside copies, none of them made to wait."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from machine_code import instructions
from test_tensor_machine_code import compiled, compiler

from graphc.backends.cuda.kernels import conv_tensor, int8_tensor
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.tensor_product import Product
from graphc.backends.cuda.kernels.warpgroup_tile import TILES, WarpgroupTile
from graphc.backends.cuda.target import find
from graphc.ir.schedule import KernelSpec

TARGET = "cuda:sm_90a"
REGISTERS = 128
"""Of a thread of 512, which are all that a multiprocessor has."""
__all__ = ["compiler"]  # the fixture that skips where there is no compiler


FLOATS = [(TILES[0], "f2", True), (TILES[3], "bf", False), (TILES[0], "tf", True)]


@pytest.mark.parametrize(("tile", "kind", "window"), FLOATS, ids=str)
def test_floats(tile: WarpgroupTile, kind: str, window: bool) -> None:
    code = "f4" if kind == "tf" else kind
    epilogue = Epilogue("t0=add(x0,x1);y=max(0.0,t0)", ("same",), (code,))
    static = {**Product(tile, kind, window).static(), **epilogue.static(), "y": code, "pairs": 1, "bias": 1}
    spec = KernelSpec.make("conv_tensor", **static)
    check(spec, conv_tensor.emit(spec, find(TARGET)), tile, "HGMMA")


def test_bytes() -> None:
    product = Product(TILES[2], "u1", window=True)
    spec = KernelSpec.make("int8_tensor", **product.static(), residual=1, to_float=0, pairs=1, parts=0)
    check(spec, int8_tensor.emit(spec, find(TARGET)), TILES[2], "IGMMA")


SWISH = "t0=sigmoid(x0);y=mul(x0,t0)"
# what nets have behind convolutions, one after another: hard swish, Mish, quotients, the root of one
OTHERS = """
t1=add(x0,3.0);t2=max(0.0,t1);t3=min(6.0,t2);t4=div(t3,6.0);t5=mul(x0,t4)
t6=exp(t5);t7=add(t6,1.0);t8=log(t7);t9=tanh(t8);t10=mul(t5,t9)
t11=div(t10,x1);t12=div(1.0,t11);t13=sqrt(t12);y=pow(t13,1.5)
"""


@pytest.mark.parametrize(("tile", "text"), [(TILES[0], SWISH), (TILES[6], ";".join(OTHERS.split()))], ids=str)
def test_no_epilogue_has_products_wait(tile: WarpgroupTile, text: str) -> None:
    """None of its words is a call of a subroutine, before which the compiler would wait for each product."""
    kinds = ("same",) if "x1" in text else ()
    epilogue = Epilogue(text, kinds, ("f2",) * len(kinds))
    static = {**Product(tile, "f2", True).static(), **epilogue.static(), "y": "f2", "pairs": 1, "bias": 1}
    spec = KernelSpec.make("conv_tensor", **static)
    check(spec, conv_tensor.emit(spec, find(TARGET)), tile, "HGMMA")


def check(spec: KernelSpec, source: str, tile: WarpgroupTile, name: str) -> None:
    """Four products in the loop, copies ahead and in it; what the compiler says when it adds waits is not there."""
    cubin = compiled(TARGET, spec, source)
    assert cubin.stack == cubin.spilled == cubin.serialized == 0
    assert cubin.registers <= REGISTERS
    assert cubin.shared == tile.ring == spec.shared > 48 << 10
    found = instructions(cubin.code)
    assert found[name] == 4
    assert found["WARPGROUP"] == 3  # one fence, a wait in the loop, one behind it
    each = -(-4 * tile.pixels // tile.threads) + -(-4 * tile.maps // tile.threads)
    assert found["LDGSTS"] == each * (tile.ahead + tile.together)
    assert found["HMMA"] == found["IMMA"] == found["LDSM"] == found["STL"] == found["LDL"] == 0


def test_a_product_that_has_to_wait_is_told() -> None:
    """Sums that a thread reads while products are under way."""
    source = """
def k(y):
    ring = shared(4096)
    sums = zeros_f4(32)
    wgmma_fence()
    for i in range(y & 7):
        sums = wgmma_f2(sums, descriptor(ring, 1024, 128), descriptor(ring + 2048, 1024, 128))
        wgmma_commit()
        st_f4(y, thread(), sums[0])
        sums = wgmma_wait(sums, 1)
    sums = wgmma_wait(sums, 0)
    st_f4(y, thread(), sums[1])
"""
    spec = KernelSpec.make("k", threads=128)
    assert compiled(TARGET, spec, source.replace("def k", f"def {spec.name}")).serialized > 0


WRITTEN = {
    "f2": "k16.f32.f16.f16 {}, D, D, 1, 1, 1, 0, 0;",
    "bf": "k16.f32.bf16.bf16 {}, D, D, 1, 1, 1, 0, 0;",
    "tf": "k8.f32.tf32.tf32 {}, D, D, 1, 1, 1;",
}
"""Products as the PTX ISA writes them: depth and types; sums; descriptors; that sums are added to, that no operand is
negated and, of halves, that none is transposed."""


def test_products_are_written_as_in_the_isa(monkeypatch: pytest.MonkeyPatch) -> None:
    """What neither the emulator nor a count of instructions sees."""
    worker = importlib.import_module("graphc.backends.cuda.worker")
    texts: list[str] = []

    def kept(name: str, ptx: str, target: Any) -> dict[str, Any]:
        texts.append(ptx)
        return {"spilled": 0}

    monkeypatch.setattr(worker, "_link", kept)
    monkeypatch.setattr(worker.dispatcher, "get_current_device", None)
    lines = ["ring, sums = shared(1024), zeros_f4(16)", "a = descriptor(ring, 1024, 128)", "wgmma_fence()"]
    lines += [*(f"sums = wgmma_{kind}(sums, a, a)" for kind in WRITTEN), "wgmma_commit()", "sums = wgmma_wait(sums, 0)"]
    source = "\n    ".join(["def k(y):", *lines, "st_f4(y, thread(), sums[0])\n"])
    worker.compile_kernel("k", source, 128, find(TARGET))
    found = re.findall(r"wgmma\.mma_async\.sync\.aligned\.m64n32(.*?;)", texts[0])
    assert [re.sub(r"%rd\d+", "D", re.sub(r"{.*?}", "{}", text)) for text in found] == list(WRITTEN.values())
