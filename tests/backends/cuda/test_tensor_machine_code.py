"""Kernels for tensor cores as machine code: nothing spilled, and the instructions that they are made for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from machine_code import instructions, require_compiler

from graphc.backends.cache import KernelCache
from graphc.backends.cuda.compile import compile_kernels
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.kernels import conv, conv_tensor, conv_tile, int8_tensor, matmul_tensor
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.tensor_product import Product
from graphc.backends.cuda.kernels.tensor_tile import PIECES, TILES, TensorTile
from graphc.backends.cuda.target import TARGETS, CudaTarget, find
from graphc.ir.schedule import KernelSpec

Emit = Callable[[KernelSpec, CudaTarget], str]

REGISTERS = 128
"""As many leave room for 512 threads on a multiprocessor."""


@pytest.fixture(autouse=True)
def compiler() -> None:
    require_compiler()


def compiled(target: str, spec: KernelSpec, source: str) -> Cubin:
    """The machine code of one kernel."""
    store = KernelCache.default()
    return compile_kernels({spec.name: (source, spec.int("threads"))}, find(target), store)[spec.name]


def convolution(product: Product) -> tuple[KernelSpec, Emit]:
    """A convolution with bias, a sum with another value, and Relu."""
    kind = "f4" if product.kind == "tf" else product.kind
    epilogue = Epilogue("t0=add(x0,x1);y=max(0.0,t0)", ("same",), (kind,))
    static = {**product.static(), **epilogue.static(), "y": kind, "pairs": 1, "bias": 1}
    return KernelSpec.make("conv_tensor", **static), conv_tensor.emit


def byte_convolution(product: Product) -> tuple[KernelSpec, Emit]:
    """The same of bytes."""
    return KernelSpec.make(
        "int8_tensor", **product.static(), residual=1, to_float=0, pairs=1, parts=0
    ), int8_tensor.emit


PRODUCTS = [
    (Product(TILES[3], "f2", window=False), convolution),
    (Product(TILES[0], "bf", window=True), convolution),
    (Product(TILES[8], "f2", window=True), convolution),
    (Product(TILES[0], "tf", window=True), convolution),
    (Product(TILES[3], "tf", window=False), convolution),
    (Product(TILES[3], "u1", window=True), byte_convolution),
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_step_has_the_products_loads_and_copies_of_its_source(target: str) -> None:
    """As many instructions as the kernel's text has words, which is what the tile asks for; ``turns`` times in the loop
    over steps where the compiler unrolls it."""
    card = find(target)
    made = [(product, *maker(product)) for product, maker in PRODUCTS]
    sources = {spec.name: (emit(spec, card), spec.int("threads")) for _, spec, emit in made}
    cubins = compile_kernels(sources, card, KernelCache.default())
    for product, spec, _ in made:
        tile, cubin, source = product.tile, cubins[spec.name], sources[spec.name][0]
        assert cubin.stack == cubin.spilled == 0
        assert cubin.registers <= REGISTERS
        assert cubin.shared == tile.ring
        halves = 2  # a step is two products deep, of numbers of any size
        products = tile.warp_pixels // 16 * (tile.warp_maps // 8) * halves
        loads = (tile.warp_pixels + tile.warp_maps) // 16 * halves
        copies = (tile.pixels + tile.maps) * PIECES // tile.threads
        words = [source.count(f"mma_{product.kind}("), source.count("matrices("), source.count("copy16(")]
        assert words == [products, loads, copies * (tile.ahead + 1)]  # copies also before the loop
        found = instructions(cubin.code)
        kinds = ("IMMA", "HMMA") if product.kind == "u1" else ("HMMA", "IMMA")
        turns = 1 if product.window else found[kinds[0]] // products
        counts = [found[name] for name in (*kinds, "LDSM", "LDGSTS")]
        assert counts == [turns * products, 0, turns * loads, copies * (tile.ahead + turns)]
        assert 0 < turns <= 4
        assert found["STL"] == found["LDL"] == 0


def matrix_kernels(
    target: str, kind: str, y: str, cases: Sequence[tuple[TensorTile, tuple[int, int]]]
) -> list[tuple[TensorTile, tuple[int, int], str, Cubin]]:
    """Of MatMul, another value added, and Relu: tile, which operands lie along the sum, source, machine code."""
    epilogue = Epilogue("t0=add(x0,x1);y=max(0.0,t0)", ("same",), (y,))
    static = {"kind": kind, "y": y, "pairs": 1, "bias": 0, **epilogue.static()}
    sources = {}
    for tile, along in cases:
        given = {"threads": tile.threads, "x_along": along[0], "w_along": along[1], **tile.static(), **static}
        spec = KernelSpec.make("matmul_tensor", **given)
        sources[spec.name] = tile, along, matmul_tensor.emit(spec, find(target))
    texts = {name: (text, tile.threads) for name, (tile, _, text) in sources.items()}
    cubins = compile_kernels(texts, find(target), KernelCache.default())
    return [(tile, along, text, cubins[name]) for name, (tile, along, text) in sources.items()]


@pytest.mark.parametrize("target", TARGETS)
def test_matrices_as_they_lie(target: str) -> None:
    """The same of MatMul, whose operands are turned where they have to be."""
    kernels = matrix_kernels(target, "f2", "f2", ((TILES[0], (1, 0)), (TILES[1], (1, 1)), (TILES[3], (0, 1))))
    for tile, along, text, cubin in kernels:
        found = instructions(cubin.code)
        assert cubin.stack == cubin.spilled == found["STL"] == found["LDL"] == 0
        assert cubin.registers <= REGISTERS
        products, loads = tile.warp_pixels // 16 * (tile.warp_maps // 8) * 2, (tile.warp_pixels, tile.warp_maps)
        turned = [side // 16 * 2 for side, is_along in zip(loads, along) if not is_along]
        assert text.count("turned_matrices(") == sum(turned)
        copies, turns = (tile.pixels + tile.maps) * PIECES // tile.threads, found["HMMA"] // products
        assert 0 < turns <= 4
        counts = [found[name] for name in ("HMMA", "LDSM", "LDGSTS")]
        assert counts == [turns * products, turns * sum(loads) // 8, copies * (tile.ahead + turns)]


WORDS = """
def k(x, y):
    t = thread()
    s = shared(128)
    copy16(s + 16 * t, x + 16 * t, 16)
    commit()
    wait(0)
    barrier()
    p, q = matrices(s + 16 * t), turned_matrices(s + 16 * t)
    c = mma_f2(p[0], p[1], p[2], p[3], q[0], q[1], f4(0.0), f4(0.0), f4(0.0), f4(0.0))
    d = mma_bf(p[0], p[1], p[2], p[3], p[0], p[1], c[0], c[1], c[2], c[3])
    e = mma_u1(p[0], p[1], p[2], p[3], p[0], p[1], i32(0), i32(0), i32(0), i32(0))
    st_f4(y, t, swap(d[0], 1) + f4(e[0]))
