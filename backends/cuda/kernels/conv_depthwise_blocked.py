"""Depthwise convolution of blocked images: a thread has the eight channels of a pixel that a block has."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from graphc.backends.conv_call import ConvCall
from graphc.backends.cuda.kernels.epilogue import Epilogue
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.typed import blocks_of, code_of
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.weights import elements
from graphc.ir.opdef import Call
from graphc.ir.ops._window import window
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Static, Step, Task, View

NAMES = (
    *("total", "x", "xn", "xc", "xr", "xp", "weights", "y", "yn", "yc", "yr", "yp"),
    *("blocks", "last", "oh", "ow", "h", "w", "sh", "sw", "dh", "dw", "pt", "pl"),
)
"""last: number of the last channel."""


def pack(weights: np.ndarray) -> np.ndarray:
    """Weights (C, 1, kh, kw) as float32 (blocks, taps, channels of a block), filled up with zeros."""
    taps, blocks = prod(weights.shape[2:]), blocks_of(len(weights), BLOCK)
    padded = np.zeros((blocks * BLOCK, taps), np.float32)
    padded[: len(weights)] = weights.reshape(-1, taps)
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK, taps).transpose(0, 2, 1))


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``conv_depthwise_blocked``; parameters: ``NAMES``, the bias where there is one, the epilogue's."""
    s, epilogue = Lines(), Epilogue.of_spec(spec)
    kh, kw, bias = spec.int("kh"), spec.int("kw"), ["bias"] if spec.int("bias") else []
    with s.block(f"def {spec.name}({', '.join([*NAMES, *bias, *epilogue.arguments()])}):"):
        s(f"i = i64(block()) * {spec['threads']} + thread()")
        with s.block("if i < total:"):
            s("ox, q = rest(i, ow), quot(i, ow)")
            s("oy, q = rest(q, oh), quot(q, oh)")
            s("b, n = rest(q, blocks), quot(q, blocks)")
            s("row, column = oy * sh - pt, ox * sw - pl")
            s("from_ = n * xn + b * xc")
            for k in range(BLOCK):
                s(f"v{k} = " + (f"ld_f4(bias, min(b * {BLOCK} + {k}, last))" if bias else "f4(0.0)"))
            for a in range(kh):
                s(f"r = row + {a} * dh")
                for c in range(kw):
                    s(f"q = column + {c} * dw")
                    with s.block("if (r >= 0) & (r < h) & (q >= 0) & (q < w):"):
                        s(f"e = ld8_{spec['x']}(x, from_ + r * xr + q * xp)")
                        s(f"f = ld8_f4(weights, (b * {kh * kw} + {a * kw + c}) * {BLOCK})")
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


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=Epilogue.of_call(call).dense_operands(call) | {1, 2})


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    (x, weights), y, w = ins[:2], outs[0], window(call)
    assert choice.spec is not None
    assert x is not None
    assert weights is not None
    require_reach(x, y)
    (n, c, oh, ow), image = y.type.static_shape, x.type.static_shape[2:]
    blocks = blocks_of(c, BLOCK)
    total = n * blocks * oh * ow
    bias = [v.address for v in ins[2:3] if v is not None and choice.spec.int("bias")]
    places: tuple[Param, ...] = (x.address, *image_strides(x), weights.address, y.address, *image_strides(y))
    sizes = (blocks, c - 1, oh, ow, *image, *w.stride, *w.dilation, *w.heads)
    params = (total, *places, *sizes, *bias, *Epilogue.of_spec(choice.spec).params(call, ins))
    flops, traffic = 2 * y.type.size * prod(w.kernel), sum(v.type.nbytes for v in (x, weights, y))
    return [(Task(choice.spec, params, blocks_for(total), call.node.results[0].name, flops, traffic),)]


RULES = (Rule("conv_depthwise_blocked", ("Conv", "Conv2D"), _choose, _needs, _bind, half=True),)
TEMPLATES = (Template("conv_depthwise_blocked", emit),)
