"""Sums, means and maxima of runs of rows: rows in order or chosen by indices, of float, half and quantised tables.

First the card finds where the runs begin: for lengths as their sums before each, by two launches, in the first of which
each thread adds up a stretch; for sorted ids by a search for each run. Then a group of up to 32 threads takes a run and
some of its columns, each thread one to four neighbours.

An element is the sum of its rows in their order, from 0 on, in float32: a product with a weight is fused with its
addition, and a number of a quantised row is code * scale + bias, fused, before it is added. A mean is that sum times
1 / n. This is the order of the records' loops. Runs of unsorted ids look at all ids, so that their order is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.kernels.across import WARP
from graphc.backends.cuda.kernels.segment_starts import find_starts, room
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, require_reach
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.segments import BAD_INDEX, BAD_THIRD, INDEX, OPERATORS, Form
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import DType

SERVED = {name: form for name, form in OPERATORS.items() if form.how != "weighted mean" and form.runs != "single"}
PARAMS: tuple[str, ...] = ("total", "chunks", "data", "rows", "columns", "width", "indices", "count")
PARAMS += ("weights", "room", "mapping", "known", "scales", "starts", "y", "status")
"""total: groups. chunks: of the columns of a run. width: bytes of a row. count: rows of all runs. room: of weights.
known: length of the mapping. scales: address of (scale, bias) pairs. starts: of runs, or the ids where unsorted."""
AT_ONCE = 4
"""Rows whose loads are under way together."""
QUADRATIC = 1 << 30
"""Pairs of a run and a row that runs of unsorted ids may look at; above, the CPU is quicker."""
BITS = {"u1": 8, "q4": 4, "q2": 2, "r1": 8}
"""Bits of a number of a quantised table."""


def emit_sums(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``segment_sums{table, index, how, mapped, each, lanes, unsorted}``; parameters: ``PARAMS``."""
    s, each, lanes = Lines(), spec.int("each"), spec.int("lanes")
    with s.block(f"def {spec.name}({', '.join(PARAMS)}):"):
        s(f"u = i64(block()) * {spec.int('threads') // lanes} + quot(thread(), {lanes})")
        with s.block("if u < total:"):
            s("run = quot(u, chunks)")
            s(f"c = (rest(u, chunks) * {lanes} + (thread() & {lanes - 1})) * {each}")
            with s.block("if c < columns:"):
                for e in range(each):
                    s(f"a{e} = f4(0.0)")
                if spec.int("unsorted"):
                    s("found = 0")
                    with s.block("for k in range(count):"), s.block("if ld_i4(starts, k) == run:"):
                        _rows(s, spec, 1, "found")
                        s("found = found + 1")
                else:
                    s("first, last = i64(ld_i8(starts, run)), i64(ld_i8(starts, run + 1))")
                    s("found = last - first")
                    s(f"whole = first + quot(found, {AT_ONCE}) * {AT_ONCE}")
                    with s.block(f"for k in range(first, whole, {AT_ONCE}):"):
                        _rows(s, spec, AT_ONCE, "k - first")
                    with s.block("for k in range(whole, last):"):
                        _rows(s, spec, 1, "k - first")
                if spec["how"] == "mean":
                    s("factor = f4(div(f4(1.0), f4(max(found, 1))))")
                for e in range(each):
                    s(f"st_f4(y, run * columns + c + {e}, a{e}{' * factor' if spec['how'] == 'mean' else ''})")
    return s.text()


def _rows(s: Lines, spec: KernelSpec, n: int, place: str) -> None:
    """Take rows k, k + 1, .. of all runs; place: the number in its run of the first."""
    how, mapped = spec["how"], spec.int("mapped")
    for r in range(n):
        s(f"at{r} = " + (f"i64(ld_{spec['index']}(indices, k + {r}))" if spec["index"] else f"k + {r}"))
        if mapped:
            _map(s, r)
        lost = f"(at{r} < -1)" if mapped else f"(at{r} < 0)"
        with s.block(f"if {lost} | (at{r} >= rows):"):
            s(f"fail(status, {'bad' if mapped else BAD_INDEX})")
            s("return")
    for r in range(n):
        _load(s, spec, r)
        if how == "each":
            s(f"w{r} = ld_f4(weights, k + {r})")
        if how == "place":
            with s.block(f"if {place} + {r} >= room:"):
                s(f"fail(status, {BAD_THIRD})")
                s("return")
            s(f"w{r} = ld_f4(weights, {place} + {r})")
    for r in range(n):
        if mapped:
            with s.block(f"if at{r} >= 0:"):
                _add(s, spec, r, place)
        else:
            _add(s, spec, r, place)


