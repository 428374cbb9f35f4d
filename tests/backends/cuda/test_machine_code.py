"""Kernels compiled to machine code without a card: nothing spilled, registers within bounds. Needs the extra cuda."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from emulated import emulated_plan
from float_nets import NETS, float_net
from machine_code import require_compiler
from one_net import operator

import graphc
from graphc.backends.cache import KernelCache
from graphc.backends.cuda.compile import Source, compile_kernels
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.pointwise import SCALAR
from graphc.backends.cuda.target import TARGETS, find
from graphc.plan import Plan

REGISTERS = 128
"""As many leave room for two blocks of 256 threads on a multiprocessor."""
OCCUPANCY = 0.25
CODE = 200_000
"""Bytes of machine code of a kernel at most: none is unrolled beyond measure."""


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    require_compiler()


def data(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


IMAGE = {"x": data(2, 6, 9, 9)}
CHANNELS = {"s": data(6), "b": data(6)}
LONG = {"w": data(256, 256, 3, 3), "b": data(256)}
MANY = {"x": data(64, 16, 56, 56), "r": data(64, 256, 56, 56), "q": data(64, 256, 56, 56)}
FAMILIES = {
    "sums with another value": (
        [operator("Conv", "x w b", "y", kernel=1), operator("Add", "y r", "z")],
        {"x": MANY["x"], "r": MANY["r"]},
        {"w": data(256, 16, 1, 1), "b": data(256)},
    ),
    "sums with two others": (
        [operator("Conv", "x w", "y", kernel=1), operator("Add", "y r", "z"), operator("Add", "z q", "a")],
        MANY,
        {"w": data(256, 16, 1, 1)},
    ),
    "convolution": ([operator("Conv", "x w b", "y", kernel=3)], IMAGE, {"w": data(8, 6, 3, 3), "b": data(8)}),
    "depthwise": ([operator("Conv", "x w", "y", kernel=3, group=6)], IMAGE, {"w": data(6, 1, 3, 3)}),
    "transposed": ([operator("ConvTranspose", "x w", "y", kernel=2, stride=2)], IMAGE, {"w": data(6, 4, 2, 2)}),
    "product": ([operator("MatMul", "x w", "y")], {"x": data(9, 40), "w": data(40, 9)}, {}),
    "large products": (
        [
            operator("MatMul", "x w", "y"),
            operator("Add", "y x", "z"),
            operator("MatMul", "x w", "u", trans_a=1, trans_b=1),
            operator("MatMul", "o p", "v", trans_b=1),
        ],
        {"x": data(2048, 2048), "w": data(2048, 2048), "o": data(2001, 2001), "p": data(2001, 2001)},
        {},
    ),
    "gradients of a convolution": (
        [
            operator("Conv", "x w b", "c", kernel=3, pad=1),
            operator("Add", "c r", "y"),
            operator("ConvGradient", "x w r", "dw db", kernel=3, pad=1),
            operator("ConvTranspose", "x w b", "t", kernel=3, pad=1),
        ],
        {"x": data(8, 128, 30, 30), "w": data(128, 128, 3, 3), "b": data(128), "r": data(8, 128, 30, 30)},
        {},
    ),
    "FC": ([operator("FC", "x w b", "y")], {"x": data(3, 20)}, {"w": data(9, 20), "b": data(9)}),
    "pooling": ([operator("MaxPool", "x", "y", kernel=2), operator("AveragePool", "y", "z", kernel=2)], IMAGE, {}),
    "softmax": ([operator("Softmax", "x", "y")], {"x": data(3, 40)}, {}),
    "LRN": ([operator("LRN", "x", "y s", size=3, alpha=1.0, beta=0.5)], IMAGE, {}),
    "normalisation": ([operator("GroupNorm", "x s b", "y m d", group=2)], IMAGE | CHANNELS, {}),
    "normalisation in pieces": (
        [operator("InstanceNorm", "x s b", "y")],
        {"x": data(1, 6, 99, 99)} | CHANNELS,
        {},
    ),
    "pointwise": ([operator("Tanh", "x", "a"), operator("Pow", "a", "y", exponent=1.7)], IMAGE, {}),
    "broadcast": ([operator("Mul", "x s", "y", broadcast=1, axis=1)], IMAGE | {"s": data(6)}, {}),
    "numbers": (
        [
            operator("Mul", "l l", "y"),
            operator("Div", "d d", "q"),
            operator("LE", "x x", "m"),
            operator("Not", "m", "n"),
            operator("Negative", "i", "j"),
            operator("Cast", "x", "c", to=2),
        ],
        IMAGE | {"l": np.ones(9, np.int64), "d": np.ones(9), "i": np.ones(9, np.int32)},
        {},
    ),
    "few results": ([operator("Conv", "x w b", "y", kernel=3)], {"x": data(1, 256, 7, 7)}, LONG),
    "reduction": ([operator("ReduceL2", "x", "y", axes=[2, 3])], IMAGE, {}),
    "reduction of columns": ([operator("ReduceMax", "x", "y", axes=[0])], {"x": data(50, 37)}, {}),
    "long reduction": ([operator("ReduceSum", "x", "y", axes=[0, 1])], {"x": data(90, 100)}, {}),
    "transposition": ([operator("Transpose", "x", "y")], {"x": data(40, 70)}, {}),
    "copy": ([operator("Transpose", "x", "y")], {"x": data(4, 5)}, {}),
    "runs in blocks": (
        [
            operator("PackSegments", "n r", "p m", pad_minf=1),
            operator("PackSegments", "n b", "q"),
            operator("UnpackSegments", "n r3", "u"),
            operator("PackRNNSequence", "r n", "s"),
            operator("LengthsTile", "r n", "t"),
            *(operator(f"LengthsTo{name}", "n", name) for name in ("SegmentIds", "Weights", "Ranges", "Offsets")),
            operator("LengthsRangeFill", "n", "f"),
        ],
        {"n": np.ones(9, np.int32), "r": data(9, 3), "b": np.ones((9, 2)), "r3": data(9, 9, 3)},
        {},
    ),
    "border": ([operator("PadImage", "x", "y", pad=2, mode="reflect")], IMAGE, {}),
}


def sources(plan: Plan) -> dict[str, Source]:
    """The kernels for the card, by name."""
    return {s.name: (plan.code.source(s), s.int("threads")) for s in plan.codes[plan.code]}


def family(name: str, target: str) -> dict[str, Source]:
    """The kernels of a family's net: of blobs that no operator reads."""
    ops, inputs, weights = FAMILIES[name]
    read = {blob for op in ops for blob in op.inputs}
    outputs = [blob for op in ops for blob in op.outputs[:1] if blob not in read]
    return sources(emulated_plan(ops, inputs, " ".join(outputs), weights, target))


