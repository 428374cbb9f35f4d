"""RoIAlign: a thread for each element of the result, neighbours along the rows of a bin.

An element is the mean of its bin's samples, each of four pixels. Samples are added in their order, row by row, and of
one the weights are products of those of its row and its column, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_float32, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.rules import float_bits
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Step, Task, View

PARAMS: tuple[str, ...] = (
    "total",
    "x",
    "rois",
    "y",
    "images",
    "channels",
    "height",
    "width",
    "image",
    "channel",
    "pixel",
    "sides",
)
PARAMS += ("bins_y", "bins_x", "out_channel", "out_bin", "ratio", "aligned", "scale", "status")
"""image, channel, pixel: distances of elements of x; out_channel, out_bin: of y. sides: numbers of a box, 5 with its
image. ratio: samples of a bin along each side, 0: as many as it has pixels. scale: bits of a float64."""
BAD_IMAGE, BAD_BOX = 1, 2
"""The numbers of these errors in the record."""
MOST = 65536
"""Samples of a bin along a side."""


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``roi_align``; parameters: ``PARAMS``."""
    s = Lines()
    with s.block(f"def {spec.name}({', '.join(PARAMS)}):"):
        s(f"t = i64(block()) * {spec.int('threads')} + thread()")
        with s.block("if t >= total:"):
            s("return")
        s("q, rest_ = rest(t, bins_x), quot(t, bins_x)")
        s("p, rest_ = rest(rest_, bins_y), quot(rest_, bins_y)")
        s("c, i = rest(rest_, channels), quot(rest_, channels)")
        _box(s)
        s(f"if (ratio <= 0) & ((rows > f4({MOST})) | (columns > f4({MOST}))):")
        s(f"    fail(status, {BAD_BOX})")
        s("    return")
        s("n, m = i64(rows), i64(columns)")
        s("each = div(f4(1.0), f4(max(n, 1))) * div(f4(1.0), f4(max(m, 1)))")
        s("plane, total_ = x + 4 * (number * image + c * channel), f4(0.0)")
        with s.block("for k in range(n):"):
            _sample(s, "y", "k", "p", "n", "bins_y", "height")
            with s.block("if inside_y:"), s.block("for l in range(m):"):
                _sample(s, "x", "l", "q", "m", "bins_x", "width")
                with s.block("if inside_x:"):
                    pixels = ("low_y", "low_x"), ("low_y", "high_x"), ("high_y", "low_x"), ("high_y", "high_x")
                    for a, b in pixels:
                        weights = f"{'part_y' if a[0] == 'h' else '(f4(1.0) - part_y)'}"
                        weights += f" * {'part_x' if b[0] == 'h' else '(f4(1.0) - part_x)'}"
                        s(f"total_ = fma({weights}, ld_f4(plane, ({a} * width + {b}) * pixel), total_)")
        s("place = i * channels * bins_y * bins_x + c * out_channel + (p * bins_x + q) * out_bin")
        s("st_f4(y, place, total_ * each)")
    return s.text()


def _box(s: Lines) -> None:
    """The box of this thread: its image, corner, size, and the samples of a bin as floats."""
    s("box, number = rois + 4 * sides * i, i64(0)")
    with s.block("if sides == 5:"):
        s("given = ld_f4(box, 0)")
        with s.block("if no((given > f4(-1.0)) & (given < f4(images))):"):
            s(f"fail(status, {BAD_IMAGE})")
            s("return")
        s("number = i64(given)")
    with s.block("if images == 0:"):
        s(f"fail(status, {BAD_IMAGE})")
        s("return")
    s("first, unit = sides - 4, f4(double(scale))")
    s("shift = f4(0.5) if aligned != 0 else f4(0.0)")
    for k, name in enumerate(("x0", "y0", "x1", "y1")):
        s(f"{name} = ld_f4(box, first + {k}) * unit - shift")
    s("w, h = x1 - x0, y1 - y0")
    with s.block("if aligned == 0:"):
        s("w, h = (w if w > f4(1.0) else f4(1.0)), (h if h > f4(1.0) else f4(1.0))")
    s("good = (w >= f4(0.0)) & (w < f4(1e30)) & (h >= f4(0.0)) & (h < f4(1e30))")
    with s.block("if no(good & (absolute(x0) < f4(1e9)) & (absolute(y0) < f4(1e9))):"):
        s(f"fail(status, {BAD_BOX})")
        s("return")
    s("rows, columns = f4(ratio), f4(ratio)")
    with s.block("if ratio <= 0:"):
        s("rows, columns = ceil(div(h, f4(bins_y))), ceil(div(w, f4(bins_x)))")


def _sample(s: Lines, axis: str, k: str, b: str, count: str, bins: str, length: str) -> None:
    """Sample k of bin b along an axis: the two pixels, the share of the upper one, and whether it is inside."""
    start, size = f"{axis}0", {"x": "w", "y": "h"}[axis]
    s(f"step_{axis} = div({size}, f4({bins}))")
    s(f"at_{axis} = {start} + f4({b}) * step_{axis} + div((f4({k}) + f4(0.5)) * step_{axis}, f4({count}))")
    s(f"inside_{axis} = (at_{axis} >= f4(-1.0)) & (at_{axis} <= f4({length}))")
    s(f"at_{axis} = at_{axis} if at_{axis} > f4(0.0) else f4(0.0)")
    s(f"low_{axis} = min(i64(at_{axis}), {length} - 1)")
    s(f"high_{axis} = min(low_{axis} + 1, {length} - 1)")
    s(f"part_{axis} = at_{axis} - f4(low_{axis}) if high_{axis} > low_{axis} else f4(0.0)")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if not is_float32(call) or 0 in call.type(0).static_shape[1:]:
        return None
    return Choice("roi_align", KernelSpec.make("roi_align", threads=THREADS))


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    return Needs(dense=frozenset({0, 1}), dense_out=True)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    x, rois, y = ins[0], ins[1], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert rois is not None
    require_reach(x, rois, y)
    scale, bins_y, bins_x, ratio, aligned = call.opdef.loop_arguments(call)[1:]
    last = call.arg("order") == "NHWC"
    shape = x.type.static_shape
    channels, height, width = (shape[3], shape[1], shape[2]) if last else shape[1:]
    strides = (1, channels, 1, channels) if last else (height * width, 1, bins_y * bins_x, 1)
    params = (
        *(y.type.size, x.address, rois.address, y.address, shape[0], channels, height, width),
        *(channels * height * width, *strides[:2], rois.type.static_shape[1], bins_y, bins_x, *strides[2:]),
        *(ratio, int(aligned), float_bits(scale), Address("status")),
    )
    traffic = x.type.nbytes + y.type.nbytes
    task = Task(choice.spec, params, blocks_for(y.type.size), call.node.results[0].name, 8 * y.type.size, traffic)
    return [(task,)] if y.type.size else []


RULES = (Rule("roi_align", ("RoIAlign",), _choose, _needs, _bind),)
TEMPLATES = (Template("roi_align", emit),)
