"""Images between plain and blocked, and into halves on the way: a thread has the eight channels of a pixel that a block
has."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.images import image_strides
from graphc.backends.cuda.kernels.typed import blocks_of, code_of, is_readable, itemsize
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import nothing
from graphc.ir.opdef import Call
from graphc.ir.precision import PRECISION
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Static, Step, Task, View

NAMES = (
    *("total", "x", "xn", "xc", "xr", "xp", "y", "yn", "yc", "yr", "yp"),
    *("blocks", "h", "w", "channels"),
)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``relayout{x, y, blocked}``; parameters: ``NAMES``. x, y: codes of elements. blocked: the result is;
    channels beyond the last one are 0 there."""
    s, x, y = Lines(), str(spec["x"]), str(spec["y"])
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
                    s(f"v{k} = ld_{x}(x, from_ + (b * {BLOCK} + {k}) * xc)")
            s(f"st8_{y}(y, to + b * yc, {', '.join(f'v{k}' for k in range(BLOCK))})")
        else:
            s(f"v = ld8_{x}(x, from_ + b * xc)")
            for k in range(BLOCK):
                with s.block(f"if b * {BLOCK} + {k} < channels:"):
                    s(f"st_{y}(y, to + (b * {BLOCK} + {k}) * yc, v[{k}])")
    return s.text()


def relayout(source: View, target: View) -> Task:
    """The task that copies between a plain and a blocked image, of float32 or halves each."""
    require_reach(source, target)
    n, channels, h, w = source.type.static_shape
    blocks = blocks_of(channels, BLOCK)
    total = n * blocks * h * w
    static: dict[str, Static] = {
        "x": code_of(source.type),
        "y": code_of(target.type),
        "blocked": int(target.type.layout.block == BLOCK),
        "threads": THREADS,
    }
    places: tuple[Param, ...] = (
        *(source.address, *image_strides(source), target.address, *image_strides(target)),
        *(blocks, h, w, channels),
    )
    plain, blocked = (source.type, target.type) if target.type.layout.block == BLOCK else (target.type, source.type)
    nbytes = plain.nbytes + total * BLOCK * itemsize(code_of(blocked))
    return Task(KernelSpec.make("relayout", **static), (total, *places), blocks_for(total), "", 0, nbytes)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    types = [call.type(0), call.node.results[0].type]
    served = is_floating(call) and all(map(is_readable, types)) and types[0].layout != types[1].layout
    return Choice("relayout") if served and PRECISION in call.node.attrs else None


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    assert ins[0] is not None
    return [(relayout(ins[0], outs[0]),)]


RULES = (Rule("relayout", ("g.reorder",), _choose, nothing, _bind, half=True),)
"""Images that become halves on the way; others are what all targets move (``backends/movement.py``)."""
TEMPLATES = (Template("relayout", emit),)
