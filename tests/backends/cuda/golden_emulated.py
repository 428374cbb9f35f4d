"""Real Caffe2's recorded answers by kernels for cards: ``python tests/backends/cuda/golden_emulated.py DIR [OP ...]``.

DIR is a folder as ``tests/golden.py`` takes it. Cases whose operator runs on a card as a whole run in the emulator.
Prints how many cases of which operators agree, and each that does not; the exit code is 1 if there is one.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import golden
from emulated import TARGET, on_emulated_card
from simt_memory import Fault

import graphc
from graphc.ir.ops.unsupported import refusal
from graphc.operators import compile_operator, operator_graph, run_compiled


def difference(reader: Any, case: Any) -> str | None:
    """What is wrong with a card's answer, empty if nothing is; None where it does not run on a card as a whole."""
    try:
        inputs = [golden.tensor(v) for _, v in case.inputs]
        plan = compile_operator(operator_graph(case.op, inputs), TARGET)
        on_emulated_card(plan)
    except (graphc.GraphcError, ValueError):
        return None
    if not plan.kernels:
        return None
    try:
        return golden.difference(reader, case, run_compiled(plan, case.op, inputs))
    except Fault as fault:
        return str(fault)


def main(folder: Path, names: list[str]) -> int:
    """Run the cases of some operators, or of all."""
    reader = golden.load_reader(folder)
    agreed, wrong = Counter[str](), 0
    for case in golden.all_cases(reader, folder, names):
        found = None if refusal(case.type) else difference(reader, case)
        if found:
            wrong += 1
            print(f"{case.type} {case.index}: {found}")
        elif found is not None:
            agreed[case.type] += 1
    print(", ".join(f"{name} {n}" for name, n in sorted(agreed.items())))
    print(f"{agreed.total()} cases of {len(agreed)} operators agree, {wrong} do not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
