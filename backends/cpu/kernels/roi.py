"""RoIAlign of NCHW maps: a bin is a sum of pixels with weights that are a product of one for the row and one for the
column, so rows are blended first, and columns after them by a matrix of weights.

The weights come from the functions of the operator's record. A first task computes them once for each box. A unit of
the second is a few channels and many boxes, so that maps stay in the cache while boxes take their parts of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cpu.rules import Rule, Template, float_bits
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.loop_source import called_source
from graphc.ir.opdef import Call, lookup
from graphc.ir.ops.detection.roi import box_taps, image_of
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

TAPS: tuple[str, ...] = ("rois", "records", "size", "rows_room", "columns_room", "status", "scratch", "stride")
TAPS += ("images", "image", "height", "width", "sides", "bins_y", "bins_x", "ratio", "aligned", "scale")
"""Parameters of the first task. size: bytes of a record, with room for so many taps of rows and columns."""
BINS: tuple[str, ...] = ("x", "y", "records", "size", "rows_room", "columns_room", "scratch", "stride")
BINS += ("channels", "plane", "row", "boxes", "chunks", "chunk", "group", "pitch", "bins_y", "bins_x")
"""Parameters of the second. A unit is ``chunk`` boxes and ``group`` channels; pitch: floats of a blended row."""
HEAD = 4
"""Words at the start of a box's record: where its image's part of the maps begins, as an offset in floats; the first
column that it reaches; how many (0: the box is refused or empty); how many of them count.

