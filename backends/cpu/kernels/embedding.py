"""Sums of rows of a table that indices choose, over runs of given lengths: float32, float16, fused 8- and 4-bit rows.

First one task turns the lengths into places, and checks them. Then a unit is a run: vectors along the row stay in
registers while the run's rows are added to them, and rows that come later are fetched ahead. A look-up of single rows
is one of runs of one row, without lengths. Bytes of 4-bit rows hold an even column's number and the next one's above
it: these have sums of their own, which are told apart when the run ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphc.backends.cpu.kernels import costs
from graphc.backends.cpu.rules import Rule, Template
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.lines import Lines
from graphc.backends.segments import BAD_INDEX, BAD_RUNS, INDEX, OPERATORS
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

PARAMS = ("data", "rows", "columns", "width", "indices", "count", "weights", "starts", "y", "status", "ahead", "pairs")
"""columns: numbers of a row, or bytes of two each; width: its bytes. starts: where the runs begin among the indices,
and their end. ahead: so many rows later is what is fetched. pairs: a scale and a bias a row, for r1."""
AHEAD_BYTES, LEAST_AHEAD, MOST_AHEAD = 16 << 10, 16, 64
"""What is fetched ahead: rows of so many bytes together, which a first-level cache holds besides those in use."""
VECTORS = (8, 4, 2, 1)
"""How many vectors of a row are summed at once, the most first."""
LINE = 64


class Rows(NamedTuple):
    """What the rows of a table are made of: their bytes, and the words that load a vector, or a part of one."""

    dtype: DType
    size: int
    load: str
    load_part: str


ROWS = {
    "f4": Rows(DType.FLOAT, 4, "vload", "vloadm"),
    "f2": Rows(DType.FLOAT16, 2, "vload_h", "vloadm_h"),
    "u1": Rows(DType.UINT8, 1, "vload_u1", "vload_u1m"),
    "q4": Rows(DType.UINT8, 1, "vload_u1", "vload_u1m"),
    "r1": Rows(DType.UINT8, 1, "vload_u1", "vload_u1m"),
}
"""By the code of a table (``backends/segments.py``)."""
SERVED = {
    name: form
    for name, form in OPERATORS.items()
    if form.runs in ("lengths", "single") and form.how not in ("max", "place") and not form.mapped
    if ROWS.keys() >= {*form.tables}
}


def emit_places(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``embedding_places``: the sums of the lengths before each; zeros where lengths are wrong."""
    s = Lines()
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        s("lengths, runs, count, starts = ld(p, 0), ld(p, 1), ld(p, 2), ld(p, 3)")
        s("total, least = 0, 0")
        with s.block("for i in range(runs):"):
            s("st_i8(starts, i, total)")
            s("length = np.int64(ld_i4(lengths, i))")
            s("total += length")
            s("least = min(least, length)")
        s("st_i8(starts, runs, total)")
        with s.block("if least < 0 or total != count:"):
            s(f"st_i8(ld(p, 4), 0, {BAD_RUNS})")
            with s.block("for i in range(runs + 1):"):
                s("st_i8(starts, i, 0)")
    return s.text()


def emit_sums(spec: KernelSpec, target: CpuTarget) -> str:
    """Source of ``embedding_sums{table, index, weighted, mean, single}``: a unit is one run."""
    s, lanes, each = Lines(), target.lanes, 2 if spec["table"] == "q4" else 1
    with s.block(f"def {spec.name}(p, lo, hi, tid):"):
        for i, name in enumerate(PARAMS):
            s(f"{name} = ld(p, {i})")
        with s.block("for u in range(lo, hi):"):
            s(
                "first, last = u, u + 1"
                if spec.int("single")
                else "first, last = ld_i8(starts, u), ld_i8(starts, u + 1)"
            )
            s(f"out, c = y + u * columns * {4 * each}, 0")
            if spec.int("mean"):
                s("factor = vsplat(f4(1.0 / max(last - first, 1)))")
            for vectors in VECTORS[each - 1 :]:
                with s.block(f"while columns - c >= {vectors * lanes}:"):
                    _sum(s, spec, [f"c + {i * lanes}" for i in range(vectors)], lanes, part=False)
                    s(f"c += {vectors * lanes}")
            with s.block("if c < columns:"):
                _sum(s, spec, ["c"], lanes, part=True)
    return s.text()


def _sum(s: Lines, spec: KernelSpec, places: Sequence[str], lanes: int, part: bool) -> None:
    """The sum of a run's rows at these vectors, the last of which may be a part of one."""
    bytes_, weighted, packed = spec["table"] in ("u1", "q4", "r1"), spec["weighted"] != "", spec["table"] == "q4"
    kind = ROWS[str(spec["table"])]
    for i in range(len(places)):
        s(f"a{i} = vzero()")
        if packed:
            s(f"b{i} = vzero()")
    s("biases = f4(0)")
    with s.block("for k in range(first, last):"):
        s(f"at = {_row(spec, 'k')}")
        with s.block("if at < 0 or at >= rows:"):
            s(f"st_i8(status, 0, {BAD_INDEX})")
            s("break")
        if spec["index"]:
            with s.block("if k + ahead < count:"):
                _fetch(s, spec, lanes * len(places), part)
        s("row = data + at * width")
        if bytes_:
            load = "lds_h" if packed else "ld_f4"
            pair = "pairs + 8 * at" if spec["table"] == "r1" else "row + columns"
            s(f"scale, bias = {load}({pair}, 0), {load}({pair}, 1)")
            if weighted:
                s("weight = ld_f4(weights, k)")
                s("scale, bias = scale * weight, bias * weight")
            s("scales, biases = vsplat(scale), biases + bias")
        elif weighted:
            s("scales = vsplat(ld_f4(weights, k))")
        for i, place in enumerate(places):
            value = f"{kind.load_part}(row, {place}, columns - c)" if part else f"{kind.load}(row, {place})"
            if packed:
                s(f"numbers = {value}")
                s("upper = vfloor(vmul(numbers, vsplat(f4(0.0625))))")
                s(f"b{i} = vfma(upper, scales, b{i})")
                value = "vfma(upper, vsplat(f4(-16)), numbers)"
            s(f"a{i} = vfma({value}, scales, a{i})" if bytes_ or weighted else f"a{i} = vadd(a{i}, {value})")
    for i, place in enumerate(places):
        if packed:
            _store_both(s, spec, i, place, lanes, part)
            continue
        total = f"vadd(a{i}, vsplat(biases))" if bytes_ else f"a{i}"
        total = f"vmul({total}, factor)" if spec.int("mean") else total
        s(f"vstorem(out, {place}, columns - c, {total})" if part else f"vstore(out, {place}, {total})")


