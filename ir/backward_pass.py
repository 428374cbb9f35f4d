"""The backward pass of a whole net: the gradients of its operators in reverse, added up where a blob has many readers.

The names, the order and the refusals are those of Caffe2's ``AddGradientOperators``:

- a loss whose gradient is not given gets a ConstantFill of ones, ``loss_autogen_grad``, on the device of the operator
  that makes it;
- operators that no gradient reaches are passed over, but for ZeroGradient, which gives zeros;
- the gradients of a blob that several operators read are added up behind the gradient of the first of them. The first
  one made keeps its name, which is that of the sum too; the others become ``_x_grad_autosplit_0``, ``..._1``;
- sparse gradients are added up by joining their indices and their values; all of them are renamed;
- blobs have versions, because an operator may overwrite one, and gradients see each blob as the last operator left it:
  a gradient that needs an older version is refused.

Where Caffe2 computes wrong gradients without a word, this does not follow:

- a gradient that the caller gives for a blob that operators read is added to theirs; Caffe2 drops it, and so does this
  where it is asked to (``adds_given``);
- of the operators that make one gradient step by step under one name (Sqrt, Pow) the last counts, and a new name is
  that of all steps; Caffe2 adds the steps up;
- Sqr doubles the gradient that it is given in place; where others need that one too, it does so elsewhere;
- refused: to pass on a gradient that belongs to a later version of the output, and an operator in place whose gradient
  needs what it has overwritten (Abs), or would overwrite that of another blob.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from graphc.ir.blob_versions import OUTSIDE, BlobVersions, Version
from graphc.ir.errors import VerifyError
from graphc.ir.gradient import Gradient, NamedCall, gradient_of

Rule = Callable[[NamedCall, Sequence[Gradient]], tuple[list[NamedCall], list[Gradient]]]
"""What ``gradient_of`` is: the gradient operators of a call, and the gradients of its inputs."""

Rename = Callable[[NamedCall, str, str], NamedCall]
"""A call that writes ``new`` and has nets in its arguments that still call it ``old``, with these brought in line."""

NESTING = ("If", "While", "Do")
"""Operators whose gradients are those of the nets in them, which are checked when those are made."""

READS_PLACE = "CopyOnDeviceLike"
"""The gradient operator to which the blobs of the forward operator say where its result goes, whatever they hold."""

READ_SHAPES = ("AddGradient", "ConstantFill", "CopyOnDeviceLike", "SubGradient")
"""Gradient operators to which the blobs of the forward operator give shape and place alone."""


@dataclass(frozen=True)
class BackwardPass:
    """operators: in the order in which they run. gradients: by blob; of one with several versions, the earliest's that
    has one. of_given: those of blobs as they are before the first operator.
    """

    operators: list[NamedCall]
    gradients: dict[str, str | tuple[str, str]]
    of_given: dict[str, str | tuple[str, str]]


def differentiate(
    operators: Sequence[NamedCall],
    losses: Sequence[str] | Mapping[str, Gradient],
    rule: Rule = gradient_of,
    rename: Rename | None = None,
    adds_given: bool = True,
) -> BackwardPass:
    """The operators that compute the gradients of ``losses`` with respect to all blobs.

    losses: blobs of the net; a mapping gives the blob that holds the gradient of each, None for ones. rename: for
    operators with nets in them. adds_given: a given gradient of a blob that operators read is added to theirs, else
    theirs take its place. Raises ``VerifyError``, naming operator and blob, for a loss that is no blob of the net, an
    operator without a gradient that one would have to flow through, a blob that was overwritten too early, dense and
    sparse gradients of one blob.
    """
    _check_stops(operators)
    walk = _Walk(BlobVersions(operators), rule, rename or _as_it_is)
    walk.seed(losses if isinstance(losses, Mapping) else dict.fromkeys(losses), adds_given)
    for i in reversed(range(len(operators))):
        walk.reverse(i)
        walk.accumulate(i)
    found = {blob: g for blob, g in walk.gradients.items() if g is not None}
    of_given = {b: g for b, g in found.items() if walk.versions.writer(b, walk.version[b]) == OUTSIDE}
    return BackwardPass(walk.made, found, of_given)


def _check_stops(operators: Sequence[NamedCall]) -> None:
    """A StopGradient whose output nobody reads was meant to be in place."""
    read = {name for call in operators for name in call.inputs}
    for call in operators:
        if call.type == "StopGradient" and call.outputs[0] not in read:
            raise VerifyError(
                f"StopGradient ({call.inputs[0]}) -> {call.outputs[0]}: no operator reads its output, so that it stops "
                "nothing",
                f"let it write '{call.inputs[0]}' in place, or let the operators behind it read '{call.outputs[0]}'",
            )


@dataclass(frozen=True)
class _Source:
    """One gradient of a version of a blob.

    places: operator, by its number, and output that make it, or, where it is sparse, its indices and its values; None
    for what an operator passes on. group: the first of the operators made with it. device: None where any will do.
    """

    gradient: str | tuple[str, str]
    places: tuple[tuple[int, int] | None, ...]
    group: int
    device: Any

    @property
    def names(self) -> tuple[str, ...]:
        """The gradient's blob, or its two."""
        return self.gradient if isinstance(self.gradient, tuple) else (self.gradient,)


