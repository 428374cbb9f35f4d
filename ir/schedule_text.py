"""Schedule <-> text, exactly. ``docs/ir.md`` shows the form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from graphc.ir.attrs import quote, unquote
from graphc.ir.printer import attr_name
from graphc.ir.scanner import INT, QUOTED, Scanner
from graphc.ir.schedule import (
    Address,
    Buffer,
    Check,
    ConstantSlot,
    KernelSpec,
    MemoryPlan,
    Param,
    Port,
    Schedule,
    Static,
    Step,
    Task,
    View,
)

_PLACE = re.compile(r"([A-Za-z_]\w*)(?:\[(-?\d+)\])?(?:([+-]\d+))?")
_BOOL = re.compile(r"true\b|false\b")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


def print_schedule(schedule: Schedule) -> str:
    """The text of a schedule; ``parse_schedule`` gives an equal one back."""
    return "\n".join(_lines(schedule))


def parse_schedule(text: str) -> Schedule:
    """The schedule that a text describes; raises ``ParseError`` with line and column."""
    p = _Parser(text)
    schedule = p.schedule()
    p.end()
    return schedule


def address_text(a: Address) -> str:
    """``arena+64``, ``const``, ``in[1]``, ``out[0]+256``."""
    index = f"[{a.index}]" if a.index or a.space in ("in", "out", "status") else ""
    return a.space + index + (f"{a.offset:+d}" if a.offset else "")


def _lines(s: Schedule) -> Iterator[str]:
    yield f"schedule target={quote(s.target)} arena={s.arena_bytes} scratch={s.scratch_bytes} {{"
    if s.memory != MemoryPlan():
        yield "  " + _memory_text(s.memory)
    for word, ports in (("input", s.inputs), ("output", s.outputs)):
        for port in ports:
            yield f"  {word} {quote(port.name)} : {port.type}"
    for c in s.constants:
        yield f"  constant {quote(c.name)} at {c.offset} bytes={c.nbytes}"
    for b in s.buffers:
        why = " because" + _quoted(b.reasons) if b.reasons else ""
        yield f"  buffer at {b.offset} bytes={b.size} steps={b.first}..{b.last} :{_quoted(b.names)}{why}"
    for check in s.checks:
        yield f"  check {quote(check.call)} :" + _quoted(check.errors)
    for name, view in s.views.items():
        yield f"  view {quote(name)} = {_view_text(view)}"
    for kernel in s.kernels:
        yield f"  kernel {attr_name(kernel.name)} = {_spec_text(kernel)}"
    for step in s.steps:
        yield "  step {"
        for task in step:
            yield f"    {_task_text(task)}"
        yield "  }"
    yield "}"


def _quoted(texts: tuple[str, ...]) -> str:
    return "".join(f" {quote(t)}" for t in texts)


def _memory_text(m: MemoryPlan) -> str:
    text = f"memory bound={m.lower_bound} unshared={m.unshared}" + (" optimal" if m.optimal else "")
    text += f" method={quote(m.method)} order={quote(m.order)}"
    again = f" recomputed flops={m.recomputed_flops} bytes={m.recomputed_bytes} :" + _quoted(m.recomputed)
    return text + (again if m.recomputed else "")


def _view_text(v: View) -> str:
    strides = ", ".join(map(str, v.strides))
    return f"{address_text(v.address)} : {v.type} strides=[{strides}]" + ("" if v.dense else " padded")


def _spec_text(spec: KernelSpec) -> str:
    params = ", ".join(f"{attr_name(k)}={_static_text(v)}" for k, v in spec.params)
    return f"{attr_name(spec.template)} {{{params}}}"


def _static_text(value: Static) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else str(value)


def _task_text(t: Task) -> str:
    params = ", ".join(address_text(p) if isinstance(p, Address) else str(p) for p in t.params)
    text = f"{attr_name(t.kernel.name)}({params}) units={t.units}"
    for name, value in (("flops", t.flops), ("bytes", t.nbytes)):
        text += f" {name}={value}" if value else ""
    return text + (f" label={quote(t.label)}" if t.label else "")


class _Parser(Scanner):
    """The grammar of schedules; kernels are declared before the steps that call them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.kernels: dict[str, KernelSpec] = {}

    def schedule(self) -> Schedule:
        self.expect("schedule")
        self.expect("target=")
        target = self.string("a target in quotes")
        s = Schedule(target, [], [], [], self.field("arena"), self.field("scratch"), [], [])
        self.expect("{")
        while not self.eat("}"):
            self.line(s)
        return s

    def line(self, s: Schedule) -> None:
        at = self.pos
        word = self.word("a line of a schedule, or '}'")
        if word in ("input", "output"):
            (s.inputs if word == "input" else s.outputs).append(self.port())
        elif word == "constant":
            s.constants.append(ConstantSlot(self.string("a name in quotes"), self.place(), self.field("bytes")))
        elif word == "memory":
            s.memory = self.memory()
        elif word == "buffer":
            s.buffers.append(self.buffer())
        elif word == "check":
            call = self.string("a call in quotes")
            self.expect(":")
            s.checks.append(Check(call, self.strings()))
        elif word == "view":
            name = self.string("a blob's name in quotes")
            self.expect("=")
            s.views[name] = self.view()
        elif word == "kernel":
            self.kernel()
        elif word == "step":
            s.steps.append(self.step())
        else:
            self.fail(f"'{word}' starts no line of a schedule", at)

    def integer(self) -> int:
        return int(self.need(INT, "an int").group())

    def field(self, name: str) -> int:
        self.expect(f"{name}=")
        return self.integer()

    def place(self) -> int:
        self.expect("at")
        return self.integer()

    def port(self) -> Port:
        name = self.string("a blob's name in quotes")
        self.expect(":")
        return Port(name, self.type())

    def buffer(self) -> Buffer:
        offset, size = self.place(), self.field("bytes")
        self.expect("steps=")
        steps = self.need(_RANGE, "steps such as 0..3")
        self.expect(":")
        names = self.strings()
        reasons = self.strings() if self.eat("because") else ()
        return Buffer(names, offset, size, int(steps.group(1)), int(steps.group(2)), reasons)

    def memory(self) -> MemoryPlan:
        bound, unshared, optimal = self.field("bound"), self.field("unshared"), self.eat("optimal")
        self.expect("method=")
        method = self.string("a method in quotes")
        self.expect("order=")
        plan = MemoryPlan(bound, optimal, method, unshared, self.string("an order in quotes"))
        if not self.eat("recomputed"):
            return plan
        flops, nbytes = self.field("flops"), self.field("bytes")
        self.expect(":")
        return replace(plan, recomputed=self.strings(), recomputed_flops=flops, recomputed_bytes=nbytes)

    def strings(self) -> tuple[str, ...]:
        found = []
        while m := self.match(QUOTED):
            found.append(self.convert(unquote, m.group(1), at=m.start()))
        return tuple(found)

    def address(self) -> Address:
        m = self.need(_PLACE, "an address such as arena+64")
        return Address(m.group(1), int(m.group(3) or 0), int(m.group(2) or 0))

    def view(self) -> View:
        address = self.address()
        self.expect(":")
        type = self.type()
        self.expect("strides=")
        self.expect("[")
        strides = [] if self.eat("]") else self.items(self.integer, "]")
        return View(address, type, tuple(strides), not self.eat("padded"))

    def kernel(self) -> None:
        at = self.pos
        name = self.word("a kernel's name")
        self.expect("=")
        template = self.word("a template's name")
        self.expect("{")
        params = [] if self.eat("}") else self.items(self.static, "}")
        if name in self.kernels:
            self.fail(f"kernel '{name}' is declared twice", at)
        self.kernels[name] = KernelSpec(template, tuple(params))

    def static(self) -> tuple[str, Static]:
        name = self.word("a parameter's name")
        self.expect("=")
        truth = self.match(_BOOL)
        if truth:
            return name, truth.group() == "true"
        self.skip()
        return name, self.string("a value") if self.text.startswith('"', self.pos) else self.integer()

    def step(self) -> Step:
        self.expect("{")
        tasks = []
        while not self.eat("}"):
            tasks.append(self.task())
        return tuple(tasks)

    def task(self) -> Task:
        at = self.pos
        name = self.word("a kernel's name")
        kernel = self.kernels.get(name) or self.fail(f"kernel '{name}' is not declared", at)
        self.expect("(")
        params = [] if self.eat(")") else self.items(self.param, ")")
        units = self.field("units")
        flops = self.integer() if self.eat("flops=") else 0
        nbytes = self.integer() if self.eat("bytes=") else 0
        label = self.string("a label in quotes") if self.eat("label=") else ""
        return Task(kernel, tuple(params), units, label, flops, nbytes)

    def param(self) -> Param:
        m = self.match(INT)
        return int(m.group()) if m else self.address()