def _store_both(s: Lines, spec: KernelSpec, i: int, place: str, lanes: int, part: bool) -> None:
    """Store the sums of even columns and those of odd ones between them."""
    for name in ("a", "b"):
        total = f"vadd({name}{i}, vsplat(biases))"
        s(f"{name}{i} = " + (f"vmul({total}, factor)" if spec.int("mean") else total))
    with s.block(f"for j in range({'columns - c' if part else lanes}):"):
        s(f"st_f4(out, 2 * ({place} + j), vlane(a{i}, j))")
        s(f"st_f4(out, 2 * ({place} + j) + 1, vlane(b{i}, j))")


def _fetch(s: Lines, spec: KernelSpec, columns: int, part: bool) -> None:
    """Ask for the lines of a later row's columns, and for the last one by its end: rows need not begin with a line."""
    size = ROWS[str(spec["table"])].size
    s(f"later = data + {_row(spec, 'k + ahead')} * width")
    for line in range(0, size * columns, LINE):
        s(f"prefetch(later + c * {size} + {line}, 0)")
    ends_here = size > 1 and not part
    if spec["table"] == "r1":
        s(f"prefetch(pairs + {_row(spec, 'k + ahead')} * 8, 0)")
    s(f"prefetch(later + {f'c * {size} + {size * columns}' if ends_here else 'width'} - {size}, 0)")


def _row(spec: KernelSpec, k: str) -> str:
    return f"np.int64(ld_{spec['index']}(indices, {k}))" if spec["index"] else k


def _choose(call: Call, target: CpuTarget) -> Choice | None:
    form, data = SERVED[call.node.op], call.type(0)
    table = next((code for code in form.tables if ROWS[code].dtype is data.dtype), None)
    index = INDEX.get(call.type(form.ports()["indices"]).dtype) if form.indexed else ""
    if table is None or data.layout.block > 1 or index is None:
        return None
    hows = {"weighted": "each" if form.weighted else "", "mean": int("mean" in form.how)}
    spec = KernelSpec.make("embedding_sums", table=table, index=index, single=int(form.runs == "single"), **hows)
    return Choice("embedding", spec, {}, 300 + costs.stream_ns(_read(call)))


def _read(call: Call) -> int:
    """Bytes of the rows that a call reads."""
    data, indices = call.type(0), SERVED[call.node.op].ports().get("indices")
    rows = max(data.static_shape[0], 1)
    return data.nbytes if indices is None else data.nbytes // rows * call.type(indices).size


def _needs(call: Call, choice: Choice, target: CpuTarget) -> Needs:
    lengths = SERVED[call.node.op].ports().get("runs")
    places = 0 if lengths is None else 8 * (call.type(lengths).size + 1)
    return Needs(dense=frozenset(range(call.n_inputs)), dense_out=True, workspace=places)


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CpuTarget
) -> list[Step]:
    assert choice.spec is not None
    views = {name: ins[i] for name, i in SERVED[call.node.op].ports().items()}
    weights, indices, lengths, scales = (views.get(name) for name in ("weights", "indices", "runs", "scales"))
    data = views["data"]
    assert data is not None
    rows, runs = data.type.static_shape[0], outs[0].type.static_shape[0]
    columns, label = outs[0].type.size // max(runs, 1), call.node.results[0].name
    width = data.type.nbytes // max(rows, 1)
    count = rows if indices is None else indices.type.size
    steps: list[Step] = []
    if lengths is not None:
        places = KernelSpec.make("embedding_places")
        params: tuple[Param, ...] = (lengths.address, runs, count, workspace, Address("status"))
        steps.append((Task(places, params, 1, label, runs, 12 * runs),))
    if runs == 0:
        return steps
    params = (
        *(data.address, rows, columns // (2 if choice.spec["table"] == "q4" else 1), width),
        *(indices.address if indices else 0, count, weights.address if weights else 0),
        *(workspace if lengths else 0, outs[0].address, Address("status")),
        max(LEAST_AHEAD, min(MOST_AHEAD, AHEAD_BYTES // max(width, 1))),
        scales.address if scales else 0,
    )
    task = Task(choice.spec, params, runs, label, 2 * count * columns, _read(call) + outs[0].type.nbytes)
    return [*steps, (task,)]


RULES = (Rule("embedding", tuple(SERVED), _choose, _needs, _bind),)
TEMPLATES = (Template("embedding_places", emit_places), Template("embedding_sums", emit_sums))
