"""OpDef: everything graphc knows of an operator, in one record; the registry of records; Call, what its rules see.

A family module of ``ir/ops`` declares records with ``op(...)``; importer, verifier, printer, passes, emitters, docs and
tests read them. Nothing else in graphc lists operators.
"""

from __future__ import annotations

import difflib
import enum
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphc.ir.attrs import Attr
from graphc.ir.errors import VerifyError
from graphc.ir.graph import Graph, Node
from graphc.ir.ops._links import LINKS
from graphc.ir.types import OPEN_QUANT, UNKNOWN, Dim, DType, Quant, TensorType

if TYPE_CHECKING:
    from graphc.ir.gradient import GradientMaker


class Trait(enum.Flag):
    """What passes may assume of an operator."""

    NONE = 0
    POINTWISE = enum.auto()
    """``scalar`` is the whole meaning: output elements depend on the aligned input elements alone."""
    IDENTITY = enum.auto()
    """Output 0 equals input 0 (Copy, Dropout at test time ...): canonicalise forwards it."""
    VIEW = enum.auto()
    """Output 0 is input 0 in row-major order under another shape (Reshape, Flatten, Squeeze ...)."""
    EPILOGUE = enum.auto()
    """A kernel of it can apply a pointwise graph to its output before storing (see ``Node`` attribute ``epilogue``)."""
    BLOCKED = enum.auto()
    """4-D operand 0 and result 0 may be in NCHWc; the operator never mixes channels unless it is a Conv or LRN."""
    EFFECT = enum.auto()
    """Must not be removed, repeated or reordered with other effects."""
    RANDOM = enum.auto()
    """Draws random numbers: never folded or merged."""
    INTERNAL = enum.auto()
    """Made by graphc, absent from Caffe2; its name starts with ``g.``."""
    HOST = enum.auto()
    """Runs in Python between native pieces, by its ``reference``: strings, maps, control flow."""
    SIZED = enum.auto()
    """``scalar`` holds sizes of the operands as numbers, so that a plan is for these sizes alone."""


@dataclass(frozen=True)
class Port:
    """An input or output. optional: may be absent. variadic: stands for any number, and is the last.

    spread: what a variadic port stands for comes to a loop one by one, not as a tuple.
    raw: a loop gets flat vectors of bytes, because the types of the elements may differ.
    """

    name: str
    doc: str = ""
    optional: bool = False
    variadic: bool = False
    spread: bool = False
    raw: bool = False


@dataclass(frozen=True)
class Arg:
    """An argument. kind: int, float, string, ints, floats, strings, graph, any. default None: absent means absent.

    choices: all values of a text argument; a loop gets the number of the value among them.
    """

    name: str
    kind: str
    default: Attr | None = None
    doc: str = ""
    choices: tuple[str, ...] = ()


