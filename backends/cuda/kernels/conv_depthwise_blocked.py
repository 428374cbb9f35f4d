"""Depthwise convolution of blocked images: a thread has the eight channels of a pixel that a block has."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels.conv_depthwise import emit_pixel, emit_taps, needs, parameters, task
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.typed import blocks_of, code_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, is_floating
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Static, Step, View

OWN = ("blocks", "last")
"""last: number of the last channel."""


def pack(weights: np.ndarray) -> np.ndarray:
    """Weights (C, 1, kh, kw) as float32 (blocks, taps, channels of a block), filled up with zeros."""
    taps, blocks = prod(weights.shape[2:]), blocks_of(len(weights), BLOCK)
    padded = np.zeros((blocks * BLOCK, taps), np.float32)
    padded[: len(weights)] = weights.reshape(-1, taps)
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK, taps).transpose(0, 2, 1))


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_depthwise_blocked``; parameters: those of ``conv_depthwise`` with ``OWN``."""
    s, epilogue, taps = Lines(), Epilogue.of_spec(spec), spec.int("kh") * spec.int("kw")
    with each_thread(s, spec, parameters(spec, OWN)):
        emit_pixel(s, "b", "blocks")
        s("from_ = n * xn + b * xc")
        for k in range(BLOCK):
            s(f"v{k} = " + (f"ld_f4(bias, min(b * {BLOCK} + {k}, last))" if spec.int("bias") else "f4(0.0)"))
        for tap in emit_taps(s, spec):
            s(f"e = ld8_{spec['x']}(x, from_ + r * xr + q * xp)")
            s(f"f = ld8_f4(weights, (b * {taps} + {tap}) * {BLOCK})")
            for k in range(BLOCK):
                s(f"v{k} = fma(e[{k}], f[{k}], v{k})")
        for j, code in zip(epilogue.same, _codes_of_same(epilogue)):
            s(f"s{j} = ld8_{code}(e{j}, n * e{j}n + b * e{j}c + oy * e{j}r + ox * e{j}p)")
        results = [_finished(s, epilogue, k) for k in range(BLOCK)]
        s(f"st8_{spec['y']}(y, n * yn + b * yc + oy * yr + ox * yp, {', '.join(results)})")
    return s.text()


def _codes_of_same(epilogue: Epilogue) -> list[str]:
    return [code for kind, code in zip(epilogue.kinds, epilogue.codes) if kind == "same"]


def _finished(s: Lines, epilogue: Epilogue, k: int) -> str:
    """Code for the epilogue of channel ``k`` of the block; the name of the result."""
    values = [f"v{k}"]
    for j, kind, code in zip(epilogue.numbers, epilogue.kinds, epilogue.codes):
        loaded = {
            "same": f"s{j}[{k}]",
            "channel": f"ld_{code}(e{j}, min(b * {BLOCK} + {k}, last))",
            "scalar": f"ld_{code}(e{j}, 0)",
        }[kind]
        s(f"g{j}_{k} = {loaded}")
        values.append(f"g{j}_{k}")
    return epilogue.compute(s, values, f"z{k}_")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    c = ConvCall.read(call, (4,), window)
    if c is None or not c.constant or not is_floating(call):
        return None
    depthwise = c.window.group == c.shape[1] == c.result[1] > 1
    if not depthwise or not c.block_in == c.block_out == BLOCK:
        return None
    (kh, kw), weights = c.window.kernel, elements(call, 1)
    codes = {"x": code_of(call.type(0)), "y": code_of(call.node.results[0].type)}
    static: dict[str, Static] = {"kh": kh, "kw": kw, "bias": int(c.has_bias), "threads": THREADS, **codes}
    spec = KernelSpec.make("conv_depthwise_blocked", **static, **Epilogue.of_call(call).static())
    return Choice("conv_depthwise_blocked", spec, {} if weights is None else {1: pack(weights)})


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    channels = outs[0].type.static_shape[1]
    blocks = blocks_of(channels, BLOCK)
    return [(task(call, choice, ins, outs[0], blocks, (blocks, channels - 1)),)]


RULES = (Rule("conv_depthwise_blocked", ("Conv", "Conv2D"), _choose, needs, _bind, half=True),)
TEMPLATES = (Template("conv_depthwise_blocked", emit),)
