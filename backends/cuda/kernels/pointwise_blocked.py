"""Pointwise operators and fused bodies on blocked images: a thread has a pixel's eight channels of a block."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.broadcast import full_shapes, inputs, nbytes, operand_strides, views
from graphc.backends.cuda.kernels import nest
from graphc.backends.cuda.kernels.each_thread import each_thread
from graphc.backends.cuda.kernels.typed import blocks_of, code_of, is_readable
from graphc.backends.cuda.pointwise import emit as emit_text
from graphc.backends.cuda.rules import THREADS, Rule, Template, blocks_for, is_floating, require_reach
from graphc.backends.cuda.target import BLOCK, CudaTarget
from graphc.backends.lines import Lines
from graphc.backends.needs import nothing
from graphc.backends.nest import Nest
from graphc.backends.pointwise import text_of_call
from graphc.ir.opdef import Call
from graphc.ir.schedule import Address, Choice, KernelSpec, Param, Static, Step, Task, View

# How a thread reads an operand:
# v: eight channels that lie together    b: one element for all of them    m: eight elements of any distance, a plain
#    value's, where those beyond the last channel are any others


def make_spec(text: str, modes: str, codes: Sequence[str], dims: int) -> KernelSpec:
    """The kernel of a text for operands read in ``modes``; codes: of result and operands; dims: of the nest."""
    static: dict[str, Static] = {"modes": modes, "codes": ",".join(codes), "dims": dims, "threads": THREADS}
    return KernelSpec.make("pointwise_blocked", body=text, **static)


def emit(spec: KernelSpec, target: CudaTarget) -> str:
    """Source of ``pointwise_blocked``; parameters: the nest (result first), then for operands of mode ``m`` the
    distance of channels and the last element's offset."""
    s, modes, dims = Lines(), str(spec["modes"]), spec.int("dims")
    names, (out, *codes) = [f"x{k}" for k in range(len(modes))], str(spec["codes"]).split(",")
    bounds = [f"{n}_{part}" for n, mode in zip(names, modes) if mode == "m" for part in ("step", "last")]
    with each_thread(s, spec, [*nest.arguments(["y", *names], dims), *bounds]):
        nest.decode(s, ["y", *names], dims)
        for n, mode, code in zip(names, modes, codes):
            if mode == "v":
                s(f"{n}v = ld8_{code}({n}, {n}_o)")
            if mode == "b":
                s(f"{n}v = ld_{code}({n}, {n}_o)")
        results = []
        for k in range(BLOCK):
            values = [_element(n, mode, code, k) for n, mode, code in zip(names, modes, codes)]
            for n, value in zip(names, values):
                s(f"{n}e = {value}")
            lines, result = emit_text(str(spec["body"]), [f"{n}e" for n in names], f"r{k}_")
            for line in lines:
                s(line)
            s(f"r{k} = {result}")
            results.append(f"r{k}")
        s(f"st8_{out}(y, y_o, {', '.join(results)})")
    return s.text()


def _element(name: str, mode: str, code: str, k: int) -> str:
    at_k = {"v": f"{name}v[{k}]", "b": f"{name}v"}
    return at_k.get(mode, f"ld_{code}({name}, min({name}_o + {k} * {name}_step, {name}_last))")


def _choose(call: Call, target: CudaTarget) -> Choice | None:
    y, present = call.node.results[0].type, inputs(call)
    types = [y, *(call.type(i) for i in present)]
    if not is_floating(call) or y.layout.block != BLOCK or not all(map(is_readable, types)):
        return None
    if full_shapes(call) is None:
        return None
    spec = make_spec(text_of_call(call), "v" * len(present), [code_of(t) for t in types], 1)
    return Choice("pointwise_blocked", spec, cost=float(nbytes(call)))


def _mode(view: View, full: tuple[int, ...], channels: int) -> str:
    if full[1] == 1 != channels:
        return "b"
    return "v" if view.type.layout.block == BLOCK else "m"


def _strides(view: View, full: tuple[int, ...], mode: str) -> tuple[int, ...]:
    """Strides of an operand along image, block of channels, row and pixel."""
    if view.type.layout.block == BLOCK:
        strides = tuple(0 if d == 1 else stride for d, stride in zip(full, view.strides))
        return (strides[0], 0 if mode == "b" else view.strides[1], *strides[2:])
    plain = operand_strides(view, full)
    return (plain[0], plain[1] * BLOCK, *plain[2:])


def bind_blocked(
    text: str, operands: Sequence[View], shapes: Sequence[tuple[int, ...]], y: View, label: str
) -> list[Step]:
    """The steps that compute a text: shapes are those under which the operands, blocked or plain, broadcast with the
    blocked result."""
    n, c, h, w = y.type.static_shape
    require_reach(y, *operands)
    modes = [_mode(v, full, c) for v, full in zip(operands, shapes)]
    strides = [y.strides, *(_strides(v, full, mode) for v, full, mode in zip(operands, shapes, modes))]
    made = Nest.make((n, blocks_of(c, BLOCK), h, w), strides).with_a_dimension()
    params: list[Param] = [*nest.params(made, [v.address for v in (y, *operands)])]
    for v, full, mode in zip(operands, shapes, modes):
        if mode == "m":
            plain = operand_strides(v, full)
            params += [plain[1], sum((d - 1) * stride for d, stride in zip(full, plain))]
    codes = [code_of(v.type) for v in (y, *operands)]
    spec, total = make_spec(text, "".join(modes), codes, len(made.sizes)), nest.elements(made)
    flops, traffic = y.type.size * text.count("("), sum(v.type.nbytes for v in (y, *operands))
    return [(Task(spec, tuple(params), blocks_for(total), label, flops, traffic),)]


def _bind(
    call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address, target: CudaTarget
) -> list[Step]:
    assert choice.spec is not None
    shapes = full_shapes(call) or []
    return bind_blocked(str(choice.spec["body"]), views(call, ins), shapes, outs[0], call.node.results[0].name)


TEMPLATES = (Template("pointwise_blocked", emit),)
RULES = (Rule("pointwise_blocked", ("*pointwise*",), _choose, nothing, _bind, half=True),)
