"""Kernels for tensor cores as machine code: nothing spilled, and the instructions that they are made for."""

from __future__ import annotations

import pytest
from machine_code import instructions

import graphc
from graphc.backends.cache import KernelCache
from graphc.backends.cuda.compile import compile_kernels, compiler_versions
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.kernels import conv, conv_tile, int8_tensor
from graphc.backends.cuda.kernels.conv_tensor import emit
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.tensor_product import Product
from graphc.backends.cuda.kernels.tensor_tile import TILES, TensorTile
from graphc.backends.cuda.target import find
from graphc.ir.schedule import KernelSpec

REGISTERS = 128
"""As many leave room for 512 threads on a multiprocessor."""
CASES = [("cuda:sm_80", TILES[3], "f2", False), ("cuda:sm_90a", TILES[0], "bf", True)]


@pytest.fixture(autouse=True)
def compiler() -> None:
    try:
        compiler_versions()
    except graphc.GraphcError as error:
        pytest.skip(f"{error.message}: {error.help}")


def compiled(target: str, spec: KernelSpec, source: str) -> Cubin:
    """The machine code of one kernel."""
    store = KernelCache.default()
    return compile_kernels({spec.name: (source, spec.int("threads"))}, find(target), store)[spec.name]


@pytest.mark.parametrize(("target", "tile", "kind", "window"), CASES, ids=str)
def test_convolution(target: str, tile: TensorTile, kind: str, window: bool) -> None:
    epilogue = Epilogue("t0=add(x0,x1);y=max(0.0,t0)", ("same",), (kind,))
    static = {**Product(tile, kind, window).static(), **epilogue.static(), "y": kind, "pairs": 1, "bias": 1}
    spec = KernelSpec.make("conv_tensor", **static)
    cubin = compiled(target, spec, emit(spec, find(target)))
    assert cubin.stack == cubin.spilled == 0
    assert cubin.registers <= REGISTERS
    assert cubin.shared == tile.stages * tile.stage
    found = instructions(cubin.code)
    once = tile.warp_pixels * tile.warp_maps // (16 * 8) * 2  # products of a step: two halves of 16 deep each
    assert found["HMMA"] % once == 0 < found["HMMA"]
    assert found["LDSM"] % (tile.warp_pixels // 16 + tile.warp_maps // 16) == 0 < found["LDSM"]
    assert found["LDGSTS"] > 0
    assert found["STL"] == found["LDL"] == 0


def test_products_of_bytes() -> None:
    product = Product(TILES[3], "u1", window=True)
    spec = KernelSpec.make("int8_tensor", **product.static(), residual=1, to_float=0, pairs=1, parts=0)
    cubin = compiled("cuda:sm_90a", spec, int8_tensor.emit(spec, find("cuda:sm_90a")))
    assert cubin.stack == cubin.spilled == 0
    assert cubin.registers <= REGISTERS
    found = instructions(cubin.code)
    assert found["IMMA"] > 0
    assert found["LDSM"] > 0
    assert found["HMMA"] == 0


def test_a_convolution_that_writes_blocks_of_halves() -> None:
    """The compiler moved products behind the conditions of their stores, where registers do not suffice."""
    epilogue = Epilogue("y=max(0.0,x0)", (), ())
    spec = conv.make_spec(conv_tile.TILES[2], (3, 3), bias=True, epilogue=epilogue, blocks=(1, 8), y="f2")
    cubin = compiled("cuda:sm_90a", spec, conv.emit(spec, find("cuda:sm_90a")))
    assert cubin.stack == cubin.spilled == 0
