"""Operators whose record gives a loop: its turns shared out to threads, as far as they are proved independent.

Each stage of a loop (``loops_proof.py``) is a launch. Outputs and scratch arrays are zeroed before, unless one stage
stores every element. Of several errors that with the largest number is told; stages after one that failed do nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from graphc.backends.cuda.kernels.copy import CODES
from graphc.backends.cuda.kernels.keys import PAIRS, keys_task
from graphc.backends.cuda.loops_expressions import Size
from graphc.backends.cuda.loops_flat import Flat, Refusal, flatten
from graphc.backends.cuda.loops_kernel import (
    Counts,
    DependsOnElements,
    Outline,
    kernel_body,
    shared_counts,
    turns,
    variable,
)
from graphc.backends.cuda.loops_proof import Stage, prove
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.loop_call import (
    ABSENT,
    FEW,
    LISTS,
    NOTHING,
    argument_params,
    codes_of,
    literal,
    operand,
    placed_arrays,
    scratch_bytes,
    spec_parts,
    width,
)
from graphc.backends.loop_source import loop_source
from graphc.ir import LoweringError, VerifyError
from graphc.ir.loops import is_fill, loop_inputs, loop_operands
from graphc.ir.opdef import Call, OpDef, lookup
from graphc.ir.schedule import Address, Choice, KernelSpec, Needs, Param, Step, Task, View
from graphc.ir.types import TensorType

LOOKS, MOST_LOOKS = 4096, 1 << 16
"""So many elements or turns a thread looks at, each thread the same ones, before it begins with its own: where a kernel
is chosen, and where a plan is bound to other sizes."""
LOOKING = "each thread would have to look at {} elements before it begins"
TOO_MANY_KEYS = "its {} turns would each be compared with all others to find those of the same element"
MUCH, MOST = 1 << 16, 4096
"""A loop of more turns, or over arrays of more elements, than the one is not run by so few threads that each would have
more than the other: that would be slow beyond all measure."""


Sides = tuple[list[str], list[str], list[str], list[str]]
"""Codes of inputs, outputs, scratch arrays and arguments."""


@dataclass(frozen=True)
class Proved:
    """A loop whose stages threads share out; or the reason why they do not."""

    flat: Flat | None
    stages: tuple[Stage, ...]
    reason: str = ""


@cache
def _proved(source: str, keys: tuple[bool, ...], whole: tuple[bool, ...], sizes: str) -> Proved:
    """keys: of each array whether its elements are integers; whole: of each number whether it is one.

    sizes: those for which the proof is to hold, as ``_sizes_text`` or ``_signs_text`` writes them; empty: for all.
    """
    try:
        flat = flatten(source)
        integers = [name for name, is_key in zip(flat.params, keys) if is_key]
        texts = dict(zip(flat.params, sizes.split(";"))) if sizes else {}
        positive = {name for name, text in texts.items() if text == POSITIVE}
        known = {n: size for n, text in texts.items() if n not in positive and (size := _size_of(text)) is not None}
        numbers = dict(zip(flat.params[len(keys) :], whole))
        return Proved(flat, tuple(prove(flat, numbers, integers, known, positive)))
    except Refusal as refusal:
        return Proved(None, (), str(refusal))


def proof_of(
    opdef: OpDef, ins: Sequence[str], outs: Sequence[str], work: Sequence[str], args: Sequence[str], sizes: str = ""
) -> Proved:
    """The proof of a record's loop for arrays and arguments of these codes."""
    operands = loop_operands(opdef, ins, outs, work, ABSENT)
    plain = 0 if any(port.variadic for port in opdef.inputs) else len(opdef.inputs)
    keys = tuple(i < plain and code.partition(":")[0] in KEYS for i, code in enumerate(operands))
    return _proved(loop_source(opdef), keys, tuple(map(_is_whole, args)), sizes)


def _sizes_text(values: Sequence[Any]) -> str:
    """The shapes of arrays and the integers among the arguments of a loop."""
    return ";".join(map(_size_text, values))


