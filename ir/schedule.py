"""What is left to do at run time: kernels, steps, addresses. Data only; lower.py makes it, the executor runs it.

A Schedule is for one set of input shapes. It prints and parses back (schedule_text.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import numpy as np

from graphc.ir.opdef import Call
from graphc.ir.types import TensorType

Static = int | str


@dataclass(frozen=True)
class KernelSpec:
    """A kernel to generate: a template of the target and its static parameters. Sizes are never among them.

    Equal specs are one kernel, shared by every layer that needs it. Text: ``conv_direct{kh=3,kw=3,tile=14}``.
    """

    template: str
    params: tuple[tuple[str, Static], ...]

    @staticmethod
    def make(template: str, **params: Static) -> KernelSpec:
        """A spec with its parameters in sorted order."""
        return KernelSpec(template, tuple(sorted(params.items())))

    def __getitem__(self, name: str) -> Static:
        return dict(self.params)[name]

    def get(self, name: str, default: Static) -> Static:
        """A parameter, or what it is where the spec has none of this name."""
        return dict(self.params).get(name, default)

    def but(self, **others: Static) -> KernelSpec:
        """The spec with other or further parameters."""
        return KernelSpec.make(self.template, **{**dict(self.params), **others})

    @property
    def shared(self) -> int:
        """Bytes of shared memory that a block of a card's kernel is launched with, beside what the code declares."""
        return int(self.get("shared", 0))

    def int(self, name: str) -> int:
        """An integer parameter."""
        return int(dict(self.params)[name])

    @property
    def name(self) -> str:
        """A stable identifier: the template and eight hex digits of the parameters."""
        return f"{self.template}_{blake2b(str(self).encode(), digest_size=4).hexdigest()}"

    @property
    def library(self) -> str:
        """The library that does the task (``ir/library_call.py``); empty where the kernel is one to generate."""
        return str(self.get("library", ""))

    def __str__(self) -> str:
        return self.template + "{" + ",".join(f"{k}={v!r}" for k, v in self.params) + "}"


@dataclass(frozen=True)
class Address:
    """A place in memory, resolved when a schedule is bound to buffers.

    space: ``arena`` (``index`` is the number of the buffer that is meant, for the proof that it is alive: the offset
    alone says where); ``const``, ``in`` and ``out`` (``index`` says which), ``scratch`` (base of all
    threads' scratch; thread t uses base + t * stride, where the space ``stride`` gives that number of bytes itself);
    ``run``, no place either: how many runs there were before this one, for seeds;
    ``status``, the word for the number of an error that the check ``index`` of the schedule explains (a rule leaves the
    index 0, lowering gives each call its own).
    offset: bytes.
    """

    space: str
    offset: int = 0
    index: int = 0

    def plus(self, nbytes: int) -> Address:
        """The address ``nbytes`` further on."""
        return Address(self.space, self.offset + nbytes, self.index)


Param = int | Address


@dataclass(frozen=True)
class Task:
    """One kernel call: ``units`` independent pieces of work that threads share out.

    params: what the kernel finds at its parameter address, as int64 each. label: blobs, for people.
    flops, nbytes: work and memory traffic, for the bounds that ``graphc bench`` prints.
    """

    kernel: KernelSpec
    params: tuple[Param, ...]
    units: int
    label: str = ""
    flops: int = 0
    nbytes: int = 0


Step = tuple[Task, ...]
"""Tasks without dependencies on each other; a step starts when the one before it is complete."""

Halo = tuple[int, int, int, int]
NO_HALO: Halo = (0, 0, 0, 0)
"""Zero border of a 4-D value in pixels: top, left, bottom, right."""


@dataclass(frozen=True)
class View:
    """Where a value lies. strides: in elements; 4-D values (N, C or C/block, H, W): image, plane, row, pixel.

    address: of the first logical element, inside any halo. dense: no halo and no neighbours, plain row-major order of
    the physical shape.
    """

    address: Address
    type: TensorType
    strides: tuple[int, ...]
    dense: bool = True


@dataclass
class Choice:
    """What a backend decided for one node. It holds for every batch and image size, and is stored in plans.

    rule: name of the rule of the library that made it. spec: main kernel, None where nothing runs. packed: operand
    index -> weight rearranged for the kernel; it replaces the operand, and the view that ``bind`` gets for it is dense
    in the packed shape. cost: predicted nanoseconds on one core for the types at hand. again: the node computes what
    another one has computed before, to save memory.
    """

    rule: str
    spec: KernelSpec | None = None
    packed: dict[int, np.ndarray] = field(default_factory=dict)
    cost: float = 0.0
    again: bool = False


