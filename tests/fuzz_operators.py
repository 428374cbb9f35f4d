"""Damage recorded calls of operators and see that graphc refuses them or answers alike everywhere.

    python tests/fuzz_operators.py ../shared/golden --target reference --cases 20 --seed 1 --op LengthsSum

Each recorded case gives ``--cases`` damaged ones (``operator_mutations.py``): indices and lengths out of range, empty
and mismatched tensors, other types, missing inputs, wild arguments. With ``--target reference`` the interpreter runs
them, its loops on arrays that refuse negative indices; with ``cpu`` machine code runs them too and has to agree.
A case fails where anything but a ``GraphcError`` comes out, where the two differ, or where the process dies or hangs.
The calls run in another process that is started again after a crash; the exit status is 1 if a case failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from golden import load_reader, recorded, tensor
from guarded_arrays import guard_loops
from operator_mutations import Attempt, mutate

from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.frontends.netdef import Operator, read_net
from graphc.ir import GraphcError, registry
from graphc.machine_code import MachineCode
from graphc.operators import Tensor, compile_operator, operator_graph, run_compiled, run_operator

MEMORY = 8 << 30
"""Bytes of address space that the process of the calls may have: a size of 2**40 is refused or fails."""

RECYCLE = 3000
"""Cases after which the process of the calls is replaced: the machine code that it loaded stays in memory."""

RANDOM = ("random", "Dropout", "Sample", "Fill", "Shuffle", "Noise", "Stochastic")
"""Parts of names of operators whose answers are drawn."""


def _operator(op: bytes) -> Operator:
    n, size = len(op), b""
    while n > 127:
        size, n = size + bytes([n & 127 | 128]), n >> 7
    return read_net(b"\x12" + size + bytes([n]) + op).ops[0]


def attempts(folder: Path, ops: Sequence[str], cases: int, seed: int) -> Iterator[tuple[str, Callable[[], Attempt]]]:
    """Name and maker of each damaged call, in an order that depends on the arguments alone."""
    reader = load_reader(folder)
    for path in [folder / f"{op}.npz" for op in ops] if ops else sorted(folder.glob("*.npz")):
        if path.stem not in registry():
            continue
        for case in reader.cases(str(path)):
            try:
                inputs = [tensor(v) for _, v in case.inputs]
            except ValueError:
                continue
            for k in range(cases):
                name = f"{path.stem}/{case.index}/{seed}.{k}"
                yield name, lambda op=case.op, xs=inputs, name=name: mutate(_operator(op), xs, name)  # type: ignore[misc]


class Judge:
    """Runs calls and says what is wrong with what came out."""

    def __init__(self, folder: Path, target: str) -> None:
        self.reader, self.target = load_reader(folder), target
        self.code = MachineCode(CpuLibrary(find("native"))) if target == "cpu" else None
        guard_loops()

    def __call__(self, attempt: Attempt) -> str:
        """What is wrong; empty if nothing is."""
        want = self._outcome(attempt, self._reference)
        if isinstance(want, str) and not want.startswith("refused"):
            return f"reference: {want}"
        if self.code is None:
            return ""
        got = self._outcome(attempt, self._compiled)
        if isinstance(got, str) or isinstance(want, str):
            both = isinstance(got, str) and isinstance(want, str) and got.startswith("refused")
            return "" if both else f"reference: {self._text(want)}; machine code: {self._text(got)}"
        if any(word in attempt.op.type for word in RANDOM):
            return ""
        return self._difference(got, want)

    def _outcome(self, attempt: Attempt, run: Callable[[Attempt], list[Tensor]]) -> list[Tensor] | str:
        try:
            return run(attempt)
        except GraphcError as error:
            return f"refused: {error.message}"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            mine = [f for f in traceback.extract_tb(error.__traceback__) if "guarded" not in f.filename]
            place = mine[-1] if mine else place
            return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno} {place.line})"

    def _reference(self, attempt: Attempt) -> list[Tensor]:
        results: list[Tensor] = run_operator(attempt.op, attempt.inputs, "reference")
        return results

    def _compiled(self, attempt: Attempt) -> list[Tensor]:
        plan = compile_operator(operator_graph(attempt.op, attempt.inputs), "cpu", code=self.code)
        results: list[Tensor] = run_compiled(plan, attempt.op, attempt.inputs)
        return results

    def _text(self, outcome: list[Tensor] | str) -> str:
        return " ".join((outcome if isinstance(outcome, str) else f"gave {str(outcome)[:200]}").split())[:500]

    def _difference(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        for i, (a, b) in enumerate(zip(got, want)):
            if isinstance(b, np.ndarray) and b.ndim == 0 and b.dtype == object and not isinstance(b.item(), bytes):
                continue  # an object that lives within a run
            with np.errstate(all="ignore"):
                same = self.reader.close(recorded(a), recorded(b))
            if not same:
                return f"output {i}: reference: {self._text([b])}; machine code: {self._text([a])}"
        return "" if len(got) == len(want) else f"{len(got)} outputs, not {len(want)}"


def work(options: argparse.Namespace) -> None:
    """The process of the calls: prints each case before it is run and what was wrong after it."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    judge = Judge(options.folder, options.target)
    for k, (name, make) in enumerate(attempts(options.folder, options.op, options.cases, options.seed)):
        if k < options.first:
            continue
        if k >= options.first + RECYCLE:
            return
        attempt = make()
        print(f"@{k}\t{name}\t{attempt.describe()}", flush=True)
        wrong = judge(attempt)
        print("=" + " ".join(wrong.split()), flush=True)
    print("!", flush=True)