def _signs_text(values: Sequence[Any]) -> str:
    """The same with no more than what holds for most sizes: that arrays have elements and numbers are positive."""
    return ";".join(POSITIVE if _is_positive(v) else _size_text(v) for v in values)


def _is_positive(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_positive, value))
    return value.size > 0 if isinstance(value, Outline) else isinstance(value, (int, np.integer)) and int(value) > 0


def _size_text(value: Any) -> str:
    if isinstance(value, Outline):
        return "[" + ",".join(map(str, value.shape))
    if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
        return "(" + ",".join(map(str, value))
    return str(int(value)) if isinstance(value, (int, np.integer)) else ""


def _size_of(text: str) -> Size | None:
    if text[:1] in ("[", "("):
        return tuple(int(n) for n in text[1:].split(",") if n)
    return int(text) if text else None


def _proof(call: Call, sides: Sides) -> tuple[Proved, str]:
    """The proof of a call's loop, for all sizes if there is one, else for those at hand; and these as text.

    Before the sizes themselves it is tried whether signs are enough: such a kernel serves other sizes, too.
    """
    proved = proof_of(call.opdef, *sides)
    if proved.flat is not None or not _depends_on_sizes(call.opdef, proved.reason, sides):
        return proved, ""
    arguments = call.opdef.loop_arguments(call)
    texts = _of_arguments(len(loop_operands(call.opdef, *sides[:3], ABSENT)), arguments)
    if call.opdef.sizes is None:
        values = _outlines(call, sides)
        texts = [texts[0], _signs_text(values), _sizes_text(values)]
    for sizes in texts:
        at_hand = proof_of(call.opdef, *sides, sizes)
        if at_hand.flat is not None:
            return at_hand, sizes
    return proved, ""


def _of_arguments(arrays: int, arguments: Sequence[Any]) -> list[str]:
    """What is known of a loop whose arrays may have any sizes: of its numbers the signs, then they themselves."""
    return [";" * arrays + text for text in (_signs_text(arguments), _sizes_text(arguments))]


def _depends_on_sizes(opdef: OpDef, reason: str, sides: Sides) -> bool:
    """Sizes at hand may refute a reason: one about places, but not those of a scratch array that all turns use."""
    assert opdef.loop is not None
    names, first = opdef.loop.__code__.co_varnames, len(opdef.inputs) + len(opdef.outputs)
    scratch = names[first : first + len(sides[2])]
    return OF_PLACES.match(reason) is not None and reason.rpartition(" ")[2] not in scratch


OF_PLACES = re.compile("turns (of|may meet)|it divides the number|.* has a step that varies")
"""The reasons that sizes at hand may refute."""
POSITIVE = "+"
"""What is known of a parameter: it is 1 or more, or has elements."""
KEYS = ("i1", "i2", "i4", "i8", "u1", "u2")
"""Codes of integers."""


def _is_whole(code: str) -> bool:
    few = FEW.fullmatch(code)
    return (few[2] if few else code) in ("i", "s") or code.lstrip("-").isdigit()


def why_not(call: Call) -> str:
    """Why threads of a card cannot share out the loop of a call; empty where they can."""
    try:
        parts = spec_parts(call)
    except VerifyError:
        return "its numbers follow from elements that are known only when it runs"
    if parts is None:
        return "its loop takes values that no kernel can have"
    sides = codes_of(KernelSpec.make("loop", **parts))
    if any(code in LISTS for code in sides[3]):
        return "its loop takes a list of numbers"
    if "s" in sides[3]:
        return "it draws random numbers, other ones in each run, and a run on a card is recorded once"
    proved, _ = _proof(call, sides)
    if proved.flat is None:
        return f"its loop runs in order: {proved.reason}"
    if call.opdef.sizes is not None:
        return _sizes_why_not(call, sides)
    values = _outlines(call, sides)
    for number, stage in enumerate(proved.stages):
        try:
            counts = turns(proved.flat, proved.stages, number, values)
        except DependsOnElements:
            return "how often its loop turns depends on elements"
        looks = _looks(proved.flat, stage, values, counts)
        if looks > LOOKS:
            return LOOKING.format(looks)
        if stage.levels and counts:
            threads = math.prod(shared_counts(stage, counts))
            seen = [_size(values[proved.flat.params.index(name)]) for name in stage.arrays - stage.picked]
            if stage.key and not _may_be_keys(proved.flat, stage, counts, values):
                return TOO_MANY_KEYS.format(counts[0])
            work = max(math.prod(n for n in counts if n is not None), sum(seen))
            if work > MUCH and work > MOST * threads > 0:
                return f"only {threads} threads could share out its {work} turns or elements"
    return ""


