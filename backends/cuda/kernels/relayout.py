"""Images between plain and blocked: a thread has the eight channels of a pixel that a block has."""

from __future__ import annotations

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.typed import blocks_of, code_of
from graphc.backends.cuda.rules import THREADS, Template, blocks_for, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.ir.schedule import KernelSpec, Param, Static, Task, View

NAMES = (
    *("total", "x", "xn", "xc", "xr", "xp", "y", "yn", "yc", "yr", "yp"),
    *("blocks", "h", "w", "channels"),
)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``relayout{code, blocked}``; parameters: ``NAMES``. blocked: the result is; channels beyond the last
    one are 0 there."""
    s, code = Lines(), str(spec["code"])
    with each_thread(s, spec, NAMES):
        s("column, q = rest(i, w), quot(i, w)")
        s("row, q = rest(q, h), quot(q, h)")
        s("b, n = rest(q, blocks), quot(q, blocks)")
        s("from_ = n * xn + row * xr + column * xp")
        s("to = n * yn + row * yr + column * yp")
        if spec.int("blocked"):
            for k in range(BLOCK):
                s(f"v{k} = f4(0.0)")
                with s.block(f"if b * {BLOCK} + {k} < channels:"):
                    s(f"v{k} = ld_{code}(x, from_ + (b * {BLOCK} + {k}) * xc)")
            s(f"st8_{code}(y, to + b * yc, {', '.join(f'v{k}' for k in range(BLOCK))})")
        else:
            s(f"v = ld8_{code}(x, from_ + b * xc)")
            for k in range(BLOCK):
                with s.block(f"if b * {BLOCK} + {k} < channels:"):
                    s(f"st_{code}(y, to + (b * {BLOCK} + {k}) * yc, v[{k}])")
    return s.text()


def relayout(source: View, target: View) -> Task:
    """The task that copies between a plain and a blocked image of float32 or halves."""
    require_reach(source, target)
    n, channels, h, w = source.type.static_shape
    blocks = blocks_of(channels, BLOCK)
    total = n * blocks * h * w
    static: dict[str, Static] = {
        "code": code_of(source.type),
        "blocked": int(target.type.layout.block == BLOCK),
        "threads": THREADS,
    }
    places: tuple[Param, ...] = (
        *(source.address, *image_strides(source), target.address, *image_strides(target)),
        *(blocks, h, w, channels),
    )
    nbytes = 2 * source.type.nbytes
    return Task(KernelSpec.make("relayout", **static), (total, *places), blocks_for(total), "", 0, nbytes)


TEMPLATES = (Template("relayout", emit),)
