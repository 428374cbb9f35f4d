"""Run graphc on recorded answers of real Caffe2: ``python tests/golden.py DIR [--target cpu|reference] [--op NAME]``.

DIR holds one ``<OpType>.npz`` per operator, in the format of shared/golden (its ``golden_io.py`` reads them). Compares
values, dtypes and shapes; prints a table by family and each failing case with its reason. Exit code 1 if one fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.ir import DType, GraphcError, LoweringError, Sym, TensorType
from graphc.ir.infer import infer_types
from graphc.ir.opdef import registry
from graphc.ir.ops.unsupported import refusal
from graphc.ir.types import dims_agree
from graphc.machine_code import MachineCode
from graphc.operators import Int8Tensor, Tensor, compile_operator, operator_graph, run_compiled, run_operator
from graphc.plan import Plan

CHUNK = 200
"""Cases whose kernels are compiled together."""
HALF_ENGINE = b"FAKE_FP16"
"""An engine that rounds to half precision, graphc does not: its answers are compared to three digits."""


@dataclass
class Result:
    """What became of one case. status: passed, failed, skipped (a blob that no one can feed), refused (no numbers)."""

    op: str
    case: int
    family: str
    status: str
    reason: str = ""


def load_reader(folder: Path) -> Any:
    """The module ``golden_io.py`` beside the recorded files."""
    path = folder / "golden_io.py"
    spec = importlib.util.spec_from_file_location("golden_io", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"{folder} has no golden_io.py: give a folder in the format of shared/golden")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensor(value: Any) -> Tensor | None:
    """A recorded value as ``run_operator`` takes it; raises ``ValueError`` for one that cannot be fed."""
    if isinstance(value, tuple) and value[0] == "int8":
        return Int8Tensor(value[1], value[2], value[3])
    if isinstance(value, tuple):
        raise ValueError(f"an input is an object of type {value[1]}, which no file holds")
    return np.array(value, object) if isinstance(value, bytes) else value


def recorded(value: Tensor) -> Any:
    """An answer in the form in which ``golden_io.close`` compares it."""
    if isinstance(value, Int8Tensor):
        return ("int8", *value)
    return value.item() if value.dtype == object and value.ndim == 0 and isinstance(value.item(), bytes) else value


def difference(reader: Any, case: Any, got: Sequence[Tensor]) -> str:
    """What is wrong with an answer; empty if nothing is."""
    for (name, want), mine in zip(case.outputs, got):
        if reader.close(recorded(mine), want) or (isinstance(want, bytes) and reader.close(mine, want)):
            continue
        if HALF_ENGINE in case.op and np.allclose(mine, want, rtol=0, atol=1e-3 * np.abs(want).max()):
            continue
        return f"output '{name}' is {_short(recorded(mine))}, Caffe2 gave {_short(want)}"
    return "" if len(got) >= len(case.outputs) else f"{len(got)} outputs, not {len(case.outputs)}"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)} {np.array2string(value.ravel()[:8], precision=6, separator=',')}"
    return str(value)[:200]


class Runner:
    """Runs cases on one target; plans are made and their kernels compiled a chunk at a time."""

    def __init__(self, reader: Any, target: str) -> None:
        self.reader, self.target = reader, target
        self.code = (
            None if target == "reference" else MachineCode(CpuLibrary(find("native" if target == "cpu" else target)))
        )

    def run(self, cases: Sequence[Any]) -> Iterator[Result]:
        """The result of each case."""
        for start in range(0, len(cases), CHUNK):
            chunk = cases[start : start + CHUNK]
            plans = [self._plan(c) for c in chunk] if self.code else [None] * len(chunk)
            self._compile([p for p in plans if isinstance(p, Plan)])
            for case, plan in zip(chunk, plans):
                yield self._result(case, plan)

    def _plan(self, case: Any) -> Plan | str:
        try:
            graph = operator_graph(case.op, [tensor(v) for _, v in case.inputs])
            return compile_operator(graph, self.target, code=self.code)
        except Exception as error:
            return said(error)

    def _compile(self, plans: Sequence[Plan]) -> None:
        """Compile the kernels of many plans at once; one that does not compile is left to its own case."""
        left = {spec.name: spec for p in plans for spec in p.kernels}
        while left and self.code:
            try:
                self.code.load(list(left.values()))
                return
            except LoweringError as error:
                bad = next((n for n in left if n in error.message), None)
                if bad is None:
                    return
                del left[bad]

    def _result(self, case: Any, plan: Plan | str | None) -> Result:
        record = registry().get(case.type)
        family = record.family if record else "-"
        if refusal(case.type):
            return Result(case.type, case.index, "refused", "refused", "has no place in a plan")
        try:
            inputs = [tensor(v) for _, v in case.inputs]
        except ValueError as error:
            return Result(case.type, case.index, family, "skipped", str(error))
        reason = plan if isinstance(plan, str) else self._answer(case, plan, inputs)
        return Result(case.type, case.index, family, "failed" if reason else "passed", reason)

    def _answer(self, case: Any, plan: Plan | None, inputs: list[Tensor | None]) -> str:
        try:
            got = run_compiled(plan, case.op, inputs) if plan else run_operator(case.op, inputs, "reference")
        except Exception as error:
            return said(error)
        return difference(self.reader, case, got)


def inferred_wrongly(case: Any, known: str) -> str:
    """What is wrong with the types that inference gives a case's outputs; empty if nothing is, or nothing is fed.

    known: of the inputs' types: "all"; "ranks": dimensions above 1 are symbols; "nothing".
    """
    try:
        graph = operator_graph(case.op, [tensor(v) for _, v in case.inputs])
    except ValueError:
        return ""
    for result in (r for node in graph.walk() for r in node.results):
        result.type = TensorType()
    for i, value in enumerate(graph.inputs):
        value.type = less_known(value.type, i, known)
    infer_types(graph)
    types = dict(zip(graph.output_names, (v.type for v in graph.outputs)))
    wrong = ((n, types[n], _array(v)) for n, v in case.outputs if n in types and not _fits(types[n], _array(v)))
    return "; ".join(f"output '{n}' is inferred {t}, Caffe2 gave {a.dtype}{list(a.shape)}" for n, t, a in wrong)


def less_known(type: TensorType, i: int, known: str) -> TensorType:
    """The type of input ``i`` with symbols for dimensions, or with nothing known at all."""
    if known == "nothing":
        return TensorType()
    dims = tuple(Sym(f"d{i}_{j}") if known == "ranks" and d != 1 and d else d for j, d in enumerate(type.shape or ()))
    return type.with_shape(dims)


def _array(value: Any) -> Any:
    """The elements of a recorded value; None of an object that is no tensor."""
    if isinstance(value, tuple):
        return value[1] if value[0] == "int8" else None
    return np.array(value, object) if isinstance(value, bytes) else value


def _fits(type: TensorType, array: Any) -> bool:
    if array is None:
        return True
    if type.dtype not in (None, DType.of(array.dtype)):
        return False
    return type.shape is None or (len(type.shape) == array.ndim and all(map(dims_agree, type.shape, array.shape)))


def said(error: Exception) -> str:
    """The message of an error on one line."""
    text = error.message if isinstance(error, GraphcError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]


def all_cases(reader: Any, folder: Path, ops: Sequence[str] = ()) -> list[Any]:
    """The cases of a folder, or of some operators of it."""
    paths = [folder / f"{op}.npz" for op in ops] if ops else sorted(folder.glob("*.npz"))
    missing = [p.stem for p in paths if not p.exists()]
    if missing:
        raise SystemExit(f"{folder} has no cases of {', '.join(missing)}")
    return [case for path in paths for case in reader.cases(str(path))]


def table(results: Sequence[Result]) -> str:
    """Passed and other cases by family."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for r in results:
        for family in (r.family, "all"):
            counts[family][r.status] += 1
    statuses = ("passed", "failed", "skipped", "refused")
    lines = [f"{'family':24}" + "".join(f"{s:>9}" for s in statuses)]
    for family in [*sorted(f for f in counts if f != "all"), "all"]:
        lines.append(f"{family:24}" + "".join(f"{counts[family][s]:9}" for s in statuses))
    return "\n".join(lines)


def main() -> int:
    """Command line; the exit code is 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="cpu", help="cpu, reference, avx512, avx2 or portable")
    parser.add_argument("--op", action="append", default=[], help="only this operator; may be repeated")
    parser.add_argument("--json", type=Path, help="write the result of every case to this file")
    options = parser.parse_args()
    reader = load_reader(options.folder)
    cases = all_cases(reader, options.folder, options.op)
    results = []
    for result in Runner(reader, options.target).run(cases):
        results.append(result)
        if result.status == "failed":
            print(f"{result.op} case {result.case}: {result.reason}")
        if sys.stderr.isatty():
            print(f"\r{len(results)}/{len(cases)}", end="", file=sys.stderr)
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1))
    return int(any(r.status == "failed" for r in results))


if __name__ == "__main__":
    sys.exit(main())