def _may_be_keys(flat: Flat, stage: Stage, counts: Counts, values: Sequence[Any]) -> bool:
    """Each turn of the outermost loop has a key, and there are not too many to compare them."""
    turns_, keys = counts[0] or 0, values[flat.params.index(stage.key)]
    return turns_ <= _size(keys) and turns_ * turns_ <= PAIRS


def _looks(flat: Flat, stage: Stage, values: Sequence[Any], counts: Counts | None) -> int:
    """At how many elements, or earlier turns, each thread looks before its turn."""
    looks = sum(_size(values[flat.params.index(name)]) for name in stage.before)
    return looks + (counts[0] or 0 if stage.replay and counts else 0)


def _size(value: Any) -> int:
    """Elements of an array, or of several."""
    return sum(map(_size, value)) if isinstance(value, tuple) else int(value.size)


def _sizes_why_not(call: Call, sides: Sides) -> str:
    """The same for the loop that finds the sizes of the results."""
    ins, _, work, args = sides
    opdef, outs = lookup(f"g.sizes.{call.opdef.name}"), ["i8:1", *work]
    arrays = len(loop_operands(opdef, ins, outs, [], ABSENT))
    texts = ["", *_of_arguments(arrays, call.opdef.loop_arguments(call))]
    found = [proof_of(opdef, ins, outs, [], args, text) for text in texts]
    if any(proved.flat is not None for proved in found):
        return ""
    return f"the loop that finds its sizes runs in order: {found[0].reason}"


def _outlines(call: Call, sides: Sides) -> list[Any]:
    """What is known of the arguments of a loop before it runs."""
    types = [*loop_inputs(call), *(r.type for r in call.node.results)]
    absent = Outline((0,), 4)
    carried = [v.type for v in call.node.operands[call.n_inputs :] if v is not None]
    work = carried or list(call.opdef.scratch(call) if call.opdef.scratch else ())
    made = [absent if t is None else _outline(t) for t in types]
    n = len(sides[0])
    operands = loop_operands(call.opdef, made[:n], made[n:], [_outline(t) for t in work], absent)
    return [*operands, *call.opdef.loop_arguments(call)]


def _outline(type: TensorType) -> Outline:
    return Outline(type.static_shape, type.dtype.itemsize if type.dtype else 4)


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    if why_not(call):
        return None
    parts = spec_parts(call)
    assert parts is not None
    spec = KernelSpec.make("loop", threads=THREADS, stage=0, **parts)
    return Choice("loop", _with_sizes(spec, _proof(call, codes_of(spec))[1]))


