"""Mutate nets and see that reading, checking and importing them fails only with graphc's own errors.

    python tests/fuzz_netdef.py --cases 10000 --seed 1 --nets FOLDER

Each case damages one net of a pair (predict, init): bits, truncation, chunks and numbers at the level of bytes; names,
arguments, shapes and operators at the level of messages. With ``--compile`` what was imported is optimised, kernels are
chosen for it and it is lowered; ``--run N`` has machine code made for every N-th case that comes so far, and runs it.
A case fails if anything but a GraphcError comes out, or if it takes longer or needs more memory than the limits. The
exit status is 1 if a case failed; each is printed with the seed that repeats it.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import graphc
from graphc.backends.cpu.library import CpuLibrary
from graphc.backends.cpu.target import find
from graphc.benchmark import random_inputs
from graphc.frontends.netdef import Net, Operator, check, import_net, parse_netdef, read_net, write_net
from graphc.input_shapes import assume_input_shapes
from graphc.ir import Graph, GraphcError, registry
from graphc.ir.infer import infer_types
from graphc.ir.ops.unsupported import require_runnable
from graphc.passes.lower import choose_kernels, lower

Pair = tuple[bytes, bytes | None]
NUMBERS = (0, -1, 1, 2, 3, 255, 2**31 - 1, -(2**31), 2**31, 2**40, -(2**40), 2**62, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1e-45, -1.0, 3e38, float("inf"), float("-inf"), float("nan"))
WORDS = (b"", b"NHWC", b"NCHW", b"x" * 1000, b"\xff\xfe", "ä/ö".encode(), b"kernel")

MOST_RUN_BYTES = 64 << 20


@dataclass(frozen=True)
class Limits:
    """Seconds of processor time and bytes that one case may need."""

    seconds: float = 10.0
    bytes: int = 2 << 30


class Timeout(BaseException):
    """A case took too long."""


def small_nets() -> list[Pair]:
    """Nets that need no file: a convolution net with in-place operators, nested nets, quantised and other fills."""
    conv = Operator("Conv", ["data", "w", "b"], ["y"], {"kernel": 3, "pad": 1, "order": b"NCHW"}, engine="CUDNN")
    ops = [conv, Operator("Relu", ["y"], ["y"]), Operator("MaxPool", ["y"], ["p"], {"kernel": 2, "stride": 2})]
    ops += [Operator("FC", ["p", "fw", "fb"], ["f"]), Operator("Softmax", ["f"], ["prob"])]
    fills = [_fill("w", (4, 3, 3, 3)), _fill("b", (4,)), _fill("fw", (5, 64)), _fill("fb", (5,)), _fill("data", (1,))]
    predict = Net("small", ops, ["data", "w", "b", "fw", "fb"], ["prob"])
    branch = Net("branch", [Operator("Relu", ["x"], ["y"])])
    other = Net("other", [Operator("Sigmoid", ["x"], ["y"])])
    nested = Net("nested", [Operator("If", ["c"], ["y"], {"then_net": branch, "else_net": other})], ["c", "x"], ["y"])
    typed = [
        Operator("GivenTensorIntFill", [], ["i"], {"shape": (3,), "values": (1, 2, 3)}),
        Operator("GivenTensorStringFill", [], ["s"], {"shape": (2,), "values": (b"a", b"bc")}),
        Operator("Int8GivenTensorFill", [], ["q"], {"shape": (2,), "values": b"ab", "Y_scale": 0.5, "Y_zero_point": 3}),
        Operator("ConstantFill", [], ["c"], {"shape": (2, 3), "value": 1.5}),
        Operator("Copy", ["c"], ["d"]),
    ]
    reader = Net("reader", [Operator("Copy", [n], [f"{n}2"]) for n in "isqd"], list("isqd"))
    pairs = [(predict, Net("init", fills)), (nested, None), (reader, Net("typed", typed))]
    return [(write_net(p), write_net(i) if i else None) for p, i in pairs]


def _fill(name: str, shape: tuple[int, ...]) -> Operator:
    values = np.zeros(int(np.prod(shape)), np.float32)
    return Operator("GivenTensorFill", [], [name], {"shape": shape, "values": values})


def load_pairs(folder: Path, most: int = 700_000) -> list[Pair]:
    """The nets of a folder and those below it, each with the init net beside it; large ones are left out."""
    pairs: list[Pair] = []
    for path in sorted([*folder.rglob("*.pb"), *folder.rglob("*.pbtxt")]):
        if "init" in path.name or path.stat().st_size > most:
            continue
        init = path.with_name(path.name.replace("predict", "init"))
        usable = init != path and init.is_file() and init.stat().st_size <= most
        pairs.append((path.read_bytes(), init.read_bytes() if usable else None))
    return pairs


def damage_bytes(data: bytes, r: random.Random) -> bytes:
    """Flip bits, cut, repeat, swap, or put bytes that make long numbers and absurd lengths."""
    out = bytearray(data)
    at = r.randrange(len(out) or 1)
    kind = r.randrange(6)
    if kind == 0:
        for _ in range(r.choice((1, 1, 4, 30))):
            out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    elif kind == 1:
        del out[at:]
    elif kind == 2:
        out[at:at] = out[at : at + r.randrange(1, 200)]
    elif kind == 3:
        other, n = r.randrange(len(out)), r.randrange(1, 200)
        out[at : at + n], out[other : other + n] = out[other : other + n], out[at : at + n]
    elif kind == 4:
        out[at : at + 1] = bytes(r.choice((0x7F, 0x80, 0xFF)) for _ in range(r.randrange(1, 12)))
    else:
        del out[at : at + r.randrange(1, 100)]
    return bytes(out)


def damage_message(data: bytes, r: random.Random) -> bytes:
    """Change one thing of a net that stays a well-formed message."""
    net = parse_netdef(data)
    ops = list(net.op)
    if not ops:
        return data
    op = r.choice(ops)
    r.choice((_argument, _argument, _argument, _blobs, _operators, _outside, _fields))(net, op, r)
    return write_net(net)


def _argument(net: Any, op: Any, r: random.Random) -> None:
    if not op.arg:
        op.arg.add().name = r.choice(("kernel", "axis", "shape", "order"))
    arg = r.choice(list(op.arg))
    kind = r.randrange(8)
    if kind < 3:
        name = arg.name
        arg.Clear()
        arg.name = name
        arg.i = r.choice(NUMBERS)
    elif kind == 3:
        arg.f = r.choice(REALS)
    elif kind == 4:
        arg.s = r.choice(WORDS)
    elif kind == 5:
        arg.ints.extend(r.choices(NUMBERS, k=r.randrange(1, 5)))
    elif kind == 6:
        arg.name = r.choice(("kernel", "kernels", "axis", "pads", "dtype", "values", "shape", "group", "bogus"))
    elif len(arg.ints):
        arg.ints[r.randrange(len(arg.ints))] = r.choice(NUMBERS)


def _blobs(net: Any, op: Any, r: random.Random) -> None:
    names = op.input if r.random() < 0.6 else op.output
    kind = r.randrange(4)
    if kind == 0 and len(names):
        names[r.randrange(len(names))] = r.choice(("", "nowhere", "x" * 500, *net.external_input[:2]))
    elif kind == 1 and len(names):
        del names[r.randrange(len(names))]
    elif kind == 2:
        names.append(r.choice(("extra", *op.output)))
    else:
        names.extend([f"n{i}" for i in range(r.choice((1, 50, 1000)))])


def _operators(net: Any, op: Any, r: random.Random) -> None:
    kind = r.randrange(5)
    if kind == 0:
        op.type = r.choice(("", "Rleu", "g.nothing", r.choice(sorted(registry()))))
    elif kind == 1:
        net.op.add().CopyFrom(op)
    elif kind == 2:
        del net.op[r.randrange(len(net.op))]
    elif kind == 3:
        i, j = r.randrange(len(net.op)), r.randrange(len(net.op))
        first, second = type(op)(), type(op)()
        first.CopyFrom(net.op[i])
        second.CopyFrom(net.op[j])
        net.op[i].CopyFrom(second)
        net.op[j].CopyFrom(first)
    else:
        inner = type(net)()
        inner.CopyFrom(net)
        op.arg.add(name=r.choice(("then_net", "step_net", "net"))).n.CopyFrom(inner)


def _outside(net: Any, op: Any, r: random.Random) -> None:
    names = net.external_input if r.random() < 0.5 else net.external_output
    kind = r.randrange(3)
    if kind == 0:
        del names[:]
    elif kind == 1:
        names.append("unheard_of")
    elif len(names):
        names[r.randrange(len(names))] = "renamed"


def _fields(net: Any, op: Any, r: random.Random) -> None:
    op.device_option.device_type = r.choice((0, 1, 99, -5))
    op.engine = r.choice(("", "CUDNN", "NONSENSE,\x00"))
    op.name = r.choice(("", "a b", "ü"))
    net.name = r.choice(("", net.name, "n\n{"))


def damage(pair: Pair, r: random.Random) -> Pair:
    """Damage one of the two nets."""
    predict, init = pair
    how: Callable[[bytes, random.Random], bytes] = damage_bytes if r.random() < 0.5 else damage_message
    try:
        if init is not None and r.random() < 0.4:
            return predict, how(init, r)
        return how(predict, r), init
    except (GraphcError, UnicodeDecodeError):  # no message can be made of it
        return damage_bytes(predict, r), init


def lower_graph(graph: Graph) -> None:
    """All of the compiler but the making of machine code; raises ``GraphcError``."""
    require_runnable(graph)
    assume_input_shapes(graph)
    target = find("native")
    library = CpuLibrary(target)
    graphc.optimise(graph, target)
    lower(graph, library, choose_kernels(graph, library))


def compile_and_run(graph: Graph) -> None:
    """Compile a graph and run it on random inputs of a modest size; raises ``GraphcError``."""
    if sum(v.type.nbytes for v in graph.values() if v.type.is_static) > MOST_RUN_BYTES:
        return
    plan = graphc.compile_graph(graph, threads=1)
    plan.run(random_inputs(plan, 0))


def run_case(pair: Pair, infer: bool, compile: bool, run: bool = False) -> str:
    """Take a pair as far as it goes; gives the name of the stage that refused it, or ``accepted``."""
    stage = "read"
    try:
        predict = read_net(pair[0])
        init = read_net(pair[1]) if pair[1] is not None else None
        stage = "check"
        str(check(predict, init))
        stage = "import"
        graph = import_net(predict, init)
        stage = "infer"
        if infer:
            infer_types(graph)
        stage = "compile"
        if compile:
            lower_graph(import_net(predict, init))
        stage = "run"
        if run:
            compile_and_run(graph)
    except GraphcError as e:
        str(e)
        return stage
    return "accepted"


def fuzz(
    pairs: list[Pair], cases: int, seed: int, infer: bool, compile: bool, limits: Limits, run: int = 0, first: int = 0
) -> Iterator[str]:
    """Run the cases; yields the outcome of each, ``FAILED ...`` with the traceback for the bad ones.

    run: every case whose number it divides is run, too. first: number of the first case.
    """
    signal.signal(signal.SIGPROF, _alarm)
    for case in range(first, first + cases):
        r = random.Random(f"{seed}/{case}")
        pair = damage(r.choice(pairs), r)
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
        start = time.process_time()
        try:
            runs = run > 0 and case % run == 0
            if runs:
                signal.setitimer(signal.ITIMER_PROF, 30 * limits.seconds)
            yield run_case(pair, infer, compile, runs)
        except (Exception, Timeout):
            took = time.process_time() - start
            yield f"FAILED seed {seed} case {case} after {took:.1f} s\n{traceback.format_exc()}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _alarm(number: int, frame: FrameType | None) -> None:
    raise Timeout


def main() -> int:
    """Command line; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nets", type=Path, help="folder of .pb and .pbtxt files; built-in small nets without it")
    parser.add_argument("--infer", action="store_true", help="infer types of what was imported, too")
    parser.add_argument("--compile", action="store_true", help="optimise and lower what was imported, too")
    parser.add_argument("--run", type=int, default=0, metavar="N", help="compile and run every N-th case, too")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to repeat one")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="limit of one case")
    parser.add_argument("--most-bytes", type=int, default=700_000, help="leave larger files out")
    args = parser.parse_args()
    registry()
    resource.setrlimit(resource.RLIMIT_AS, (Limits.bytes + _address_space(), resource.RLIM_INFINITY))
    pairs = small_nets() + (load_pairs(args.nets, args.most_bytes) if args.nets else [])
    outcomes: Counter[str] = Counter()
    limits = Limits(args.seconds)
    for outcome in fuzz(pairs, args.cases, args.seed, args.infer, args.compile, limits, args.run, args.first):
        outcomes[outcome.split()[0]] += 1
        if outcome.startswith("FAILED"):
            print(outcome, flush=True)
    print(f"{args.cases} cases from {len(pairs)} nets: {dict(outcomes)}")
    return 1 if outcomes["FAILED"] else 0


def _address_space() -> int:
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 1 << 32


if __name__ == "__main__":
    sys.exit(main())
