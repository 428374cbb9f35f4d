"""Run graphc on recorded whole nets of real Caffe2: ``python tests/golden_nets.py DIR [--target cpu|reference]``.

DIR holds ``net*.npz`` files in the format of shared/golden_nets; the reader ``golden_io.py`` is in DIR/../golden. Every
blob that the net writes is compared, but those that no file holds. Exit code 1 if a net fails; one with operators that
have no place in a plan is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from golden import Result, difference, load_reader, said, tensor

import graphc
from graphc.frontends.netdef import import_net, read_net
from graphc.frontends.netdef.net import Net
from graphc.ir import DType, Graph, Quant, TensorType, evaluate
from graphc.ir.infer import infer_types
from graphc.ir.ops.unsupported import refusal
from graphc.ir.quant_array import array_quant
from graphc.operators import Int8Tensor, Tensor, compile_operator

LOOSE = {
    "net0360": "the loss is the square of a difference of 0.5 between numbers near 20: a last digit counts 80 times",
    "net0599": "a scale of 151, which follows from sums in float32, is compared to a millionth",
}
"""Nets whose answers are compared to a thousandth, not to a ten thousandth, and why."""


class _LooseReader:
    """``golden_io`` with a wider tolerance."""

    @staticmethod
    def close(got: Any, want: Any) -> bool:
        """The answers agree to a thousandth."""
        if isinstance(want, tuple):
            pairs = zip((got[1], got[2], got[3]), want[1:])
            return isinstance(got, tuple) and all(np.allclose(a, b, rtol=1e-3, atol=1) for a, b in pairs)
        return bool(np.allclose(got, want, rtol=1e-3, atol=1e-5))


def net_graph(net: Any, reader: Any) -> tuple[Graph, dict[str, np.ndarray]]:
    """The imported graph of a recorded net with every written blob as an output, and the arrays of its inputs."""
    given = {name: tensor(value) for name, value in net.inputs}
    types = {name: _type(t) for name, t in given.items() if t is not None}
    graph = import_net(read_net(net.net), None, types)
    blobs = graph.blobs()
    for name, want in net.outputs:
        if name in blobs and name not in graph.output_names and not _opaque(want):
            graph.add_output(blobs[name], name)
    return graph, {v.name: _array(given[v.name]) for v in graph.inputs if given.get(v.name) is not None}


def _opaque(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and value[0] == "opaque")


def _array(value: Tensor | None) -> np.ndarray:
    return np.asarray(value.data if isinstance(value, Int8Tensor) else value)


def _type(value: Tensor) -> TensorType:
    array = _array(value)
    quant = Quant(value.scale, value.zero_point) if isinstance(value, Int8Tensor) else None
    return TensorType(DType.of(array.dtype), array.shape, quant=quant)


def run_net(net: Any, reader: Any, target: str) -> str:
    """What is wrong with the answer; empty if nothing is. Raises ``ValueError`` for inputs that no one can feed."""
    graph, arrays = net_graph(net, reader)
    if target == "reference":
        infer_types(graph)
        found, types = evaluate(graph, arrays), {n: v.type for n, v in zip(graph.output_names, graph.outputs)}
    else:
        plan = _plan(graph, target)
        found = dict(zip(plan.outputs, plan.run_arrays([arrays[n] for n in plan.inputs])))
        types = {n: v.type for n, v in zip(plan.graph.output_names, plan.graph.outputs)}
    wanted = [(n, want) for n, want in net.outputs if not _opaque(want)]
    missing = [n for n, _ in wanted if n not in found]
    if missing:
        return f"there is no blob {', '.join(missing)}"
    case = SimpleNamespace(outputs=wanted, op=net.net)
    return difference(reader, case, [_tensor(found[n], types[n]) for n, _ in wanted])


def _plan(graph: Graph, target: str) -> graphc.Plan:
    """Empty tensors, which ``compile_graph`` refuses as inputs, may be fed to a plan that is not optimised."""
    if any(v.type.shape is not None and 0 in v.type.shape for v in graph.inputs):
        plan = compile_operator(graph, target)
        plan.prepare()
        return plan
    return graphc.compile_graph(graph, target="native" if target == "cpu" else target, threads=1)


def _tensor(array: np.ndarray, type: TensorType) -> Tensor:
    quant = array_quant(array) or type.quant
    return Int8Tensor(np.asarray(array), quant.scale, quant.zero_point) if quant else array


def refused_operators(net: Net) -> list[str]:
    """The operators of a net, nested nets included, that have no place in a plan."""
    found = dict.fromkeys(op.type for op in net.ops if refusal(op.type))
    for op in net.ops:
        found |= dict.fromkeys(n for _, inner in op.nets() for n in refused_operators(inner))
    return list(found)


def result(path: Path, reader: Any, target: str) -> Result:
    """What became of one net; its operators stand in the place of a family."""
    net = reader.load_net(str(path))
    read = read_net(net.net)
    ops, refused = ",".join(dict.fromkeys(op.type for op in read.ops)), refused_operators(read)
    if refused:
        return Result(path.stem, 0, ops, "refused", f"{', '.join(refused)} has no place in a plan")
    try:
        reason = run_net(net, _LooseReader if path.stem in LOOSE else reader, target)
    except ValueError as error:
        if "no file holds" in str(error):
            return Result(path.stem, 0, ops, "skipped", str(error))
        reason = said(error)
    except Exception as error:
        reason = said(error)
    return Result(path.stem, 0, ops, "failed" if reason else "passed", reason)


def main() -> int:
    """Command line; the exit code is 1 if a net failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="cpu", help="cpu, reference, avx512, avx2 or portable")
    parser.add_argument("--net", action="append", default=[], help="only this file's net; may be repeated")
    parser.add_argument("--json", type=Path, help="write the result of every net to this file")
    options = parser.parse_args()
    reader = load_reader(options.folder.parent / "golden")
    paths: Sequence[Path] = [options.folder / f"{n}.npz" for n in options.net] or sorted(options.folder.glob("*.npz"))
    results = []
    for path in paths:
        results.append(result(path, reader, options.target))
        if results[-1].status == "failed":
            print(f"{results[-1].op} ({results[-1].family[:80]}): {results[-1].reason}", flush=True)
    print(", ".join(f"{n} {status}" for status, n in Counter(r.status for r in results).items()))
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1))
    return int(any(r.status == "failed" for r in results))


if __name__ == "__main__":
    sys.exit(main())