def _with_sizes(spec: KernelSpec, sizes: str) -> KernelSpec:
    """The kernel whose proof holds for these sizes."""
    params = {name: value for name, value in spec.params if name != "sizes"}
    return KernelSpec.make(spec.template, **params, **({"sizes": sizes} if sizes else {}))


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``loop{op, ins, outs, work, args, stage}``; sizes: those for which alone it was proved.

    Parameters: the number of threads, of each shared loop but the outermost how often it turns, of each array the
    address and the dimensions, the arguments that are numbers, the address of the status word if there are errors, and
    for turns that have keys their chain (``keys.py``) and number.
    """
    opdef, sides = lookup(str(spec["op"])), codes_of(spec)
    proved, number = proof_of(opdef, *sides, str(dict(spec.params).get("sizes", ""))), spec.int("stage")
    if proved.flat is None or not 0 <= number < len(proved.stages):
        raise LoweringError(f"the loop of {opdef.name} runs on no card: {proved.reason}", "compile the net again")
    ins, outs, work, args = sides
    s, stage = Lines(), proved.stages[number]
    functions, body = kernel_body(proved.flat, proved.stages, number, bool(opdef.errors))
    parameters = ["total", *(f"n{k}" for k in range(1, len(stage.shared)))]
    arrays = []
    for i, code in enumerate([*ins, *outs, *work]):
        rank = 0 if code == ABSENT else int(code.partition(":")[2])
        arrays.append(NOTHING if code == ABSENT else _array(f"a{i}", code, rank))
        parameters += [] if code == ABSENT else [f"a{i}", *(f"a{i}_{d}" for d in range(rank))]
    first = len(ins) + len(outs)
    operands = loop_operands(opdef, arrays[: len(ins)], arrays[len(ins) : first], arrays[first:], NOTHING)
    numbers = [[f"p{i}_{k}" for k in range(width(code))] for i, code in enumerate(args)]
    parameters += [n for names in numbers for n in names] + ["status"] * bool(opdef.errors)
    parameters += ["chain", "turns"] if stage.key else []
    values = [*map(operand, operands), *(_number(code, names) for code, names in zip(args, numbers))]
    with s.block(f"def {spec.name}({', '.join(parameters)}):"):
        s(f"t0 = i64(block()) * {spec.int('threads')} + thread()")
        with s.block("if t0 >= total:"):
            s("return")
        if opdef.errors and number:
            with s.block("if ld_i8(status, 0) != 0:"):
                s("return")
        for k in reversed(range(1, len(stage.shared))):
            s(f"t{k} = rest(t0, n{k})")
            s(f"t0 = quot(t0, n{k})")
        for name, value in zip(proved.flat.params, values):
            s(f"{variable(name)} = {value}")
        for line in body.splitlines():
            s(line)
    return functions + "\n" + s.text()


def _array(name: str, code: str, rank: int) -> str:
    sizes = "".join(f"{name}_{d}, " for d in range(rank))
    return f"array_{code.partition(':')[0]}({name}, ({sizes}))"


def _number(code: str, names: Sequence[str]) -> str:
    """An argument as source."""
    few = FEW.fullmatch(code)
    kind = few[2] if few else code
    values = [f"double({n})" if kind == "f" else n for n in names]
    if few:
        return f"({''.join(v + ', ' for v in values)})"
    return values[0] if values else literal(code)


def _needs(call: Call, choice: Choice, target: CudaTarget) -> Needs:
    assert choice.spec is not None
    operands, sides = frozenset(range(len(call.node.operands))), codes_of(choice.spec)
    workspace = scratch_bytes(call) + sum(map(_chain_bytes, _chains(call, _proof(call, sides)[0], sides).values()))
    return Needs(dense=operands, dense_out=True, workspace=workspace)


def _chains(call: Call, proved: Proved, sides: Sides) -> dict[int, int]:
    """The turns of the stages that have keys."""
    assert proved.flat is not None
    values, found = _outlines(call, sides), {}
    for number, stage in enumerate(proved.stages):
        counts = turns(proved.flat, proved.stages, number, values) if stage.key else None
        if counts:
            found[number] = counts[0] or 0
    return found


def _chain_bytes(turns_: int) -> int:
    return -(-8 * turns_ // 64) * 64


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    assert choice.spec is not None
    sides = codes_of(choice.spec)
    proved, sizes = _proof(call, sides)
    if proved.flat is None:
        where = f"{call.node.location}: {call.node.op}"
        raise LoweringError(f"{where}: its loop runs in order: {proved.reason}", "compile the net for these sizes")
    label = call.node.results[0].name if call.node.results else call.node.op
    placed, values = placed_arrays(call, ins, outs, workspace), _outlines(call, sides)
    arrays: list[Param] = []
    for side in placed:
        for address, type in side:
            blocks_for(type.size)
            arrays += [address, *type.static_shape]
    tail = [*argument_params(call, sides[3]), *([Address("status")] if call.opdef.errors else [])]
    covered, steps = _covered(call, proved, values), list[Step]()
    chain = workspace.plus(scratch_bytes(call))
    zeroed = [place for place, name in zip(placed[1], _names_of(call, placed[1])) if name not in covered]
    zeroed += [] if is_fill(call.opdef) else placed[2]
    zeros = tuple(zero_task(address, type.size, _itemsize(type), label) for address, type in zeroed)
    steps += [tuple(t for t in zeros if t.units)] if any(t.units for t in zeros) else []
    for number, stage in enumerate(proved.stages):
        counts = turns(proved.flat, proved.stages, number, values)
        if counts is None:
            continue
        if (looks := _looks(proved.flat, stage, values, counts)) > MOST_LOOKS:
            where = f"{call.node.location}: {call.node.op}"
            raise LoweringError(f"{where}: {LOOKING.format(looks)}", "compile the net for these sizes")
        shared = shared_counts(stage, counts)
        total = math.prod(max(n, 1) for n in shared) if stage.fails else math.prod(shared)
        spec = _with_sizes(KernelSpec.make("loop", **{**dict(choice.spec.params), "stage": number}), sizes)
        params: tuple[Param, ...] = (total, *(max(n, 1) for n in shared[1:]), *arrays, *tail)
        if stage.key:
            if not _may_be_keys(proved.flat, stage, counts, values):
                where = f"{call.node.location}: {call.node.op}"
                raise LoweringError(f"{where}: {TOO_MANY_KEYS.format(counts[0])}", "compile the net for these sizes")
            place, port = chain, proved.flat.params.index(stage.key)
            keys, chain = ins[port], chain.plus(_chain_bytes(shared[0]))
            assert keys is not None
            steps.append((keys_task(keys.address, sides[0][port].partition(":")[0], shared[0], place, label),))
            params = (*params, place, shared[0])
        work, traffic = math.prod(n for n in counts if n is not None), sum(t.nbytes for side in placed for _, t in side)
        steps.append((Task(spec, params, blocks_for(total), label, work, traffic),))
    return [step for step in steps if step and step[0].units]


def _names_of(call: Call, placed: Sequence[tuple[Address, TensorType]]) -> list[str]:
    """The name of the parameter that each output array is, none where several are one."""
    ports = call.opdef.outputs
    plain = not any(p.variadic for p in ports)
    return [ports[k].name if plain else "" for k in range(len(placed))]


def _covered(call: Call, proved: Proved, values: Sequence[Any]) -> set[str]:
    """The names of output ports of which a stage stores each element before anything reads it."""
    assert proved.flat is not None
    n_inputs = len(call.opdef.inputs)
    params = {proved.flat.params[n_inputs + k]: p.name for k, p in enumerate(call.opdef.outputs) if not p.variadic}
    if any(p.variadic for p in (*call.opdef.inputs, *call.opdef.outputs)):
        return set()
    found: set[str] = set()
    touched: set[str] = set()
    for number, stage in enumerate(proved.stages):
        counts = turns(proved.flat, proved.stages, number, values) if stage.covers else None
        for name in stage.covers - touched:
            array = values[proved.flat.params.index(name)]
            if (
                counts is not None
                and name in params
                and None not in counts
                and math.prod(n or 0 for n in counts) == array.size
            ):
                found.add(params[name])
        touched |= stage.arrays
    return found


def _itemsize(type: TensorType) -> int:
    return type.dtype.itemsize if type.dtype else 4


def emit_zero(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``zero{itemsize}``; parameters: an address, and how many elements from there on become 0."""
    s, code = Lines(), CODES[spec.int("itemsize")]
    with s.block(f"def {spec.name}(y, total):"):
        s(f"i = i64(block()) * {spec.int('threads')} + thread()")
        with s.block("if i < total:"):
            s(f"st_{code}(y, i, 0)")
    return s.text()


def zero_task(address: Address, size: int, itemsize: int, label: str) -> Task:
    """The task that zeroes elements."""
    spec = KernelSpec.make("zero", itemsize=itemsize, threads=THREADS)
    return Task(spec, (address, size), blocks_for(size), label, 0, size * itemsize)


TEMPLATES = (Template("loop", emit), Template("zero", emit_zero))
RULES = (Rule("loop", ("*loop*",), _choose, _needs, _bind, why_not=lambda call, target: why_not(call), last=True),)
