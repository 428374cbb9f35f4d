"""LibraryCall: a task that a library of the card's vendor does, as data: operation, shapes, strides, addresses.

A plan holds such a call as a task like all others, whose kernel names the library (``KernelSpec.library``); the runtime
reads the call back from the task's numbers, and asks the library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphc.ir.errors import PlanError
from graphc.ir.schedule import KernelSpec, Param, Task

CONVOLUTION, PRODUCT = "cudnn", "cublaslt"
"""The libraries, each with the one operation that it is asked for."""
WINDOW = 8
"""Numbers of a convolution's window: stride, dilation, padding before and behind, each down and across."""
TF32 = "tf"
"""float32 that a library may round to TF32 before it multiplies (``ir/fpmath.py``)."""
KINDS = ("f4", "f2", "bf", TF32)
"""Element types: float32, float16, bfloat16, and float32 operands of a product in TF32."""
ALIGNMENT = 256
"""Bytes: of what lies in the workspace, and to spare in it so that the runtime can round its beginning up."""


@dataclass(frozen=True)
class Operand:
    """What a library reads or writes. kind: of ``KINDS``. shape, strides: in elements. place: of the first one."""

    kind: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    place: Param


@dataclass(frozen=True)
class LibraryCall:
    """One call: y = relu(x * w + bias), sums in float32; bias and relu are optional. x and w are of one kind.

    ``CONVOLUTION``: x (N, C, H, W), w (M, C / groups, kh, kw), y (N, M, OH, OW), and ``window``. ``PRODUCT``: x
    (batch, rows, inner), w (batch, inner, columns), y (batch, rows, columns), and an empty ``window``. bias: (M,) or
    (columns,). workspace: ``room`` bytes that the library may use meanwhile.
    """

    library: str
    x: Operand
    w: Operand
    bias: Operand | None
    y: Operand
    relu: bool
    window: tuple[int, ...]
    workspace: Param
    room: int

    @property
    def operands(self) -> list[Operand]:
        """Those that there are: x, w, bias, y."""
        return [o for o in (self.x, self.w, self.bias, self.y) if o is not None]

    def task(self, label: str, flops: int, nbytes: int) -> Task:
        """The task of a schedule; ``read_call`` is the inverse."""
        return Task(self._spec(), tuple(self._params()), 1, label, flops, nbytes)

    def _spec(self) -> KernelSpec:
        kinds = ",".join(o.kind for o in self.operands)
        return library_spec(self.library, kinds, bias=self.bias is not None, relu=self.relu)

    def _params(self) -> Iterator[Param]:
        for o in self.operands:
            yield from (o.place, *o.shape, *o.strides)
        yield from (*self.window, self.workspace, self.room)


def library_spec(library: str, kinds: str, *, bias: bool, relu: bool) -> KernelSpec:
    """What calls of a library have in common; kinds: of x, w, bias if there is one, y, with commas."""
    return KernelSpec.make(library, library=library, kinds=kinds, bias=int(bias), relu=int(relu))


def read_call(spec: KernelSpec, params: Sequence[Param]) -> LibraryCall:
    """The call that a task describes; raises ``PlanError`` where it describes none."""
    try:
        return _read(spec, list(params))
    except (KeyError, ValueError) as error:
        raise PlanError(
            f"the plan's call of a library ({spec}) cannot be read: {error}",
            "the plan is damaged or was written by another version: compile the net again",
        ) from None


def _read(spec: KernelSpec, left: list[Param]) -> LibraryCall:
    def take(count: int) -> tuple[Param, ...]:
        taken = tuple(left[:count])
        del left[:count]
        return taken

    def sizes(count: int) -> tuple[int, ...]:
        taken = tuple(v for v in take(count) if isinstance(v, int))
        if len(taken) != count:
            raise ValueError(f"{count} sizes are missing")
        return taken

    def operand(kind: str, rank: int) -> Operand:
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no element type")
        (place,) = take(1)
        return Operand(kind, sizes(rank), sizes(rank), place)

    rank = {CONVOLUTION: 4, PRODUCT: 3}[spec.library]
    ranks = [rank, rank, *([1] if spec.int("bias") else []), rank]
    found = [operand(kind, r) for kind, r in zip(str(spec["kinds"]).split(","), ranks, strict=True)]
    bias = found[2] if spec.int("bias") else None
    window = sizes(WINDOW if spec.library == CONVOLUTION else 0)
    (workspace,), (room,) = take(1), sizes(1)
    if left:
        raise ValueError(f"{len(left)} numbers are left over")
    relu = bool(spec.int("relu"))
    return LibraryCall(spec.library, found[0], found[1], bias, found[-1], relu, window, workspace, room)