def _map(s: Lines, r: int) -> None:
    """The row that an index means in a pruned table, -1 for a lost one; ``bad``: the error where it is none."""
    s(f"bad = {BAD_INDEX}")
    with s.block("if (known != 1) | (ld_i4(mapping, 0) != 0):"):
        s(f"bad = {BAD_THIRD}")
        with s.block(f"if (at{r} < 0) | (at{r} >= known):"):
            s(f"at{r} = -2")
        with s.block("else:"):
            s(f"at{r} = i64(ld_i4(mapping, at{r}))")
    with s.block("else:"):
        s(f"at{r} = at{r} if at{r} >= 0 else -2")


def _load(s: Lines, spec: KernelSpec, r: int) -> None:
    """The elements of row r of this thread as ``v{r}_0``, .. and the scale and bias of its row."""
    table, each = str(spec["table"]), spec.int("each")
    names = [f"v{r}_{e}" for e in range(each)]
    s(f"row{r} = data + {f'max(at{r}, 0)' if spec.int('mapped') else f'at{r}'} * width")
    if table in ("f4", "f2"):
        word = {"f4": {1: "ld_f4", 2: "ld2_f4", 4: "ld4"}, "f2": {1: "ld_f2", 2: "ld2_f2", 4: "ld4_f2"}}[table][each]
        s(f"{', '.join(names)} = {word}(row{r}, c)")
        return
    bits = BITS[table]
    if each == 4:
        s(f"codes{r} = ld_i4(row{r}, c >> 2)")
        values = [f"(i64(codes{r}) >> {8 * e}) & 255" for e in range(4)]
    elif bits == 8:
        values = [f"i64(ld_u1(row{r}, c))"]
    else:
        per = 8 // bits
        values = [f"(i64(ld_u1(row{r}, quot(c, {per}))) >> (rest(c, {per}) * {bits})) & {(1 << bits) - 1}"]
    for name, value in zip(names, values):
        s(f"{name} = f4({value})")
    if table == "r1":
        s(f"scale{r}, bias{r} = ld_f4(scales, 2 * at{r}), ld_f4(scales, 2 * at{r} + 1)")
    elif table == "u1":
        s(f"scale{r}, bias{r} = ld_f4(row{r} + columns, 0), ld_f4(row{r} + columns, 1)")
    else:
        s(f"scale{r}, bias{r} = ld_f2(row{r} + width - 4, 0), ld_f2(row{r} + width - 4, 1)")


def _add(s: Lines, spec: KernelSpec, r: int, place: str) -> None:
    weighted, how = spec["how"] in ("each", "place"), spec["how"]
    if spec["table"] in BITS and weighted:
        s(f"scale{r}, bias{r} = w{r} * scale{r}, w{r} * bias{r}")
    for e in range(spec.int("each")):
        a, v = f"a{e}", f"v{r}_{e}"
        if how == "max":  # as the record's: what is no number gives way to a number
            s(f"{a} = where(({place} + {r} > 0) & ({a} > {v}), {a}, {v})")
        elif spec["table"] in BITS:
            s(f"{a} = {a} + fma({v}, scale{r}, bias{r})")
        else:
            s(f"{a} = fma(w{r}, {v}, {a})" if weighted else f"{a} = {a} + {v}")