Behind them lie the number of taps of each row of bins, the rows and the columns that count, then as floats the weights
of the rows and the matrix of the columns' weights.
"""
MOST_ROWS = 8
"""So many rows of bins are summed at once, in registers."""
CHANNELS = 4
"""Of a unit."""
UNITS = 32
"""Calls with fewer channels have their boxes shared out."""


def emit_taps(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``roi_taps``: a unit is a box, whose record it writes."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _parameters(s, TAPS[:-1])
        s(f"scale = ld_f8(p, {len(TAPS) - 1})")
        s("first = 1 if sides == 5 else 0")
        s(f"span = (bins_x + {lanes - 1}) // {lanes} * {lanes}")
        _arrays(s)
        with s.block("for u in range(lo, hi):"):
            s("record = records + u * size")
            s("st_i8(record, 2, 0)")
            s("map = image_of(boxes, u, first, images)")
            with s.block("if map < 0:"):
                s("st_i8(status, 0, 1)")
                s("continue")
            taken = "wy, py, uy, wx, px, ux, scale, bins_y, bins_x, ratio, aligned"
            with s.block(f"if box_taps(boxes, u, first, height, width, {taken}) != 0:"):
                s("st_i8(status, 0, 2)")
                s("continue")
            _rows(s)
            _columns(s, lanes)
    return called_source(lookup("RoIAlign"), {"box_taps": box_taps, "image_of": image_of}) + "\n\n" + s.text()


def _parameters(s: Lines, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        s(f"{name} = ld(p, {i})")


def _arrays(s: Lines) -> None:
    """A thread's arrays for the record's functions, and the new numbers of columns."""
    s("boxes = array_f4(rois, (hi, sides))")
    s("place = scratch + tid * stride")
    for bins, length, end in (("bins_y", "height", "y"), ("bins_x", "width", "x")):
        s(f"p{end} = array_i8(place, ({bins}, {length} + 1))")
        s(f"place += 8 * {bins} * ({length} + 1)")
        s(f"u{end} = array_i8(place, ({bins},))")
        s(f"place += 8 * {bins}")
        s(f"w{end} = array_f4(place, ({bins}, {length} + 1))")
        s(f"place += 4 * {bins} * ({length} + 1) // 8 * 8 + 8")
    s("number = array_i8(place, (width,))")


def _places(s: Lines) -> None:
    """Where the parts of a record lie."""
    s(f"rows = record + 8 * ({HEAD} + bins_y)")
    s("columns = rows + 8 * rows_room")
    s("weights = columns + 8 * columns_room")
    s("matrix = weights + 4 * rows_room")


def _rows(s: Lines) -> None:
    _places(s)
    s("n = 0")
    with s.block("for b in range(bins_y):"):
        s(f"st_i8(record, {HEAD} + b, uy[b])")
        with s.block("for k in range(uy[b]):"):
            s("st_i8(rows, n, py[b, k])")
            s("sts(weights, n, wy[b, k])")
            s("n += 1")


def _columns(s: Lines, lanes: int) -> None:
    """The columns that have weights, and these; reaching further left where whole vectors then fit into the map."""
    s("low, high = width, 0")
    with s.block("for q in range(bins_x):"), s.block("for k in range(ux[q]):"):
        s("low, high = min(low, px[q, k]), max(high, px[q, k] + 1)")
    with s.block("for j in range(low, high):"):
        s("number[j] = -1")
    with s.block("for q in range(bins_x):"), s.block("for k in range(ux[q]):"):
        s("number[px[q, k]] = 0")
    s(f"wide = (high - low + {lanes - 1}) // {lanes} * {lanes}")
    s("start = min(low, width - wide) if wide <= width else low")
    s("used = 0")
    with s.block("for j in range(low, high):"), s.block("if number[j] == 0:"):
        with s.block("for q in range(span):"):
            s("sts(matrix, used * span + q, f4(0))")
        s("st_i8(columns, used, j - start)")
        s("number[j] = used")
        s("used += 1")
    with s.block("for q in range(bins_x):"), s.block("for k in range(ux[q]):"):
        s("sts(matrix, number[px[q, k]] * span + q, wx[q, k])")
    values = ("map * image", "start", "max(wide, 1) if wide <= width else high - low", "used")
    for i, value in enumerate(values):
        s(f"st_i8(record, {i}, {value})")


def emit_bins(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``roi_bins{rows}``; rows: rows of bins that are summed at once, a divisor of their number."""
    s, lanes = Lines(), target.lanes
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        _parameters(s, BINS)
        s(f"span = (bins_x + {lanes - 1}) // {lanes} * {lanes}")
        s("blended = scratch + tid * stride")
        with s.block("for u in range(lo, hi):"):
            s("first = u % chunks * chunk")
            s("start = u // chunks * group")
            with s.block("for i in range(first, min(boxes, first + chunk)):"):
                s("record = records + i * size")
                s("left, wide, used = ld(record, 1), ld(record, 2), ld(record, 3)")
                _places(s)
                with s.block("for c in range(start, min(channels, start + group) if wide > 0 else start):"):
                    s("source = x + 4 * (ld(record, 0) + c * plane + left)")
                    s("out = y + 4 * (i * channels + c) * bins_y * bins_x")
                    _blend(s, lanes)
                    _sum(s, spec.int("rows"), lanes)
    return s.text()


def _blend(s: Lines, lanes: int) -> None:
    """``blended``: for each row of bins the weighted sum of rows of the map, over the columns that the box reaches."""
    s("t = 0")
    with s.block("for b in range(bins_y):"):
        s(f"end = t + ld(record, {HEAD} + b)")
        with s.block(f"for j in range(0, wide, {lanes}):"):
            s("a = vzero()")
            with s.block(f"if j + {lanes} <= wide:"), s.block("for k in range(t, end):"):
                s("a = vfma(vload(source, ld(rows, k) * row + j), vbcast(weights, k), a)")
            with s.block("else:"), s.block("for k in range(t, end):"):
                s("a = vfma(vloadm(source, ld(rows, k) * row + j, wide - j), vbcast(weights, k), a)")
            s("vstore(blended, b * pitch + j, a)")
        s("t = end")