class Call:
    """An operator call as inference, reference and kernels see it: types, arguments with defaults, constants."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.opdef = node.opdef
        self.runner: Callable[[Graph, Sequence[np.ndarray]], list[np.ndarray]] | None = None

    @property
    def n_inputs(self) -> int:
        """Number of operand slots, those of a fused epilogue and of a size pass excluded."""
        return len(self.node.operands) - n_epilogue_operands(self.node) - n_carried(self.node)

    @property
    def n_outputs(self) -> int:
        """Number of results."""
        return len(self.node.results)

    @property
    def n_results(self) -> int:
        """Number of results; of a size pass, those of the operator that it is a part of."""
        given = self.node.attrs.get(RESULTS)
        return given if isinstance(given, int) else self.n_outputs

    def has(self, i: int) -> bool:
        """Input ``i`` is present."""
        return i < self.n_inputs and self.node.operands[i] is not None

    def type(self, i: int) -> TensorType:
        """Type of input ``i``; fails if it is absent."""
        v = self.node.operands[i] if i < len(self.node.operands) else None
        if v is None:
            self.fail(f"input {i} ({self.input_name(i)}) is missing")
        return v.type

    def constant(self, i: int) -> np.ndarray | None:
        """Elements of input ``i`` where it is a weight with storage, else None; an epilogue's operand is no input."""
        v = self.node.operands[i] if i < self.n_inputs else None
        return v.data if v is not None else None

    def is_weight(self, i: int) -> bool:
        """Input ``i`` is a weight, at hand or (packed for a kernel of a loaded plan) not."""
        v = self.node.operands[i] if i < self.n_inputs else None
        return v is not None and v.is_constant

    def given(self, name: str) -> bool:
        """The argument was given explicitly."""
        return name in self.node.attrs

    def arg(self, name: str) -> Any:
        """Value of an argument, its default where it was not given. Strings come as ``str``."""
        value = self.node.attrs.get(name)
        if value is None:
            value = self.opdef.arg(name).default
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, int) and self.opdef.arg(name).kind == "float":
            return float(value)
        return value

    def input_name(self, i: int) -> str:
        """Name of input port ``i``."""
        ports = self.opdef.inputs
        return ports[min(i, len(ports) - 1)].name if ports else str(i)

    def run(self, graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of a sub-graph of the call for arrays of its inputs: interpreted or compiled, as the call is."""
        if self.runner is None:
            self.fail("a sub-graph is run outside of an evaluation")
        return self.runner(graph, arrays)

    def fail(self, message: str, help: str = "") -> NoReturn:
        """Raise ``VerifyError`` that names the operator, its place in the net and its blobs."""
        node = self.node
        ins = ", ".join(f"'{v.name}': {v.type}" if v is not None else "-" for v in node.operands)
        outs = ", ".join(f"'{r.name}'" for r in node.results)
        raise VerifyError(f"{node.location}: {node.op} ({ins}) -> {outs}: {message}", help)


Pairs = tuple[tuple[int, int], ...]
EACH: Pairs = tuple((i, i) for i in range(1000))
"""Every input with the output of its number, of operators with any number of them."""

Infer = Callable[[Call], Sequence[TensorType]]
Reference = Callable[..., Sequence[np.ndarray]]


@dataclass(frozen=True)
class OpDef:
    """One operator.

    infer: types of all outputs from types, arguments and constants; unknown dims are allowed, wrong calls ``fail``.
    scalar(o, call, *xs): pointwise meaning of output 0 (``ir/scalar.py``).
    align(call, i): the shape under which input ``i`` broadcasts by NumPy's rules with output 0 (default: its own).
    loop: meaning as a function of arrays in the subset of Python that Numba compiles
    (see ``docs/adding-an-operator.md``). scratch(call): types of further zeroed arrays that it works in. errors: what
    the number that it may return means, from 1 on.
    constants(call): the numbers that the loop gets in place of the arguments, where these are not what it needs:
    windows, scales and zero points.
    sizes: a loop that gives the dimensions of outputs that depend on elements, in the order in which ``infer`` leaves
    them open. shape_inputs: inputs whose elements ``infer`` needs for the output shapes, or these of a call.
    reference(call, *arrays): meaning in NumPy, of all outputs; needed where neither ``scalar`` nor ``loop`` is given.
    call_traits(call): traits that hold for this call besides ``traits`` (Dropout is the identity at test time).
    inplace: pairs (input, output) that Caffe2 lets share a blob; enforced: those that it wants to share one.
    gradient: which operators compute it (``ir/gradient.py`` has the forms); None: asking for it is an error.
    flops(call): multiply-adds count twice.
    """

    name: str
    doc: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    infer: Infer
    args: tuple[Arg, ...] = ()
    scalar: Callable[..., Any] | None = None
    align: Callable[[Call, int], tuple[Dim, ...]] | None = None
    loop: Callable[..., int | None] | None = None
    scratch: Callable[[Call], Sequence[TensorType]] | None = None
    errors: tuple[str, ...] = ()
    constants: Callable[[Call], Sequence[float | Sequence[float]]] | None = None
    sizes: Callable[..., int | None] | None = None
    shape_inputs: tuple[int, ...] | Callable[[Call], tuple[int, ...]] = ()
    reference: Reference | None = None
    traits: Trait = Trait.NONE
    call_traits: Callable[[Call], Trait] | None = None
    inplace: Pairs = ()
    enforced: Pairs = ()
    gradient: str | Callable[[GradientMaker], None] | None = None
    flops: Callable[[Call], int] | None = None
    family: str = field(default="", compare=False)

    def traits_of(self, call: Call) -> Trait:
        """Everything passes may assume of this call: ``traits`` and what its arguments add; a loop runs in Python on
        strings.
        """
        traits = self.traits | self.call_traits(call) if self.call_traits else self.traits
        return traits | Trait.HOST if self.loop is not None and _has_strings(call) else traits

    def may_share(self, i: int, k: int) -> bool:
        """Caffe2 lets input ``i`` and output ``k`` have one name."""
        return (i, k) in self.inplace or (i, k) in self.enforced

    def arg(self, name: str) -> Arg:
        """The argument's record; raises ``VerifyError`` with the known ones."""
        for a in self.args:
            if a.name == name:
                return a
        raise VerifyError(f"{self.name} has no argument '{name}'", "known: " + ", ".join(a.name for a in self.args))

    def has_arg(self, name: str) -> bool:
        """The record lists the argument."""
        return any(a.name == name for a in self.args)

    def loop_arguments(self, call: Call) -> list[Any]:
        """The numbers at the end of a loop's call: the record's ``constants``, or else the values of all arguments.

        A text with choices comes as its number, -1 for None there.
        """
        if self.constants is not None:
            return list(self.constants(call))
        return [_loop_value(a, call.arg(a.name)) for a in self.args if a.name not in (CARRIED, RESULTS)]


class Seed(int):
    """The seed of a call's random numbers, among its ``constants``: in a later run of the same plan it is another.

    The first run of a plan, and the interpreter's, has the seed itself.
    """


def _has_strings(call: Call) -> bool:
    values = [*call.node.operands, *call.node.results]
    return any(v is not None and v.type.dtype is DType.STRING for v in values)


def _loop_value(arg: Arg, value: Any) -> Any:
    if not arg.choices:
        return value
    return arg.choices.index(value) if value in arg.choices else -1


_REGISTRY: dict[str, OpDef] = {}


def op(name: str, infer: Infer, *, inputs: str = "", outputs: str = "", doc: str = "", **fields: Any) -> OpDef:
    """Declare an operator.

    inputs, outputs: port names, e.g. ``"X W b?"`` (optional), ``"X*"`` (variadic) or ``"X*#"`` (raw, too).
    fields: the rest of ``OpDef``;
    ``gradient`` is that of ``ir/ops/_links.py`` unless given.
    Raises ``ValueError`` if the name is taken.
    """
    if name in _REGISTRY:
        raise ValueError(f"operator {name!r} is declared twice")
    family = fields.pop("family", infer.__module__).removeprefix("graphc.ir.ops.")
    fields.setdefault("gradient", LINKS.get(name))
    record = OpDef(name, doc, _ports(inputs), _ports(outputs), infer, family=family, **fields)
    for part in size_passes(record) if record.sizes else ():
        _REGISTRY[part.name] = part
    return _REGISTRY.setdefault(name, record)


CUSTOM = "custom"
"""The family of the user's own operators, the only records that may go again."""


def withdraw(name: str) -> None:
    """Forget an operator of the user's, where there is one of that name."""
    if name in _REGISTRY and _REGISTRY[name].family == CUSTOM:
        for key in (name, f"g.sizes.{name}", f"g.fill.{name}"):
            _REGISTRY.pop(key, None)


RESULTS = "results"
"""Argument of ``g.sizes.<Name>``: how many results the operator has that it is a part of."""
CARRIED = "carried"
"""Argument of ``g.fill.<Name>``: how many of its last operands its size pass made."""


def n_carried(node: Node) -> int:
    """How many trailing operands a size pass made: the dimensions, then the scratch arrays."""
    carried = node.attrs.get(CARRIED, 0)
    return carried if isinstance(carried, int) else 0


def shape_operands(node: Node) -> list[int]:
    """The operands whose elements have to be known before the output shapes are."""
    opdef, carried = node.opdef, n_carried(node)
    listed = opdef.shape_inputs(Call(node)) if callable(opdef.shape_inputs) else opdef.shape_inputs
    found = [i for i in listed if i < len(node.operands) and node.operands[i] is not None]
    return [*found, *([len(node.operands) - carried] if carried else [])]


def open_dims(types: Sequence[TensorType]) -> int:
    """How many numbers these types lack: unknown dimensions, and two for each scale and zero point to be found."""
    return sum(sum(not isinstance(d, int) for d in t.shape or ()) + 2 * (t.quant == OPEN_QUANT) for t in types)


def with_dims(types: Sequence[TensorType], dims: Sequence[int]) -> list[TensorType]:
    """The types with what they lack, in order, from ``dims``: dimensions, then the scale's bits and the zero point."""
    left, found = iter(dims), []
    for t in types:
        shape = t.shape and tuple(d if isinstance(d, int) else int(next(left)) for d in t.shape)
        quant = t.quant
        if quant == OPEN_QUANT:
            quant = Quant(float(np.int32(next(left)).view(np.float32)), int(next(left)))
        found.append(replace(t, shape=shape, quant=quant))
    return found


def size_passes(record: OpDef) -> tuple[OpDef, OpDef]:
    """The two operators into which one with data-dependent sizes is split before it is lowered.

    ``g.sizes.<Name>`` (inputs -> dims, scratch arrays) and ``g.fill.<Name>`` (inputs, dims, scratch arrays -> outputs),
    which can be lowered once the elements of ``dims`` are known.
    """

    def infer_sizes(call: Call) -> list[TensorType]:
        static = all(v is None or v.type.is_static for v in call.node.operands)
        types = list(record.infer(call))
        dims = TensorType(DType.INT64, (open_dims(types) if static else UNKNOWN,))
        if not static or record.scratch is None:
            return [dims, *[TensorType()] * (call.n_outputs - 1)]
        return [dims, *record.scratch(call)]

    def infer_fill(call: Call) -> list[TensorType]:
        types = list(record.infer(call))
        dims = call.node.operands[call.n_inputs]
        return types if dims is None or dims.data is None else with_dims(types, dims.data.tolist())

    first = OpDef(
        f"g.sizes.{record.name}",
        f"the sizes of the outputs of {record.name}",
        record.inputs,
        (Port("dims"), Port("scratch", variadic=True, spread=True)),
        infer_sizes,
        (*record.args, Arg(RESULTS, "int", 0)),
        loop=record.sizes,
        errors=record.errors,
        constants=record.constants,
        traits=Trait.INTERNAL,
        family=record.family,
    )
    second = OpDef(
        f"g.fill.{record.name}",
        f"{record.name} after its sizes are known",
        record.inputs,
        record.outputs,
        infer_fill,
        (*record.args, Arg(CARRIED, "int", 0)),
        loop=record.loop,
        errors=record.errors,
        constants=record.constants,
        traits=Trait.INTERNAL,
        family=record.family,
    )
    return first, second


def _ports(text: str) -> tuple[Port, ...]:
    return tuple(Port(p.rstrip("?*#"), optional="?" in p, variadic="*" in p, raw="#" in p) for p in text.split())


def registry() -> dict[str, OpDef]:
    """All records by name; loads the families on first use."""
    if not _loaded:
        _loaded.append(True)
        for family in importlib.import_module("graphc.ir.ops").FAMILIES:
            importlib.import_module(f"graphc.ir.ops.{family}")
    return _REGISTRY


_loaded: list[bool] = []


def lookup(name: str) -> OpDef:
    """The record of an operator; raises ``VerifyError`` with near names."""
    found = registry().get(name)
    if found is None:
        near = difflib.get_close_matches(name, registry(), 3)
        raise VerifyError(f"operator '{name}' is unknown", f"near names: {', '.join(near)}" if near else "")
    return found


def aligned_shape(call: Call, i: int) -> tuple[Dim, ...] | None:
    """The shape under which input ``i`` of a pointwise call broadcasts with the output."""
    return call.opdef.align(call, i) if call.opdef.align else call.type(i).shape


def n_epilogue_operands(node: Node) -> int:
    """How many trailing operands belong to the fused epilogue: its inputs but the first, which is the bare result."""
    epilogue = node.attrs.get("epilogue")
    return len(epilogue.inputs) - 1 if isinstance(epilogue, Graph) else 0