def _table(call: Call, form: Form) -> str | None:
    """The code of the table; None for one that the kernels do not read."""
    dtype, tables = call.type(0).dtype, form.tables
    code = {DType.FLOAT: "f4", DType.FLOAT16: "f2"}.get(dtype or DType.BOOL, tables[0])
    if dtype is DType.UINT8 and tables[0] in BITS:
        aligned = {"u1": 4, "q4": 2, "q2": 2, "r1": 1}[tables[0]]
        return tables[0] if call.type(0).static_shape[-1] % aligned == 0 else None
    return code if code in tables and dtype in (DType.FLOAT, DType.FLOAT16) else None


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    form = SERVED[call.node.op]
    ports, table = form.ports(), _table(call, form)
    if table is None or any(v is not None and v.type.layout.block > 1 for v in call.node.operands):
        return None
    index = INDEX.get(call.type(ports["indices"]).dtype, "-") if form.indexed else ""
    runs = call.type(ports["runs"])
    if index == "-" or runs.dtype is not DType.INT32:
        return None
    if form.mapped and call.type(ports["mapping"]).dtype is not DType.INT32:
        return None
    if form.runs == "unsorted" and runs.size * call.node.results[0].type.static_shape[0] > QUADRATIC:
        return None
    static: dict[str, int | str] = {
        "how": form.how,
        "mapped": int(form.mapped),
        "unsorted": int(form.runs == "unsorted"),
    }
    spec = KernelSpec.make("segment_sums", table=table, index=index, each=1, lanes=WARP, threads=THREADS, **static)
    return Choice("segments", spec)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    runs = call.node.results[0].type.static_shape[0]
    return Needs(dense=frozenset(range(len(call.node.operands))), dense_out=True, workspace=room(runs))


def _width(table: str, columns: int, aligned: bool) -> tuple[int, int]:
    """Columns of a thread, and threads of a group."""
    each = 1
    if aligned and columns % 4 == 0 and columns >= 4 * WARP // 2 and table not in ("q4", "q2"):
        each = 4
    elif aligned and columns % 2 == 0 and columns >= WARP and table in ("f4", "f2"):
        each = 2
    lanes = 4
    while lanes < WARP and lanes * each < columns:
        lanes *= 2
    return each, lanes


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    form, y, label = SERVED[call.node.op], outs[0], call.node.results[0].name
    views = {name: v for name, i in form.ports().items() if (v := ins[i]) is not None}
    require_reach(*views.values(), y)
    runs, rows = y.type.static_shape[0], views["data"].type.static_shape[0]
    count = rows if form.runs == "lengths" else views["runs"].type.size
    if form.indexed and form.runs == "lengths":
        count = views["indices"].type.size
    steps = find_starts(form.runs, views["runs"], runs, count, workspace, label)
    starts = views["runs"].address if form.runs == "unsorted" else workspace
    steps.append((_sums(choice, views, y, count, starts, label),))
    return [step for step in steps if step[0].units]


def _sums(choice: Choice, views: dict[str, View], y: View, count: int, starts: Address, label: str) -> Task:
    """The task that reduces the runs of ``count`` rows; starts: where they begin, or the ids where unsorted."""
    assert choice.spec is not None
    data = views["data"]
    runs, rows = y.type.static_shape[0], data.type.static_shape[0]
    columns, width = y.type.size // max(runs, 1), data.type.nbytes // max(rows, 1)
    each, lanes = _width(str(choice.spec["table"]), columns, data.address.offset % 16 == 0)
    spec = choice.spec.but(each=each, lanes=lanes)
    chunks = -(-columns // (lanes * each))
    total = runs * chunks

    def address(name: str) -> Param:
        return views[name].address if name in views else 0

    def size(name: str) -> int:
        return views[name].type.size if name in views else 0

    params = (
        *(total, max(chunks, 1), data.address, rows, columns, width, address("indices"), count),
        *(address("weights"), size("weights"), address("mapping"), size("mapping"), address("scales")),
        *(starts, y.address, Address("status")),
    )
    traffic = count * width + y.type.nbytes
    return Task(spec, params, blocks_for(total * lanes), label, 2 * count * columns, traffic)


RULES = (Rule("segments", tuple(SERVED), _choose, _needs, _bind),)
TEMPLATES = (Template("segment_sums", emit_sums),)