def _sum(s: Lines, rows: int, lanes: int) -> None:
    """Bins from blended rows: vectors are bins side by side."""
    with s.block(f"for b in range(0, bins_y, {rows}):"), s.block(f"for q in range(0, bins_x, {lanes}):"):
        for r in range(rows):
            s(f"a{r} = vzero()")
        with s.block("for k in range(used):"):
            s("w = vload(matrix, k * span + q)")
            s("o = b * pitch + ld(columns, k)")
            for r in range(rows):
                s(f"a{r} = vfma(vbcast(blended, o + {r} * pitch), w, a{r})")
        for r in range(rows):
            s(f"vstorem(out, (b + {r}) * bins_x + q, bins_x - q, a{r})")


@dataclass(frozen=True)
class Rooms:
    """Sizes of a record and of the scratch of both tasks, which follow from the call."""

    rows: int
    columns: int
    record: int
    taps: int
    pitch: int

    @staticmethod
    def of(call: Call, target: CpuTarget) -> Rooms:
        """Bins share two pixels with the next at most; a sample takes two."""
        _, _, height, width = call.type(0).static_shape
        bins_y, bins_x, ratio = call.arg("pooled_h"), call.arg("pooled_w"), call.arg("sampling_ratio")
        rows, columns = height + 2 * bins_y, width
        if ratio > 0:
            rows, columns = min(rows, 2 * ratio * bins_y), min(columns, 2 * ratio * bins_x)
        span, pitch = (-(-n // target.lanes) * target.lanes for n in (bins_x, width))
        record = 8 * (HEAD + bins_y + rows + columns) + 4 * (rows + columns * span)
        taps = 12 * (bins_y * (height + 1) + bins_x * (width + 1)) + 8 * (bins_y + bins_x + width + 2)
        return Rooms(rows, columns, -(-record // 64) * 64, taps, pitch)


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    x, y = call.type(0), call.node.results[0].type
    if x.dtype is not DType.FLOAT or x.layout.block > 1 or y.layout.block > 1 or call.arg("order") != "NCHW":
        return None
    rows = next(r for r in range(MOST_ROWS, 0, -1) if call.arg("pooled_h") % r == 0)
    return Choice("roi_align", KernelSpec.make("roi_bins", rows=rows), {}, 500.0 + y.size)


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    rooms = Rooms.of(call, target)
    scratch = max(rooms.taps, 4 * call.arg("pooled_h") * rooms.pitch)
    workspace = rooms.record * call.type(1).static_shape[0]
    return Needs(dense=frozenset({1}), dense_out=True, workspace=workspace, scratch=scratch)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    x, rois, y = ins[0], ins[1], outs[0]
    assert choice.spec is not None
    assert x is not None
    assert rois is not None
    images, channels, height, width = x.type.static_shape
    (boxes, sides), rooms = rois.type.static_shape, Rooms.of(call, target)
    if not boxes:
        return []
    bins = (call.arg("pooled_h"), call.arg("pooled_w"))
    records: tuple[Param, ...] = (workspace, rooms.record, rooms.rows, rooms.columns)
    scratch: tuple[Param, ...] = (Address("scratch"), Address("stride"))
    image, plane, row, _ = x.strides
    taps: tuple[Param, ...] = (
        *(rois.address, *records, Address("status"), *scratch, images, image, height, width, sides, *bins),
        *(call.arg("sampling_ratio"), int(call.arg("aligned")), float_bits(call.arg("spatial_scale"))),
    )
    groups = -(-channels // CHANNELS)
    chunk = -(-boxes // min(boxes, -(-UNITS // groups)))
    chunks = -(-boxes // chunk)
    sums = (x.address, y.address, *records, *scratch, channels, plane, row, boxes, chunks, chunk, CHANNELS)
    label, size = call.node.results[0].name, y.type.size
    first = Task(KernelSpec.make("roi_taps"), taps, boxes, label, 0, boxes * rooms.record)
    second = Task(choice.spec, (*sums, rooms.pitch, *bins), groups * chunks, label, 8 * size, 8 * size)
    return [(first,), (second,)]


TEMPLATES = (Template("roi_taps", emit_taps), Template("roi_bins", emit_bins))
RULES = (Rule("roi_align", ("RoIAlign",), _choose, _needs, _bind),)
