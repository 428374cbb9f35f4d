"""Random damage to a call of one operator: its elements, shapes, types, inputs, outputs and arguments."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.frontends.netdef import Operator
from graphc.ir.opdef import Arg, registry
from graphc.operators import Int8Tensor, Tensor

INTEGERS = (0, -1, 1, 2, 3, 5, 7, 100, 2**31 - 1, -(2**31), 2**31, 2**40, -(2**40), 2**62, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, -1.0, 0.5, 1.5, 7.0, 1e-45, 1e10, -1e10, 3e38, float("inf"), float("-inf"), float("nan"))
WORDS = (b"", b"NHWC", b"NCHW", b"bogus", b"\xff\xfe")
DTYPES = ("f4", "f8", "f2", "i4", "i8", "u1", "i1", "i2", "u2", "?")


@dataclass
class Attempt:
    """A call to make, and what was done to a recorded one to get it."""

    op: Operator
    inputs: list[Tensor | None]
    damage: list[str]

    def describe(self) -> str:
        """The damage and the call on one line."""
        shown = ", ".join(_short(x) for x in self.inputs)
        args = {k: v for k, v in self.op.args.items() if isinstance(v, (int, float, bytes, tuple))}
        return f"[{'; '.join(self.damage)}] {self.op.type}({shown}) -> {len(self.op.outputs)} {args}"


def _short(x: Tensor | None) -> str:
    if x is None:
        return "-"
    array = elements(x)
    few = np.array2string(array.reshape(-1)[:12], precision=4, separator=",", max_line_width=10**6)
    return f"{array.dtype.str[1:]}{list(array.shape)}{few}"


def elements(x: Tensor) -> np.ndarray:
    """The array of a tensor, quantised or not."""
    return x.data if isinstance(x, Int8Tensor) else np.asarray(x)


Mutation = Callable[[random.Random, Attempt], str]
"""Changes an attempt in place and says how; an empty text where it found nothing to change."""


def mutate(op: Operator, inputs: Sequence[Tensor | None], seed: str) -> Attempt:
    """A damaged copy of a call; the same for the same seed."""
    rng = random.Random(seed)
    copied = replace(op, inputs=list(op.inputs), outputs=list(op.outputs), args=dict(op.args))
    attempt = Attempt(copied, list(inputs), [])
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choices(list(MUTATIONS), list(MUTATIONS.values()))[0]
        attempt.damage.append(mutation(rng, attempt) or "nothing")
    return attempt


def _pick(rng: random.Random, attempt: Attempt, kinds: str = "biufcO") -> int | None:
    found = [i for i, x in enumerate(attempt.inputs) if x is not None and elements(x).dtype.kind in kinds]
    return rng.choice(found) if found else None


def _put(attempt: Attempt, i: int, array: np.ndarray) -> None:
    """Set an input, and what else has its name, since an operator may name a blob twice."""
    for k, name in enumerate(attempt.op.inputs):
        if name == attempt.op.inputs[i]:
            old = attempt.inputs[k]
            attempt.inputs[k] = old._replace(data=array) if isinstance(old, Int8Tensor) else array


def _change_integers(rng: random.Random, attempt: Attempt) -> str:
    i = _pick(rng, attempt, "iu")
    if i is None:
        return ""
    array = elements(_present(attempt, i)).copy()
    sizes = [d for x in attempt.inputs if x is not None for d in elements(x).shape]
    near = sizes + [d - 1 for d in sizes] + [d + 1 for d in sizes] + [-d for d in sizes]
    value = rng.choice([*near, *INTEGERS, -100, 10**6])
    with np.errstate(all="ignore"):
        return _spread(rng, attempt, i, array, np.int64(value).astype(array.dtype))


def _change_reals(rng: random.Random, attempt: Attempt) -> str:
    i = _pick(rng, attempt, "f")
    if i is None:
        return ""
    array = elements(_present(attempt, i)).copy()
    with np.errstate(all="ignore"):
        return _spread(rng, attempt, i, array, np.float64(rng.choice(REALS)).astype(array.dtype))


def _spread(rng: random.Random, attempt: Attempt, i: int, array: np.ndarray, value: Any) -> str:
    flat = array.reshape(-1)
    if not flat.size:
        return ""
    where = rng.choice((0, flat.size - 1, rng.randrange(flat.size), slice(None)))
    flat[where] = value
    _put(attempt, i, flat.reshape(array.shape))
    return f"input {i}: element {where if isinstance(where, int) else 'all'} is {value}"


def _swap_elements(rng: random.Random, attempt: Attempt) -> str:
    i = _pick(rng, attempt)
    if i is None:
        return ""
    array = elements(_present(attempt, i)).copy()
    flat = array.reshape(-1)
    order = list(range(flat.size))
    rng.shuffle(order)
    _put(attempt, i, flat[order].reshape(array.shape))
    return f"input {i}: shuffled"


def _present(attempt: Attempt, i: int) -> Tensor:
    x = attempt.inputs[i]
    assert x is not None
    return x


def _resize(rng: random.Random, attempt: Attempt) -> str:
    i = _pick(rng, attempt)
    if i is None:
        return ""
    array = elements(_present(attempt, i))
    if not array.ndim:
        _put(attempt, i, np.repeat(array, rng.choice((0, 1, 2))))
        return f"input {i}: one axis more"
    axis = rng.randrange(array.ndim)
    n = rng.choice((0, 0, 1, array.shape[axis] - 1, array.shape[axis] + 1, 2 * array.shape[axis]))
    if n < 0 or (n and not array.shape[axis]):
        return ""
    _put(attempt, i, np.take(array, [k % array.shape[axis] for k in range(n)], axis) if n else array.take([], axis))
    return f"input {i}: axis {axis} is {n}"


def _empty(rng: random.Random, attempt: Attempt) -> str:
    """All inputs without elements along their first axes."""
    for i, x in enumerate(attempt.inputs):
        if x is not None and elements(x).ndim and (i == 0 or elements(x).shape[0] == elements(attempt.inputs[0]).size):
            _put(attempt, i, elements(x)[:0])
    return "empty"


def _change_rank(rng: random.Random, attempt: Attempt) -> str:
    i = _pick(rng, attempt)
    if i is None:
        return ""
    array = elements(_present(attempt, i))
    forms = [array[None], array[..., None], array.reshape(-1)]
    forms += [array[0]] if array.ndim and array.shape[0] else []
    forms += [array.T, array.reshape(-1)[0]] if array.size else []
    _put(attempt, i, np.asarray(rng.choice(forms)))
    return f"input {i}: shape {list(elements(_present(attempt, i)).shape)}"


def _change_dtype(rng: random.Random, attempt: Attempt) -> str:
    i = _pick(rng, attempt, "biuf")
    if i is None:
        return ""
    dtype = np.dtype(rng.choice(DTYPES))
    with np.errstate(all="ignore"):
        _put(attempt, i, elements(_present(attempt, i)).astype(dtype))
    return f"input {i}: {dtype}"


def _drop_input(rng: random.Random, attempt: Attempt) -> str:
    if not attempt.inputs:
        return ""
    i = rng.choice((len(attempt.inputs) - 1, rng.randrange(len(attempt.inputs))))
    del attempt.inputs[i], attempt.op.inputs[i]
    return f"no input {i}"


def _copy_input(rng: random.Random, attempt: Attempt) -> str:
    if not attempt.inputs:
        return ""
    i, k = rng.randrange(len(attempt.inputs)), rng.randrange(len(attempt.inputs) + 1)
    attempt.inputs.insert(k, attempt.inputs[i])
    attempt.op.inputs.insert(k, f"copy{len(attempt.inputs)}")
    return f"input {i} again as {k}"


def _exchange_inputs(rng: random.Random, attempt: Attempt) -> str:
    if len(set(attempt.op.inputs)) < 2 or len(set(attempt.op.inputs)) < len(attempt.op.inputs):
        return ""
    i, k = rng.sample(range(len(attempt.inputs)), 2)
    attempt.inputs[i], attempt.inputs[k] = attempt.inputs[k], attempt.inputs[i]
    return f"inputs {i} and {k} exchanged"


def _change_outputs(rng: random.Random, attempt: Attempt) -> str:
    if rng.random() < 0.5:
        attempt.op.outputs.append("more")
        return "one output more"
    if attempt.op.outputs:
        attempt.op.outputs.pop()
    return "one output less"


def _change_argument(rng: random.Random, attempt: Attempt) -> str:
    record = registry().get(attempt.op.type)
    known = {a.name: a for a in record.args} if record else {}
    name = rng.choice([*known, *attempt.op.args, *attempt.op.args, ""])
    if not name:
        return ""
    if name in attempt.op.args and rng.random() < 0.1:
        del attempt.op.args[name]
        return f"no argument {name}"
    attempt.op.args[name] = _value(rng, known.get(name), attempt.op.args.get(name))
    return f"argument {name}"


def _value(rng: random.Random, arg: Arg | None, old: Any) -> Any:
    kind = arg.kind if arg else "int"
    if kind in ("ints", "floats") or isinstance(old, (tuple, np.ndarray)):
        numbers = INTEGERS if kind == "ints" else REALS
        items = list(old) if isinstance(old, (tuple, np.ndarray)) else [rng.choice(numbers)]
        return tuple(_list_change(rng, items, numbers))
    if kind == "string" or isinstance(old, bytes):
        return rng.choice([*WORDS, *(c.encode() for c in (arg.choices if arg else ()))])
    return rng.choice(REALS if kind == "float" else INTEGERS[:9] + INTEGERS)


def _list_change(rng: random.Random, items: list[Any], numbers: Sequence[Any]) -> list[Any]:
    what = rng.randrange(5)
    if what == 0 or not items:
        return items[:-1]
    if what == 1:
        return [*items, rng.choice(numbers)]
    if what == 2:
        rng.shuffle(items)
        return items
    items[rng.randrange(len(items))] = rng.choice(numbers)
    return items


MUTATIONS: dict[Mutation, int] = {
    _change_integers: 10,
    _change_reals: 3,
    _swap_elements: 2,
    _resize: 5,
    _empty: 1,
    _change_rank: 2,
    _change_dtype: 2,
    _drop_input: 1,
    _copy_input: 1,
    _exchange_inputs: 1,
    _change_outputs: 1,
    _change_argument: 6,
}
"""Kinds of damage and how often each is done."""