@dataclass(frozen=True)
class Needs:
    """What a chosen kernel asks of memory for the types at hand.

    halo: operand index -> zero border that the kernel reads. dense: operands that it reads in dense form only;
    dense_out: it writes dense results only. alias: result 0 is operand 0 in the same memory, nothing runs (Reshape).
    workspace: bytes for the call as a whole while it runs. scratch: bytes for each thread.
    """

    halo: Mapping[int, Halo] = field(default_factory=dict)
    dense: frozenset[int] = frozenset()
    dense_out: bool = False
    alias: bool = False
    workspace: int = 0
    scratch: int = 0


class Library(Protocol):
    """The kernels of one target, as lowering and the compiler see them (``backends/<target>`` implements it)."""

    @property
    def target_name(self) -> str:
        """Text form of the target, stored in plans."""

    def choose(self, call: Call) -> Choice:
        """The best kernel for a call whose types are static; raises ``LoweringError`` with reason and remedy."""

    def needs(self, call: Call, choice: Choice) -> Needs:
        """What the choice asks of memory for the call's types."""

    def bind(
        self, call: Call, choice: Choice, ins: Sequence[View | None], outs: Sequence[View], workspace: Address
    ) -> list[Step]:
        """The steps that compute ``outs`` from ``ins`` (operands in order, those of an epilogue included)."""

    def halo_task(self, view: View, halo: Halo) -> Task:
        """The task that zeroes the halo of a 4-D value."""

    def copy_task(self, source: View, target: View) -> Task:
        """The task that copies a value between views of equal logical shape, changing layout where they differ."""

    def source(self, spec: KernelSpec) -> str:
        """The generated source of a kernel: ``def <spec.name>(p, lo, hi, tid)``."""


@dataclass(frozen=True)
class Port:
    """An input or output of a plan: blob name and type."""

    name: str
    type: TensorType


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena: bytes [offset, offset + size) while steps first..last run. names: the values in it.

    reasons: for people, why the values share it, and what it is where it is no value: a copy, workspace, a kept blob.
    """

    names: tuple[str, ...]
    offset: int
    size: int
    first: int
    last: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryPlan:
    """How the arena was planned, and what is known of its size; all sizes in bytes.

    lower_bound: what no placement of these buffers in this order goes below: what lives at the busiest step, or more
    where a search has proven it, which ``method`` says by "proven". optimal: no smaller arena holds these buffers with
    these lifetimes. method: how the offsets were found. order: how the order of the steps was chosen. unshared: all
    values and workspaces of the arena, if none shared memory. recomputed: the values that are computed again right
    before a late use; recomputed_flops, recomputed_bytes: what that costs, as floating-point operations and memory
    traffic.
    """

    lower_bound: int = 0
    optimal: bool = False
    method: str = ""
    unshared: int = 0
    order: str = ""
    recomputed: tuple[str, ...] = ()
    recomputed_flops: int = 0
    recomputed_bytes: int = 0


@dataclass(frozen=True)
class ConstantSlot:
    """A (packed) weight; in a plan file, bytes [offset, offset + nbytes) of the constant section."""

    name: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Check:
    """A call that may meet data that it has to refuse: how errors name it, and its errors by number, from 1 on."""

    call: str
    errors: tuple[str, ...]

    def message(self, code: int) -> str:
        """The text of an error number."""
        said = self.errors[code - 1] if 0 < code <= len(self.errors) else f"error {code}"
        return f"{self.call}: {said}"


@dataclass
class Schedule:
    """Everything the executor needs but the machine code and the bytes of the constants."""

    target: str
    inputs: list[Port]
    outputs: list[Port]
    steps: list[Step]
    arena_bytes: int
    scratch_bytes: int
    constants: list[ConstantSlot]
    buffers: list[Buffer]
    checks: list[Check] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    """Blob name -> view, for the blobs that can be fetched after a run; valid only if bound with that blob kept."""
    memory: MemoryPlan = MemoryPlan()

    @property
    def kernels(self) -> list[KernelSpec]:
        """The distinct kernels in order of first use."""
        return list(dict.fromkeys(t.kernel for s in self.steps for t in s))