@dataclass
class _Walk:
    """The state of a backward pass.

    version: of which version of a blob ``gradients`` has the gradient. holders: whose gradient, or a part of whose sum,
    a blob is.
    """

    versions: BlobVersions
    rule: Rule
    rename: Rename
    made: list[NamedCall] = field(default_factory=list)
    gradients: dict[str, Gradient] = field(default_factory=dict)
    version: dict[str, int] = field(default_factory=dict)
    sources: dict[Version, list[_Source]] = field(default_factory=lambda: defaultdict(list))
    holders: dict[str, set[Version]] = field(default_factory=lambda: defaultdict(set))

    def seed(self, losses: Mapping[str, Gradient], adds_given: bool) -> None:
        """Start from the gradients of the losses."""
        for loss, given in losses.items():
            if loss not in self.versions.last:
                raise VerifyError(f"no operator of the net reads or writes the loss '{loss}'", "check its name")
            version = self.versions.last[loss]
            self.versions.readers[loss, version].append(len(self.versions.operators))
            place = None
            counts = given is None or adds_given
            if given is None:
                given, place = f"{loss}_autogen_grad", (len(self.made), 0)
                writer = self.versions.writer(loss, version)
                device = "" if writer == OUTSIDE else self.versions.operators[writer].device
                self.made.append(NamedCall("ConstantFill", (loss,), (given,), {"value": 1.0}, device=device))
            places = (None, None) if isinstance(given, tuple) else (place,)
            if counts:
                self.sources[loss, version].append(_Source(given, places, len(self.made) - 1, None))
            self._set(loss, version, given)

    def reverse(self, i: int) -> None:
        """Append the gradient operators of operator ``i``."""
        call, read = self.versions.operators[i], self.versions.read[i]
        d_outputs = [self.gradients.get(name) for name in call.outputs]
        if all(d is None for d in d_outputs) and call.type != "ZeroGradient":
            return
        operators, d_inputs = self.rule(call, d_outputs)
        self._check_in_place(i, d_outputs)
        self._check_reads(i, operators, d_outputs, d_inputs)
        operators = self._protect(i, operators, d_inputs)
        for k, source in _sources(operators, len(self.made), d_inputs, call.device):
            self.sources[call.inputs[k], read[call.inputs[k]]].append(source)
        self.made += operators
        for name, gradient in zip(call.inputs, d_inputs):
            if gradient is not None or name not in self.gradients or name in call.outputs:
                self._set(name, read[name], gradient)

    def accumulate(self, i: int) -> None:
        """Add up the gradients of those inputs of operator ``i`` that no operator before it reads."""
        read = self.versions.read[i]
        for name in dict.fromkeys(self.versions.operators[i].inputs):
            readers, sources = self.versions.readers[name, read[name]], self.sources[name, read[name]]
            if len(readers) < 2 or readers[0] != i or not self._must_add(i, name, sources):
                continue
            add = self._join if len(sources[0].names) == 2 else self._sum
            self._set(name, read[name], add(i, name, sources))

    def _must_add(self, i: int, name: str, sources: list[_Source]) -> bool:
        if len({len(source.names) for source in sources}) > 1:
            help = f"read '{name}' through EnsureDense, or its rows by operators that make dense gradients"
            self._fail(i, f"'{name}' has a dense and a sparse gradient, which cannot be added", help)
        if len({_place(source.device) for source in sources if source.device is not None}) > 1:
            self._fail(i, f"the gradients of '{name}' are on several devices", f"copy '{name}' to one of them")
        return len(sources) > 1

    def _set(self, blob: str, version: int, gradient: Gradient) -> None:
        self.gradients[blob], self.version[blob] = gradient, version
        for name in _names(gradient):
            self.holders[name].add((blob, version))

    def _check_in_place(self, i: int, d_outputs: list[Gradient]) -> None:
        """What an operator overwrites itself, its gradient may read as its output only, or for the shape."""
        call = self.versions.operators[i]
        own = set(call.inputs).intersection(call.outputs)
        if not own or call.type in NESTING:
            return
        apart = replace(call, outputs=tuple(f"{name} after" if name in own else name for name in call.outputs))
        for operator in self.rule(apart, d_outputs)[0]:
            lost = own.intersection(operator.inputs)
            if lost and operator.type not in READ_SHAPES:
                name = min(lost)
                self._fail(i, f"its gradient needs '{name}' as it was", f"do not compute it in place of '{name}'")

    def _check_reads(
        self, i: int, operators: list[NamedCall], d_outputs: list[Gradient], d_inputs: list[Gradient]
    ) -> None:
        """Operators, and what is passed on, have to find the versions that they need."""
        local: set[str] = set()
        for operator in operators:
            for name in operator.inputs[:1] if operator.type == READS_PLACE else operator.inputs:
                self._check_read(i, name, d_outputs, local)
            local.update(operator.outputs)
        for name in (name for gradient in d_inputs for name in _names(gradient) if name not in local):
            self._check_read(i, name, d_outputs, local)

    def _check_read(self, i: int, name: str, d_outputs: list[Gradient], local: set[str]) -> None:
        call, read, written = self.versions.operators[i], self.versions.read[i], self.versions.written[i]
        k = next((k for k, d in enumerate(d_outputs) if name in _names(d)), None)
        if k is not None:
            output = call.outputs[k]
            if self.version[output] != written[output]:
                self._fail_overwritten(i, output, written[output], f"'{name}' is not the gradient of its output")
        elif name in written or name in read:
            self._fail_overwritten(i, name, written.get(name, read.get(name, 0)), "its gradient needs")
        elif name not in local:
            self._fail(i, f"its gradient reads '{name}', which is none of its blobs and which nothing makes")

    def _protect(self, i: int, operators: list[NamedCall], d_inputs: list[Gradient]) -> list[NamedCall]:
        """The operators, with another name for what would overwrite a gradient that is still to be read."""
        call = self.versions.operators[i]
        for name in dict.fromkeys(name for operator in operators for name in operator.outputs):
            own = {blob for blob, gradient in zip(call.inputs, d_inputs) if name in _names(gradient)}
            others = (blob for blob in self._later_holders(i, name) if blob not in own)
            blob = next(others, None)
            if blob is not None and own:
                self._fail(i, f"its gradient '{name}' would overwrite that of '{blob}'", "do not compute it in place")
            if blob is not None:
                operators = self._renamed(operators, name, f"_{name}_of_{call.outputs[0]}")
        return operators

    def _later_holders(self, i: int, gradient: str) -> Iterator[str]:
        """The blobs with this gradient that the net is given or that operators before ``i`` make."""
        for blob, version in sorted(self.holders.get(gradient, set())):
            if self.versions.writer(blob, version) < i:
                yield blob

    def _sum(self, i: int, blob: str, sources: list[_Source]) -> str:
        result = next((source.names[0] for source in sources if source.places[0]), f"{blob}_grad")
        names = list(self._operands(i, result, sources, 0, kept=1))
        if result in names:  # only the first operand of a Sum may be its result
            k = names.index(result)
            names[0], names[k] = names[k], names[0]
        self._emit("Sum", names, (result,), {}, sources)
        return result

    def _join(self, i: int, blob: str, sources: list[_Source]) -> tuple[str, str]:
        suffixes = ("_indices", "_values")
        made = (s.names[k].removesuffix(suffix) for s in sources for k, suffix in enumerate(suffixes) if s.places[k])
        base = next(made, f"{blob}_grad")
        for k, suffix in enumerate(suffixes):
            names = list(self._operands(i, base, sources, k, kept=0))
            outputs = (f"{base}{suffix}_concat", f"{base}{suffix}_concat_split")
            self._emit("Concat", names, outputs, {"axis": 0}, sources)
        return f"{base}_indices_concat", f"{base}_values_concat"

    def _operands(self, i: int, result: str, sources: list[_Source], part: int, kept: int) -> Iterator[str]:
        """Names of the gradients to add up; those that operators make get new ones, but for the first ``kept``."""
        count = -kept
        for source in sources:
            place = source.places[part]
            if place is None:
                if source.names[part] == result:
                    self._fail(i, f"two of the gradients to add are called '{result}'", "do not compute it in place")
                yield source.names[part]
                continue
            if count >= 0:
                self._rename(place, source.group, count)
            count += 1
            yield self.made[place[0]].outputs[place[1]]

    def _rename(self, place: tuple[int, int], group: int, count: int) -> None:
        """Give an output the name of the ``count``-th part of a sum; the steps before it that have its name as well."""
        last, k = place
        operator = self.made[last]
        new = f"_{operator.outputs[k]}_autosplit_{count}"
        *steps, operator = self._renamed(self.made[group : last + 1], operator.outputs[k], new, k)
        self.made[group : last + 1] = [*steps, operator]

    def _renamed(self, operators: list[NamedCall], old: str, new: str, k: int | None = None) -> list[NamedCall]:
        """Operators in order, with a new name for what they write as ``old``, and read after. k: the last's output."""
        result, written = [], False
        for j, operator in enumerate(operators):
            inputs = tuple(new if written and n == old else n for n in operator.inputs)
            here = k if k is not None and j == len(operators) - 1 else None
            outputs = tuple(new if n == old and here in (None, m) else n for m, n in enumerate(operator.outputs))
            written = written or old in operator.outputs
            changed = replace(operator, inputs=inputs, outputs=outputs)
            result.append(changed if outputs == operator.outputs else self.rename(changed, old, new))
        return result

    def _emit(
        self, op: str, inputs: list[str], outputs: tuple[str, ...], args: Mapping[str, int], sources: list[_Source]
    ) -> None:
        device = next((source.device for source in sources if source.device is not None), "")
        self.made.append(NamedCall(op, tuple(inputs), outputs, args, device=device, role="accumulation"))

    def _fail_overwritten(self, i: int, name: str, version: int, why: str) -> None:
        """Refuse a version of a blob if it is not the last one."""
        writer = self.versions.overwriter(name, version)
        if writer != OUTSIDE:
            by = f"op #{writer} {self.versions.operators[writer].type}"
            self._fail(
                i,
                f"{why} '{name}' in version {version}, which {by} overwrites",
                f"let {by} write a blob of another name",
            )

    def _fail(self, i: int, message: str, help: str = "") -> NoReturn:
        call = self.versions.operators[i]
        blobs = f"({', '.join(call.inputs)}) -> {', '.join(call.outputs)}"
        raise VerifyError(f"gradient of op #{i} {call.type} {blobs}: {message}", help)


