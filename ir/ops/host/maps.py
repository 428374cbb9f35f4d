"""Maps from numbers to numbers and dictionaries of keys: objects that are no tensors. They run in Python.

Such an object is a dict in a 0-d array of objects, of the element type of strings. Each operator makes a new one, so
that a graph remains one of values. Rules from Caffe2's ``map_ops`` and ``index_ops``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._rules import agree, product, require
from graphc.ir.types import UNKNOWN, DType, TensorType

INTS = (DType.INT32, DType.INT64)
KEYS = (DType.INT32, DType.INT64, DType.STRING)
OBJECT = TensorType(DType.STRING, ())
"""The type of a map or dictionary."""
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Index:
    """Keys and their numbers from 1 on; 0 stands for unknown keys. most: keys at most, the unknown one included."""

    dtype: DType
    most: int
    numbers: dict[Any, int] = field(default_factory=dict)
    frozen: bool = False


@dataclass(frozen=True)
class Map:
    """Numbers by number, and the element types of both."""

    key: DType
    value: DType
    items: dict[int, int] = field(default_factory=dict)


def boxed(value: object) -> np.ndarray:
    """An object as a 0-d array."""
    array = np.empty((), object)
    array[()] = value
    return array


def _unboxed(call: Call, array: np.ndarray, kind: type) -> Any:
    value = array.item() if array.shape == () else None
    if not isinstance(value, kind):
        call.fail(f"input 0 ({call.input_name(0)}) is no {kind.__name__.lower()}", "feed it what such an operator made")
    return value


def _create_map(call: Call) -> list[np.ndarray]:
    return [boxed(Map(DType(call.arg("key_dtype")), DType(call.arg("value_dtype"))))]


def _create_map_infer(call: Call) -> list[TensorType]:
    """An empty map of int32 or int64 numbers."""
    for name in ("key_dtype", "value_dtype"):
        if call.arg(name) not in (DType.INT32.value, DType.INT64.value):
            call.fail(f"argument {name} is {call.arg(name)}", "use 2 (int32) or 10 (int64)")
    return [OBJECT]


op(
    "CreateMap",
    _create_map_infer,
    outputs="map",
    args=(Arg("key_dtype", "int", 2, "2: int32, 10: int64"), Arg("value_dtype", "int", 2, "2: int32, 10: int64")),
    reference=_create_map,
    traits=Trait.HOST,
    doc="An empty map.",
)


def _to_map(call: Call, keys: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    items: dict[int, int] = {}
    for k, v in zip(keys.ravel().tolist(), values.ravel().tolist()):
        items.setdefault(k, v)
    return [boxed(Map(DType.of(keys.dtype), DType.of(values.dtype), items))]


def _to_map_infer(call: Call) -> list[TensorType]:
    """A map: of equal keys the first one counts. Keys and values are int32 or int64, as many of both."""
    keys, values = require(call, 0, INTS), require(call, 1, INTS)
    if keys.shape is not None and values.shape is not None:
        agree(call, product(values.shape), product(keys.shape), "number of values, one for each key")
    return [OBJECT]


op(
    "KeyValueToMap",
    _to_map_infer,
    inputs="keys values",
    outputs="map",
    reference=_to_map,
    traits=Trait.HOST,
    doc="A map of keys to values.",
)


def _from_map(call: Call, boxed_map: np.ndarray) -> list[np.ndarray]:
    found = _unboxed(call, boxed_map, Map)
    return [
        np.array(list(found.items.keys()), found.key.numpy),
        np.array(list(found.items.values()), found.value.numpy),
    ]


def _from_map_infer(call: Call) -> list[TensorType]:
    """Keys and values: vectors whose types the map knows, in the order in which it was filled."""
    require(call, 0, (DType.STRING,))
    return [TensorType(None, (UNKNOWN,))] * 2


op(
    "MapToKeyValue",
    _from_map_infer,
    inputs="map",
    outputs="keys values",
    reference=_from_map,
    traits=Trait.HOST,
    doc="The keys and the values of a map.",
)


def _create_index_infer(call: Call) -> list[TensorType]:
    """An empty dictionary."""
    if call.arg("max_elements") < 1:
        call.fail(f"argument max_elements is {call.arg('max_elements')}", "give it a value from 1 on")
    return [OBJECT]


for _name, _dtype in (("Int", DType.INT32), ("Long", DType.INT64), ("String", DType.STRING)):
    op(
        f"{_name}IndexCreate",
        _create_index_infer,
        outputs="handle",
        args=(Arg("max_elements", "int", LARGEST, "keys at most, with the one for unknown keys"),),
        reference=lambda call, dtype=_dtype: [boxed(Index(dtype, call.arg("max_elements")))],
        traits=Trait.HOST | Trait.EFFECT,
        doc=f"An empty dictionary of {_dtype.text} keys.",
    )


def _keys(call: Call, index: Index, keys: np.ndarray) -> list[Any]:
    if DType.of(keys.dtype) is not index.dtype:
        call.fail(f"keys of type {DType.of(keys.dtype).text} do not fit a dictionary of {index.dtype.text} keys")
    return list(keys.ravel().tolist())


def _get(call: Call, handle: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """New keys are added to the dictionary itself, as in Caffe2, unless it is frozen: then they are 0."""
    index = _unboxed(call, handle, Index)
    numbers, found = index.numbers, np.zeros(keys.size, np.int64)
    for k, key in enumerate(_keys(call, index, keys)):
        if key not in numbers and not index.frozen:
            if len(numbers) + 1 >= index.most:
                call.fail(f"the dictionary has its {index.most} keys, {key!r} has no place", "raise max_elements")
            numbers[key] = len(numbers) + 1
        found[k] = numbers.get(key, 0)
    return [found.reshape(keys.shape)]


def _get_infer(call: Call) -> list[TensorType]:
    """indices: int64, one for each key."""
    return [TensorType(DType.INT64, require(call, 1, KEYS).shape)]


op(
    "IndexGet",
    _get_infer,
    inputs="handle keys",
    outputs="indices",
    reference=_get,
    traits=Trait.HOST | Trait.EFFECT,
    doc="The numbers of keys in a dictionary, which grows by those that it does not have.",
)


def _load(call: Call, handle: np.ndarray, items: np.ndarray) -> list[np.ndarray]:
    index = _unboxed(call, handle, Index)
    keys = _keys(call, index, items)
    if call.arg("skip_first_entry"):
        if not keys:
            call.fail("there is no first entry to skip")
        keys = keys[1:]
    if len(set(keys)) != len(keys):
        call.fail("the items are not all different")
    if len(keys) + 1 > index.most:
        call.fail(f"{len(keys)} items are more than the dictionary's {index.most - 1}", "raise max_elements")
    return [boxed(replace(index, numbers={key: k + 1 for k, key in enumerate(keys)}))]


def _handle_infer(call: Call) -> list[TensorType]:
    """The dictionary."""
    if call.has(1):
        require(call, 1, KEYS)
    return [OBJECT]


op(
    "IndexLoad",
    _handle_infer,
    inputs="handle items",
    outputs="handle",
    args=(Arg("skip_first_entry", "int", 0, "the first item stands for unknown keys"),),
    reference=_load,
    traits=Trait.HOST | Trait.EFFECT,
    enforced=((0, 0),),
    doc="A dictionary with the items as its keys.",
)


def _store(call: Call, handle: np.ndarray) -> list[np.ndarray]:
    index = _unboxed(call, handle, Index)
    items = np.empty(len(index.numbers), index.dtype.numpy)
    items[:] = list(index.numbers)
    return [items]


op(
    "IndexStore",
    lambda call: [TensorType(None, (UNKNOWN,))],
    inputs="handle",
    outputs="items",
    reference=_store,
    traits=Trait.HOST | Trait.EFFECT,
    family=__name__,
    doc="The keys of a dictionary in the order of their numbers.",
)
op(
    "IndexFreeze",
    _handle_infer,
    inputs="handle",
    outputs="handle",
    reference=lambda call, handle: [boxed(replace(_unboxed(call, handle, Index), frozen=True))],
    traits=Trait.HOST | Trait.EFFECT,
    enforced=((0, 0),),
    doc="A dictionary that takes no further keys.",
)
op(
    "IndexSize",
    lambda call: [TensorType(DType.INT64, ())],
    inputs="handle",
    outputs="items",
    reference=lambda call, handle: [np.array(len(_unboxed(call, handle, Index).numbers) + 1, np.int64)],
    traits=Trait.HOST | Trait.EFFECT,
    family=__name__,
    doc="The number of keys of a dictionary, with the one for unknown keys.",
)
