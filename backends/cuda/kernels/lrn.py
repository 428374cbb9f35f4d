"""Local response normalisation of images: a result a thread, which sums the squares of its window itself."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.counting import counting
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.typed import is_readable, place_of_channel
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import nothing
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.precision import PRECISION
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Step, Task, View

PLACES = ("n", "c", "r", "p")
NAMES = (
    *("total", "x", *(f"x{p}" for p in PLACES), "channels", "h", "w", "size", "factor", "beta", "bias"),
    *("y", *(f"y{p}" for p in PLACES)),
)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``lrn{scale, x_block, y_block}``; parameters: ``NAMES``, numbers as bits of float64; then the scales,
    placed like y. x_block, y_block: channels of a block of operand and results."""
    s, scaled, x_block, y_block = Lines(), spec.int("scale"), spec.int("x_block"), spec.int("y_block")
    scales = ["z", *(f"z{p}" for p in PLACES)] if scaled else []
    with each_thread(s, spec, [*NAMES, *scales]):
        s("column, q = rest(i, w), quot(i, w)")
        s("row, q = rest(q, h), quot(q, h)")
        s("c, n = rest(q, channels), quot(q, channels)")
        s("at = n * xn + row * xr + column * xp")
        s("low = c - quot(size - 1, 2)")
        s("squares = f4(0.0)")
        with counting(s, "m", "max(low, 0)", "min(low + size, channels)"):
            s(f"v = ld_f4(x, at + {place_of_channel('m', 'xc', x_block)})")
            s("squares = fma(v, v, squares)")
        s("scale = fma(f4(double(factor)), squares, f4(double(bias)))")
        if scaled:
            s(f"st_f4(z, n * zn + {place_of_channel('c', 'zc', y_block)} + row * zr + column * zp, scale)")
        s(f"value = ld_f4(x, at + {place_of_channel('c', 'xc', x_block)}) * pow(scale, -f4(double(beta)))")
        s(f"st_f4(y, n * yn + {place_of_channel('c', 'yc', y_block)} + row * yr + column * yp, value)")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    x, results = call.type(0), [r.type for r in call.node.results]
    if not is_floating(call) or PRECISION in call.node.attrs or x.rank != 4 or call.arg("order") != "NCHW":
        return None
    if len({r.layout for r in results}) > 1 or not all(map(is_readable, (x, *results))):
        return None
    blocks = {"x_block": x.layout.block, "y_block": results[0].layout.block}
    return Choice("lrn", KernelSpec.make("lrn", scale=len(results) - 1, threads=THREADS, **blocks))


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, size = ins[0], int(call.arg("size"))
    assert choice.spec is not None
    assert x is not None
    require_reach(x, *outs)
    numbers = (float_bits(v) for v in (call.arg("alpha") / size, call.arg("beta"), call.arg("bias")))
    params: list[Param] = [x.type.size, x.address, *image_strides(x), *x.type.static_shape[1:], size, *numbers]
    for out in outs:
        params += [out.address, *image_strides(out)]
    flops, traffic = x.type.size * (2 * size + 2), x.type.nbytes * (1 + len(outs))
    units = blocks_for(x.type.size)
    return [(Task(choice.spec, tuple(params), units, call.node.results[0].name, flops, traffic),)]


RULES = (Rule("lrn", ("LRN",), _choose, nothing, _bind),)
TEMPLATES = (Template("lrn", emit),)