def _sources(
    operators: list[NamedCall], first: int, d_inputs: list[Gradient], device: Any
) -> Iterator[tuple[int, _Source]]:
    """The gradients of an operator's inputs, by input: as operators make them, in this order, then those passed on."""
    writer = {name: j for j, operator in enumerate(operators) for name in operator.outputs}
    outputs = [(j, k, n) for j, operator in enumerate(operators) for k, n in enumerate(operator.outputs)]
    for j, k, name in outputs:
        if name in d_inputs and writer[name] == j:
            owner = operators[j].device
            yield d_inputs.index(name), _Source(name, ((first + j, k),), first, owner)
    for i, gradient in enumerate(d_inputs):
        if isinstance(gradient, tuple):
            places = tuple(next(((first + j, k) for j, k, n in outputs[::-1] if n == part), None) for part in gradient)
            yield i, _Source(gradient, places, first, device)
        elif gradient is not None and gradient not in writer:
            yield i, _Source(gradient, (None,), first, device)


def _as_it_is(call: NamedCall, old: str, new: str) -> NamedCall:
    return call


def _names(gradient: Gradient) -> tuple[str, ...]:
    """The blobs of a gradient."""
    if gradient is None:
        return ()
    return gradient if isinstance(gradient, tuple) else (gradient,)


def _place(device: Any) -> str:
    """Kind and number of a device, without the seed; Caffe2's CPUs are all the same."""
    place = str(device).partition(" ")[0]
    return "" if place.startswith("cpu") else place
