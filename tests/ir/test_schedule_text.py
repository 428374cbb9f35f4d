"""Schedules come back from their text."""

from __future__ import annotations

import random

import pytest
from random_graphs import NAMES, name, type_

from graphc.ir import ParseError, TensorType, parse_schedule, print_schedule
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
    Task,
    View,
)

SPEC = KernelSpec.make("conv_direct", kh=3, kw=3, tile="14x2")
SMALL = Schedule(
    "x86-64-v4",
    [Port("data", TensorType.parse("float[1,3,8,8]"))],
    [Port("prob", TensorType.parse("float[1,10]"))],
    [(Task(SPEC, (Address("in"), Address("const", 64), Address("arena", 256), 8), 12, "conv1", 1000, 64),)],
    1024,
    128,
    [ConstantSlot("conv1_w", 64, 6912)],
    [Buffer(("conv1", "conv1_relu"), 256, 512, 0, 3, ("conv1_relu overwrites conv1",))],
    [Check("op #2 Gather", ("an index is out of range", "no rows"))],
    {"conv1": View(Address("arena", 256), TensorType.parse("float[1,16,8,8]{nchw16c}"), (1024, 1024, 128, 16), False)},
    MemoryPlan(512, True, "by size", 2048, "as given", ("conv1",), 1000, 64),
)
TEXT = """schedule target="x86-64-v4" arena=1024 scratch=128 {
  memory bound=512 unshared=2048 optimal method="by size" order="as given" recomputed flops=1000 bytes=64 : "conv1"
  input "data" : float[1,3,8,8]
  output "prob" : float[1,10]
  constant "conv1_w" at 64 bytes=6912
  buffer at 256 bytes=512 steps=0..3 : "conv1" "conv1_relu" because "conv1_relu overwrites conv1"
  check "op #2 Gather" : "an index is out of range" "no rows"
  view "conv1" = arena+256 : float[1,16,8,8]{nchw16c} strides=[1024, 1024, 128, 16] padded
  kernel KERNEL = conv_direct {kh=3, kw=3, tile="14x2"}
  step {
    KERNEL(in[0], const+64, arena+256, 8) units=12 flops=1000 bytes=64 label="conv1"
  }
}""".replace("KERNEL", SPEC.name)


def test_the_text_of_a_schedule() -> None:
    assert print_schedule(SMALL) == TEXT
    assert parse_schedule(TEXT) == SMALL


def random_schedule(r: random.Random) -> Schedule:
    specs = [
        KernelSpec.make(r.choice(NAMES), **{r.choice(NAMES) or "k": r.choice((r.randrange(-9, 99), "é", True))})
        for _ in range(r.randrange(1, 4))
    ]

    def address() -> Address:
        space = r.choice(("arena", "const", "in", "out", "scratch", "stride"))
        return Address(space, r.randrange(-64, 999), r.randrange(3))

    def task() -> Task:
        params: list[Param] = [r.choice((address(), r.randrange(-(2**63), 2**63))) for _ in range(r.randrange(6))]
        return Task(r.choice(specs), tuple(params), r.randrange(99), name(r), r.randrange(2) * 7, r.randrange(2) * 9)

    def ports() -> list[Port]:
        return [Port(name(r), type_(r)) for _ in range(r.randrange(3))]

    def names() -> tuple[str, ...]:
        return tuple(name(r) for _ in range(r.randrange(3)))

    buffers = [Buffer(names(), 0, 64, 1, 2, names()) for _ in range(r.randrange(3))]
    steps = [tuple(task() for _ in range(r.randrange(3))) for _ in range(r.randrange(5))]
    views = {name(r): View(address(), type_(r), tuple(range(r.randrange(5))), r.random() < 0.5) for _ in range(3)}
    slots = [ConstantSlot(name(r), 64, 128)]
    checks = [Check(name(r), tuple(name(r) for _ in range(r.randrange(3)))) for _ in range(r.randrange(3))]
    recomputed = names()
    cost = (r.randrange(99), r.randrange(99)) if recomputed else (0, 0)
    memory = MemoryPlan(r.randrange(9), r.random() < 0.5, name(r), r.randrange(9), name(r), recomputed, *cost)
    return Schedule(name(r), ports(), ports(), steps, r.randrange(999), 0, slots, buffers, checks, views, memory)


@pytest.mark.parametrize("seed", range(100))
def test_every_schedule_comes_back(seed: int) -> None:
    schedule = random_schedule(random.Random(seed))
    text = print_schedule(schedule)
    assert parse_schedule(text) == schedule
    assert print_schedule(parse_schedule(text)) == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("buffer", "bufer", "line 6, column 3: 'bufer' starts no line of a schedule"),
        ("kernel conv", "kernel other", "is not declared"),
        ("units=12", "units=x", "expected an int"),
        ("float[1,10]", "flat[1,10]", "unknown element type 'flat'"),
        ("steps=0..3", "steps=0", "expected steps such as 0..3"),
    ],
)
def test_errors_name_the_place(old: str, new: str, message: str) -> None:
    with pytest.raises(ParseError, match=message.replace("..", r"\.\.")):
        parse_schedule(TEXT.replace(old, new))
