"""Kernels of loops over arrays in the emulator: arrays, truth values of any type, names of ``math`` and NumPy."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from simt import BINARY, COMPARE, LANES, Interpreter
from simt_memory import DeviceMemory, Fault
from simt_numbers import converted
from simt_words import Words

SCALARS = {n: getattr(np, n) for n in ("float32", "float64", "int32", "int64", "uint16", "uint32", "uint64", "uint8")}
MATH = {n: getattr(np, n) for n in ("exp", "log", "log1p", "sqrt", "sin", "cos", "tanh", "isfinite", "isinf")}
WHOLE = {"floor": np.floor, "ceil": np.ceil}
ROUNDED = {"floor_of": np.floor, "ceil_of": np.ceil, "round_of": np.rint}
PLAIN = {"float": np.float64, "int": np.int64, "bool": np.bool_}


@dataclass(frozen=True)
class Array:
    """A part of an array: what is left of its shape, and where it begins in elements. flat: seen in one dimension."""

    address: Any
    dtype: np.dtype
    shape: tuple[Any, ...]
    start: Any = 0
    flat: bool = False

    @property
    def size(self) -> Any:
        """Elements."""
        total = np.int64(1)
        for n in self.shape:
            total = total * n
        return total


class LoopInterpreter(Interpreter):
    """Runs kernels made of loops."""

    def truth(self, value: Any) -> Any:
        """A value as true or false."""
        return np.asarray(value).astype(bool)[()]

    def If(self, node: ast.If, mask: np.ndarray) -> None:
        condition = self.truth(self.value(node.test))
        if np.ndim(condition) == 0:
            self.run(node.body if condition else node.orelse, mask)
            return
        self.run(node.body, mask & condition)
        self.run(node.orelse, mask & ~condition)

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Subscript):
            place = self.element(target)
            self.store(place, value)
        elif isinstance(target, ast.Name) and isinstance(value, Array):
            self.frame.names[target.id] = value
        else:
            super().assign(target, value)

    def places(self, array: Array) -> np.ndarray:
        """The byte addresses of an element for the active threads."""
        return (
            self.words._active(array.address, np.int64)
            + self.words._active(array.start, np.int64) * array.dtype.itemsize
        )

    def store(self, place: Array, value: Any) -> None:
        """Store an element for each active thread."""
        values = self.words._active(converted(value, place.dtype))
        self.words.memory.store(self.places(place), values, self.words.number[self.words.mask])

    def element(self, node: ast.Subscript) -> Array:
        """A part of an array by its indices."""
        base = self.value(node.value)
        if isinstance(node.slice, ast.Slice):  # of one dimension, with both ends
            assert node.slice.lower is not None
            assert node.slice.upper is not None
            low, high = self.value(node.slice.lower), self.value(node.slice.upper)
            return replace(base, shape=(high - low,), start=base.start + low)
        given = self.value(node.slice)
        indices = given if isinstance(given, tuple) else (given,)
        if base.flat:
            self.check(indices[0], base.size)
            return replace(base, shape=(), start=base.start + indices[0], flat=False)
        start, step = 0, np.int64(1)
        for n in base.shape[len(indices) :]:
            step = step * n
        for n, i in reversed(list(zip(base.shape, indices))):
            i = np.where(np.asarray(i) < 0, i + n, i)[()]
            self.check(i, n)
            start, step = start + i * step, step * n
        return replace(base, shape=base.shape[len(indices) :], start=base.start + start)

    def check(self, index: Any, size: Any) -> None:
        """Raise ``Fault`` where an active thread looks outside of an array."""
        i, n = np.broadcast_arrays(np.asarray(index), np.asarray(size))
        bad = np.broadcast_to((i < 0) | (i >= n), self.words.mask.shape) & self.words.mask
        if bad.any():
            raise Fault("an index outside of an array")

    def number(self, value: Any) -> Any:
        """An element where a value is one."""
        if isinstance(value, Array) and not value.shape and not value.flat:
            lanes = self.words.number[self.words.mask]
            return self.words._whole(self.words.memory.load(self.places(value), value.dtype, lanes))
        return value

    def value(self, node: ast.expr) -> Any:
        kind = type(node)
        if kind is ast.Subscript:
            return self.subscript(node)
        if kind is ast.Attribute:
            return self.attribute(node)
        if kind is ast.Call and isinstance(node.func, ast.Attribute):
            return self.method(node)
        if kind is ast.BoolOp:
            return self.junction(node)
        if kind is ast.Compare and (len(node.ops) > 1 or isinstance(node.ops[0], (ast.In, ast.NotIn))):
            return self.comparisons(node)
        if kind is ast.UnaryOp:
            return self.unary(node)
        if kind is ast.Constant and isinstance(node.value, bool):
            return np.bool_(node.value)
        return super().value(node)

    def either(self, node: ast.IfExp) -> Any:
        condition, mask = self.truth(self.value(node.test)), self.words.mask
        if np.ndim(condition) == 0:
            return self.value(node.body if condition else node.orelse)
        ways = []
        for active, part in ((mask & condition, node.body), (mask & ~condition, node.orelse)):
            self.words.mask = active
            ways.append(self.value(part) if active.any() else None)
        self.words.mask = mask
        if None in [w if w is None else 0 for w in ways]:
            return ways[0] if ways[1] is None else ways[1]
        if isinstance(ways[0], tuple):
            return tuple(np.where(condition, a, b) for a, b in zip(*ways))
        return np.where(condition, *ways)

    def unary(self, node: ast.UnaryOp) -> Any:
        v = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return np.logical_not(v)
        if isinstance(node.op, ast.Invert):
            return ~np.asarray(v)[()]
        return -np.asarray(v, np.int64)[()] if np.asarray(v).dtype.kind in "iub" else -v

    def binary(self, kind: type, a: Any, b: Any) -> Any:
        if isinstance(a, tuple):
            return a + b
        kinds = [np.asarray(v).dtype for v in (a, b)]
        whole = np.uint64 if np.dtype(np.uint64) in kinds else np.int64
        a, b = (np.asarray(v).astype(whole)[()] if k.kind in "iub" else v for v, k in zip((a, b), kinds))
        if whole is np.uint64:
            return BINARY[kind](a, b)
        if kind is ast.Pow:
            return np.power(a, b)
        if kind is ast.BitXor:
            return a ^ b
        return super().binary(kind, a, b)

    def subscript(self, node: ast.Subscript) -> Any:
        base = self.value(node.value)
        if not isinstance(base, tuple):
            return self.number(self.element(node))
        if isinstance(node.slice, ast.Slice):
            bounds = (node.slice.lower, node.slice.upper)
            return base[slice(*(None if b is None else int(self.value(b)) for b in bounds))]
        k = self.value(node.slice)
        if np.ndim(k) == 0:
            return base[int(k)]
        if isinstance(base[0], Array):
            used = {int(i) for i in np.asarray(k)[self.words.mask]}
            if len(used) == 1:
                return base[used.pop()]
            return self.chosen(base, k)
        return np.choose(np.clip(np.where(np.asarray(k) < 0, k + len(base), k), 0, len(base) - 1), base)

    def chosen(self, arrays: tuple[Array, ...], k: np.ndarray) -> Array:
        """An array for each thread."""
        k = np.clip(k, 0, len(arrays) - 1)
        shape = tuple(np.choose(k, sizes) for sizes in zip(*(a.shape for a in arrays)))
        return replace(arrays[0], address=np.choose(k, [np.int64(a.address) for a in arrays]), shape=shape)

    def attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id == "math":
            return np.float64(getattr(math, node.attr))
        if isinstance(node.value, ast.Name) and node.value.id == "np":
            return SCALARS[node.attr]
        base = self.value(node.value)
        if node.attr == "flat":
            return replace(base, flat=True)
        known = {"shape": base.shape, "size": base.size, "ndim": len(base.shape), "itemsize": base.dtype.itemsize}
        return known[node.attr]

    def junction(self, node: ast.BoolOp) -> Any:
        """``and`` and ``or``: what follows runs only for the threads that need it."""
        stop, mask = isinstance(node.op, ast.Or), self.words.mask
        result: Any = np.bool_(not stop)
        for part in node.values:
            active = mask & ~np.broadcast_to(result, mask.shape) if stop else mask & np.broadcast_to(result, mask.shape)
            if not active.any():
                break
            self.words.mask = active
            found = self.truth(self.value(part))
            result = result | (found & active if np.ndim(found) else found) if stop else result & found
        self.words.mask = mask
        return result

    def comparisons(self, node: ast.Compare) -> Any:
        terms = [self.value(t) for t in (node.left, *node.comparators)]
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            found = np.bool_(False)
            for v in terms[1]:
                found = found | (terms[0] == v)
            return found if isinstance(node.ops[0], ast.In) else np.logical_not(found)
        result = np.bool_(True)
        for a, op, b in zip(terms, node.ops, terms[1:]):
            result = result & COMPARE[type(op)](a, b)
        return result

    def apply(self, name: str, node: ast.Call) -> Any:
        if name.startswith("array_"):
            address, shape = (self.value(a) for a in node.args)
            return Array(address, np.dtype(name[6:].replace("b1", "?")), shape)
        if name in PLAIN or name in ROUNDED or name in ("abs", "len", "min", "max", "fail"):
            return self.plain(name, [self.value(a) for a in node.args])
        return super().apply(name, node)

    def plain(self, name: str, arguments: list[Any]) -> Any:
        """Built-in functions, and words of loops."""
        if name == "len":
            a = arguments[0]
            return np.int64(len(a) if isinstance(a, tuple) else a.shape[0])
        if name == "fail":
            self.words.fail(*arguments)
            return None
        if name in PLAIN:
            return converted(arguments[0], PLAIN[name])[()]
        if name in ROUNDED:
            return ROUNDED[name](arguments[0])
        if name == "abs":
            v = np.asarray(arguments[0])[()]
            return np.abs(v.astype(np.int64) if v.dtype.kind in "iu" else v)
        result = arguments[0]
        for v in arguments[1:]:
            result = np.where(v < result, v, result) if name == "min" else np.where(v > result, v, result)
        return result[()]

    def method(self, node: ast.Call) -> Any:
        """A function of a module, or a method."""
        assert isinstance(node.func, ast.Attribute)
        name, arguments = node.func.attr, [self.value(a) for a in node.args]
        if isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "math"):
            if node.func.value.id == "np" and name in SCALARS:
                return converted(arguments[0], SCALARS[name])[()]
            if name in WHOLE:
                return converted(WHOLE[name](arguments[0]), np.int64)[()]
            v = np.asarray(arguments[0])
            return MATH[name](v.astype(np.float64) if v.dtype.kind in "iub" else v)[()]
        assert name == "view", name
        value = self.value(node.func.value)
        if isinstance(value, Array) and value.shape:
            dtype, size = np.dtype(arguments[0]), value.dtype.itemsize
            return Array(value.address + value.start * size, dtype, (value.shape[0] * size // dtype.itemsize,))
        return np.asarray(value).view(arguments[0])[()]


def launch(memory: DeviceMemory, name: str, source: str, blocks: int, threads: int, params: list[int]) -> None:
    """``simt.launch`` of a kernel made of a loop."""
    functions = {f.name: f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)}
    memory.start_launch()
    at_once = max(1, LANES // threads)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, at_once):
            words = Words(memory, first, min(at_once, blocks - first), threads)
            LoopInterpreter(functions, words).call(functions[name], [np.int64(p) for p in params])
