"""Sums of products on tensor cores in parts, for few results of long sums: a launch for the parts, one to add them up.

Parts lie in the call's workspace as (parts, groups, pixels, maps with padding), float32 or int32. They are added in
their order, so answers do not depend on chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.tensor_product import NAMES, Product, emit_sums
from graphc.backends.cuda.kernels.tensor_tile import size_of
from graphc.backends.cuda.kernels.tilings import parts_for
from graphc.backends.cuda.rules import THREADS, Template, blocks_for
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.cuda.tiling import Problem
from graphc.backends.lines import Lines
from graphc.ir.schedule import Address, KernelSpec, Param, Static, Step, Task

PART = ("groups", "each", "work")
"""each: steps of a part. work: the address of the parts."""
JOIN = ("total", "parts", "work", "groups", "pixels", "packed", "blocks", "maps")
"""packed: maps of a group with padding; blocks: of eight maps, of a group."""


def _code(kind: str) -> str:
    """The code of sums."""
    return "i4" if kind == "u1" else "f4"


def emit_part(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``tensor_part``: sums of some steps; parameters: those of products, ``filling`` for u1, ``PART``."""
    s, product = Lines(), Product.of_spec(spec)
    tile, filling = product.tile, ["filling"] if product.kind == "u1" else []
    with s.block(f"def {spec.name}({', '.join([*NAMES, *filling, *PART])}):"):
        emit_sums(s, product, in_parts=True)
        s("o = (share * groups + group) * pixels * packed + m0")
        for i in range(tile.warp_pixels // 16):
            for half in range(2):
                s(f"p = p0 + {16 * i + 8 * half}")
                with s.block("if p < pixels:"):
                    for j in range(tile.warp_maps // 8):
                        values = ", ".join(f"c{i}_{j}_{2 * half + k}" for k in range(2))
                        s(f"st2_{_code(product.kind)}(work, o + p * packed + {8 * j}, {values})")
    return s.text()


def emit_totals(s: Lines, kind: str) -> None:
    """Code that adds up the parts of two maps of a pixel, by thread ``i`` of the parameters ``JOIN``.

    It sets the pixel ``p``, the group, the first map ``m`` of it, which may not exist, and the sums ``v0``, ``v1``.
    """
    zero = "i32(0)" if kind == "u1" else "f4(0.0)"
    s("p, q = rest(i >> 2, pixels), quot(i >> 2, pixels)")
    s(f"m, group = rest(q, blocks) * {BLOCK} + (i & 3) * 2, quot(q, blocks)")
    s(f"at, v0, v1 = (group * pixels + p) * packed + m, {zero}, {zero}")
    with s.block("for k in range(parts):"):
        s(f"v = ld2_{_code(kind)}(work, at + k * groups * pixels * packed)")
        s("v0, v1 = i32(v0 + v[0]), i32(v1 + v[1])" if kind == "u1" else "v0, v1 = v0 + v[0], v1 + v[1]")


def workspace_of(spec: KernelSpec, problem: Problem, target: CudaTarget) -> int:
    """Bytes of the parts of a choice's kernel, 0 where sums are not cut."""
    if not spec.int("parts"):
        return 0
    tile, size = Product.of_spec(spec).tile, size_of(problem)
    parts = parts_for(tile, problem, target)
    return 4 * parts * size.groups * size.pixels * -(-size.maps // tile.maps) * tile.maps


def product_steps(
    spec: KernelSpec,
    join: KernelSpec,
    sums: Sequence[Param],
    ends: tuple[Sequence[Param], Sequence[Param]],
    problem: Problem,
    where: tuple[Address, CudaTarget],
    said: tuple[str, int, int],
) -> list[Step]:
    """The steps of a product: the kernel ``spec``, or, where it says ``parts``, parts and ``join``.

    sums: parameters of products. ends: further ones of ``spec``, and of ``join`` behind ``JOIN``. where: the
    workspace, and the target. said: label, operations, traffic.
    """
    product, (work, target), (label, flops, traffic) = Product.of_spec(spec), where, said
    tile, size, groups = product.tile, size_of(problem), problem.groups
    units = -(-size.maps // tile.maps) * -(-size.pixels // tile.pixels) * groups
    if not spec.int("parts"):
        return [(Task(spec, (*sums, *ends[0]), blocks_for(units, 1), label, flops, traffic),)]
    parts = parts_for(tile, problem, target)
    packed, blocks = -(-size.maps // tile.maps) * tile.maps, -(-size.maps // BLOCK)
    kernel = KernelSpec.make("tensor_part", **product.static())
    tail = (groups, tile.steps(size.steps, parts), work)
    part = Task(kernel, (*sums, *tail), blocks_for(units * parts, 1), label, flops, traffic)
    total, moved = 4 * blocks * size.pixels * groups, 4 * parts * size.pixels * packed * groups
    joined = (total, parts, work, groups, size.pixels, packed, blocks, size.maps, *ends[1])
    return [(part,), (Task(join, joined, blocks_for(total), label, 0, moved),)]


def join_spec(template: str, spec: KernelSpec, names: Sequence[str]) -> KernelSpec:
    """The kernel that adds up parts, with some parameters of the one that would not have any."""
    kept: dict[str, Static] = {name: spec[name] for name in names}
    return KernelSpec.make(template, threads=THREADS, **kept)


TEMPLATES = (Template("tensor_part", emit_part),)