def compiled(kernels: Mapping[str, Source], target: str) -> dict[str, Cubin]:
    """The machine code, and that it is good."""
    made = compile_kernels(kernels, find(target), KernelCache.default())
    for cubin in made.values():
        assert cubin.code.startswith(b"\x7fELF")
        assert cubin.stack == cubin.spilled == 0, cubin.name
        assert cubin.registers <= REGISTERS, cubin.name
        assert cubin.occupancy(find(target).shared) >= OCCUPANCY, cubin.name
        assert len(cubin.code) <= CODE, cubin.name
    return made


@pytest.mark.parametrize("target", TARGETS)
def test_every_family_fits_the_registers(target: str) -> None:
    kernels = {name: family(name, target) for name in FAMILIES}
    assert all(kernels.values())
    compiled({name: source for found in kernels.values() for name, source in found.items()}, target)


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_of_real_nets_fit_the_registers(target: str, shared: Path) -> None:
    """Some seventy-five kernels; eight times as many layers share them."""
    kernels: dict[str, Source] = {}
    layers = 0
    for name in NETS:
        files, inputs = float_net(shared, name)
        plan = graphc.compile_graph(graphc.import_model(*files, inputs), target=target, prepare=False)
        assert not any(part.host or part.beside for part in plan.cut.parts), name
        found = sources(plan)
        layers += sum(len(schedule.steps) for schedule in plan.schedules)
        kernels |= found
    made = compiled(kernels, target)
    print(f"{target}: {len(made)} kernels, {layers} steps")
    assert len(made) == len(kernels) < layers / 7


def test_nets_share_machine_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one net had compiled, the next one finds: a kernel's text has no sizes."""
    store, target = KernelCache(tmp_path), "cuda:sm_90a"
    first = sources(emulated_plan([operator("Softmax", "x", "y")], {"x": data(3, 40)}, "y", {}, target))
    assert compile_kernels(first, find(target), store).keys() == first.keys()
    second = sources(emulated_plan([operator("Softmax", "x", "z")], {"x": data(2, 5, 77)}, "z", {}, target))
    monkeypatch.setattr("subprocess.run", lambda *args, **options: pytest.fail("a compiler was started"))
    assert compile_kernels(second, find(target), store).keys() == first.keys()


def test_every_pointwise_operation_compiles(tmp_path: Path) -> None:
    lines = ["def spellings(y, x):", "    i = thread()", "    a = ld_f4(x, i)", "    m = isnan(a)"]
    for k, (name, spelling) in enumerate(SCALAR.items()):
        values = {"where": "maa", "both": "mm", "either": "mm", "negate": "m"}.get(name, "aaa")
        lines += [f"    t{k} = {spelling.format(*values)}"]
        truth = name in ("lt", "le", "eq", "isnan", "both", "either", "negate")
        lines += [f"    a = where(t{k}, a, f4(2.0))" if truth else f"    a = t{k}"]
    source = "\n".join([*lines, "    st_f4(y, i, a)", ""])
    compile_kernels({"spellings": (source, 256)}, find("cuda:sm_90a"), KernelCache(tmp_path))
