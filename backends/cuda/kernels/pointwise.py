"""Pointwise operators and fused bodies on plain float32 and halves: any rank, any broadcasting, in place or not."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.broadcast import full_shapes, inputs, nbytes, operand_strides, views
from graphc.backends.cuda.kernels import nest
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.typed import code_of, several
from graphc.backends.cuda.pointwise import emit as emit_text
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import nothing
from graphc.backends.nest import Nest
from graphc.backends.pointwise import text_of_call
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Step, Task, View
from graphc.ir.types import PLAIN

EACH = 4
"""Elements of a thread where all operands run straight through."""


def flat_spec(text: str, modes: str, codes: Sequence[str] = ()) -> KernelSpec:
    """The kernel for operands that run straight through (mode ``v``) or are one element (``b``).

    codes: of result and operands (``typed.py``); none where all are float32.
    """
    return KernelSpec.make("pointwise", body=text, modes=modes, threads=THREADS, **_static(codes))


def nested_spec(text: str, operands: int, dims: int, codes: Sequence[str] = ()) -> KernelSpec:
    """The kernel for operands of any strides in ``dims`` dimensions."""
    return KernelSpec.make("pointwise_nest", body=text, operands=operands, dims=dims, threads=THREADS, **_static(codes))


def _static(codes: Sequence[str]) -> dict[str, str]:
    return {"codes": ",".join(codes)} if {*codes} - {"f4"} else {}


def _codes(spec: KernelSpec, operands: int) -> list[str]:
    """Codes of result and operands."""
    given = spec.get("codes", "")
    return str(given).split(",") if given else ["f4"] * (1 + operands)


def emit_flat(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pointwise``; parameters: elements, result, operands. A thread takes four elements at once."""
    s, text, modes = Lines(), str(spec["body"]), str(spec["modes"])
    names = [f"x{k}" for k in range(len(modes))]
    out, *codes = _codes(spec, len(modes))
    places = " | ".join(["y", *(n for n, mode in zip(names, modes) if mode == "v")])
    with s.block(f"def {spec.name}({', '.join(['total', 'y', *names])}):"):
        s(f"i = i64(block()) * {EACH * spec.int('threads')} + thread() * {EACH}")
        for n, mode, code in zip(names, modes, codes):
            if mode == "b":
                s(f"{n}v = ld_{code}({n}, 0)")
        with s.block(f"if (i + {EACH} <= total) & (({places}) & 15 == 0):"):
            for n, mode, code in zip(names, modes, codes):
                if mode == "v":
                    s(f"{n}4 = ld{several(code, EACH)}({n}, i)")
            results = []
            for k in range(EACH):
                values = [f"{n}4[{k}]" if mode == "v" else f"{n}v" for n, mode in zip(names, modes)]
                results.append(_body(s, text, values, f"r{k}_"))
            s(f"st{several(out, EACH)}(y, i, {', '.join(results)})")
        with s.block("else:"), s.block(f"for j in range(i, min(i + {EACH}, total)):"):
            values = [f"ld_{code}({n}, j)" if mode == "v" else f"{n}v" for n, mode, code in zip(names, modes, codes)]
            for k, value in enumerate(values):
                s(f"e{k} = {value}")
            s(f"st_{out}(y, j, {_body(s, text, [f'e{k}' for k in range(len(values))], 't_')})")
    return s.text()


def _body(s: Lines, text: str, names: Sequence[str], prefix: str) -> str:
    lines, result = emit_text(text, names, prefix)
    for line in lines:
        s(line)
    return result


def emit_nest(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pointwise_nest``; parameters: the nest, result first. An element a thread."""
    s, dims = Lines(), spec.int("dims")
    names = ["y", *(f"x{k}" for k in range(spec.int("operands")))]
    out, *codes = _codes(spec, len(names) - 1)
    with each_thread(s, spec, nest.arguments(names, dims)):
        nest.decode(s, names, dims)
        for n, code in zip(names[1:], codes):
            s(f"{n}v = ld_{code}({n}, {n}_o)")
        s(f"st_{out}(y, y_o, {_body(s, str(spec['body']), [f'{n}v' for n in names[1:]], 't_')})")
    return s.text()


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    present = inputs(call)
    types = [call.node.results[0].type, *(call.type(i) for i in present)]
    if not is_floating(call) or full_shapes(call) is None:
        return None
    if any(t.layout != PLAIN for t in types):
        return None
    spec = flat_spec(text_of_call(call), "v" * len(present), [code_of(t) for t in types])
    return Choice("pointwise", spec, cost=float(nbytes(call)))


def bind_text(text: str, ins: Sequence[View], shapes: Sequence[tuple[int, ...]], out: View, label: str) -> list[Step]:
    """The steps that compute a text: shapes are those under which the operands broadcast with the result."""
    strides = [out.strides, *(operand_strides(v, s) for v, s in zip(ins, shapes))]
    made = Nest.make(out.type.static_shape, strides)
    addresses = [out.address, *(v.address for v in ins)]
    total = nest.elements(made)
    flops, traffic = total * text.count("("), out.type.nbytes + sum(v.type.nbytes for v in ins)
    codes = [code_of(v.type) for v in (out, *ins)]
    if nest.is_flat(made):
        modes = "".join("v" if inner or not made.sizes else "b" for inner in made.inner[1:])
        spec = flat_spec(text, modes, codes)
        return [(Task(spec, (total, *addresses), blocks_for(-(-total // EACH)), label, flops, traffic),)]
    spec = nested_spec(text, len(ins), len(made.sizes), codes)
    return [(Task(spec, nest.params(made, addresses), blocks_for(total), label, flops, traffic),)]


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    assert choice.spec is not None
    shapes = full_shapes(call) or []
    return bind_text(str(choice.spec["body"]), views(call, ins), shapes, outs[0], call.node.results[0].name)


TEMPLATES = (Template("pointwise", emit_flat), Template("pointwise_nest", emit_nest))
RULES = (Rule("pointwise", ("*pointwise*",), _choose, nothing, _bind, half=True),)