class Worker:
    """A process of the calls and the lines that it prints."""

    def __init__(self, first: int) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        command = [sys.executable, *sys.argv, "--worker", "--first", str(first)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, errors="replace"
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put("")

    def next(self, seconds: float) -> str | None:
        """The next line, ``""`` at the end, None if none came in time."""
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            self.process.kill()
            return None

    def last_words(self) -> str:
        """What the process wrote when it died."""
        code = self.process.wait()
        self.errors.seek(0)
        return f"exit status {code}: " + " | ".join(self.errors.read().strip().splitlines()[-14:])


def findings(first: int, seconds: float) -> Iterator[tuple[str, str]]:
    """Each case with what is wrong with it, empty if nothing is; workers are started until all cases are done."""
    while True:
        worker, case, done = Worker(first), "", 0
        while line := worker.next(seconds if case else 120.0):
            if line == "!":
                return
            if line[0] == "@":
                number, _, case = line[1:].partition("\t")
                first = int(number) + 1
            elif case:
                yield case, line[1:]
                case, done = "", done + 1
        if case:
            yield case, f"no answer within {seconds} s" if line is None else f"the process died: {worker.last_words()}"
        elif done < RECYCLE:
            raise SystemExit(f"the process of the calls does not start: {worker.last_words()}")


def summary(wrong: str) -> str:
    """What cases with the same defect have in common."""
    return wrong.split(";")[0][:100]


def main() -> int:
    """Command line; the exit status is 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", choices=("reference", "cpu"), default="cpu")
    parser.add_argument("--cases", type=int, default=5, help="damaged calls of each recorded one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--op", action="append", default=[], help="only this operator; may be repeated")
    parser.add_argument("--first", type=int, default=0, help="number of the case to begin with")
    parser.add_argument("--seconds", type=float, default=20.0, help="for one case")
    parser.add_argument("--all", action="store_true", help="print every failing case, not five of an operator")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    failed: Counter[str] = Counter()
    n = 0
    for case, wrong in findings(options.first, options.seconds):
        n += 1
        op = case.partition("/")[0]
        failed[op] += bool(wrong)
        if wrong and (options.all or failed[op] <= 5):
            print(f"{case}\n    {wrong}", flush=True)
    print(f"{n} cases, {sum(failed.values())} failed")
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main())