"""
ASSEMBLY = re.compile(r'asm +(sideeffect )?"([a-z]+)\.([a-z_]+)[^"]*", *"([^"]*)" *\(.*\)(.*)$', re.MULTILINE)


def test_llvm_is_told_what_it_may_not_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the text that NVVM reads and takes: what threads have to reach together goes under no other condition, and
    what touches memory keeps its place."""
    worker, nvvm = (pytest.importorskip(m) for m in ("graphc.backends.cuda.worker", "numba.cuda.cudadrv.nvvm"))
    read: list[str] = []
    add = nvvm.CompilationUnit.add_module

    def noted(self: Any, text: bytes) -> Any:
        read.append(text.decode())
        return add(self, text)

    monkeypatch.setattr(nvvm.CompilationUnit, "add_module", noted)
    worker.compile_kernel("k", WORDS, 32, find("cuda:sm_80"))
    found = ASSEMBLY.findall("\n".join(read))
    assert Counter(name for _, name, *_ in found) == {"cp": 3, "ldmatrix": 2, "mma": 3}
    for effect, name, part, clobbers, attributes in found:
        assert ("convergent" in attributes) == (part == "sync"), name
        assert bool(effect) == ("~{memory}" in clobbers) == (name != "mma"), name


@pytest.mark.parametrize("tile", conv_tile.TILES[2:4], ids=str)
def test_a_convolution_that_writes_blocks_of_halves(tile: conv_tile.Tile) -> None:
    """The compiler moved products behind the conditions of their stores, where registers do not suffice."""
    epilogue = Epilogue("y=max(0.0,x0)", (), ())
    spec = conv.make_spec(tile, (3, 3), bias=True, epilogue=epilogue, blocks=(1, 8), y="f2")
    cubin = compiled("cuda:sm_90a", spec, conv.emit(spec, find("cuda:sm_90a")))
    assert cubin.stack == cubin.spilled == 0
    assert cubin.registers <= REGISTERS
