"""An emulator of a card: kernel source runs for all threads of many blocks in lock-step, as NumPy arrays.

Statements run under a mask of active threads. Integers and floats have the types that Numba gives them: integer
arithmetic is int64, a number in the source is float64. Where a card would be silently wrong (races, addresses outside
of memory, barriers in branches), the emulator raises ``Fault``.
"""

from __future__ import annotations

import ast
import operator
from typing import Any

import numpy as np
from simt_memory import DeviceMemory, Fault
from simt_numbers import converted
from simt_warpgroup import Sums
from simt_words import Words

LANES = 1 << 15
"""Threads that are emulated at once, about."""

BINARY: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
COMPARE: dict[type, Any] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
BUILTINS: dict[str, Any] = {
    "min": np.minimum,
    "max": np.maximum,
    "abs": np.abs,
    "int": lambda v: converted(v, np.int64)[()],
}


def launch(
    memory: DeviceMemory, name: str, source: str, blocks: int, threads: int, params: list[int], shared: int = 0
) -> None:
    """Run ``blocks`` blocks of the kernel ``name`` of a source. Raises ``Fault``.

    shared: bytes of dynamic shared memory of a block.
    """
    functions = {f.name: f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)}
    memory.start_launch()
    at_once = max(1, LANES // threads)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, at_once):
            words = Words(memory, first, min(at_once, blocks - first), threads, shared)
            Interpreter(functions, words).call(functions[name], [np.int64(p) for p in params])


class Frame:
    """The variables of a call, the threads that have returned, and what they returned."""

    def __init__(self, names: dict[str, Any], lanes: int) -> None:
        self.names = names
        self.gone = np.zeros(lanes, bool)
        self.value: Any = None


class Interpreter:
    """Runs functions for the threads of ``words``, whose mask says which of them are active."""

    def __init__(self, functions: dict[str, ast.FunctionDef], words: Words) -> None:
        self.functions, self.words = functions, words
        self.frames: list[Frame] = []
        self.loops: list[np.ndarray] = []
        """Of each loop around a statement: the threads that have left the turn."""

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def call(self, function: ast.FunctionDef, arguments: list[Any]) -> Any:
        """The value of a call."""
        names = [a.arg for a in function.args.args]
        if len(names) != len(arguments):
            raise Fault(f"{function.name} takes {len(names)} arguments, {len(arguments)} were given")
        outer, self.loops, mask = self.loops, [], self.words.mask
        self.frames.append(Frame(dict(zip(names, arguments)), mask.size))
        self.run(function.body, mask)
        self.loops, self.words.mask = outer, mask
        return self.frames.pop().value

    def run(self, statements: list[ast.stmt], mask: np.ndarray) -> None:
        """Run statements for the threads of a mask."""
        for statement in statements:
            active = mask & ~self.frame.gone
            for left in self.loops:
                active &= ~left
            if not active.any():
                return
            self.words.mask = active
            getattr(self, type(statement).__name__)(statement, active)

    # ---- statements -------------------------------------------------------------------------------------------------

    def Expr(self, node: ast.Expr, mask: np.ndarray) -> None:
        self.value(node.value)

    def Pass(self, node: ast.Pass, mask: np.ndarray) -> None:
        pass

    def Assign(self, node: ast.Assign, mask: np.ndarray) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self.assign(target, value)

    def AugAssign(self, node: ast.AugAssign, mask: np.ndarray) -> None:
        load = ast.copy_location(ast.parse(ast.unparse(node.target), mode="eval").body, node)
        self.assign(node.target, self.binary(type(node.op), self.value(load), self.value(node.value)))

    def assign(self, target: ast.expr, value: Any) -> None:
        """Give a value to the active threads."""
        if isinstance(target, ast.Tuple):
            for part, v in zip(target.elts, value):
                self.assign(part, v)
            return
        assert isinstance(target, ast.Name), "kernels assign to names"
        names, mask = self.frame.names, self.words.mask
        if target.id in names and not mask.all():
            value = merged(mask, value, names[target.id])
        names[target.id] = value

    def If(self, node: ast.If, mask: np.ndarray) -> None:
        condition = self.value(node.test)
        if np.ndim(condition) == 0:
            self.run(node.body if condition else node.orelse, mask)
            return
        self.run(node.body, mask & condition)
        self.run(node.orelse, mask & ~condition)

    def For(self, node: ast.For, mask: np.ndarray) -> None:
        assert isinstance(node.iter, ast.Call), "kernels count"
        given = [self.value(a) for a in node.iter.args]
        start, stop = (np.int64(0), given[0]) if len(given) == 1 else given[:2]
        step = int(given[2]) if len(given) == 3 else 1
        turn, done = 0, np.zeros(mask.size, bool)
        self.loops += [done, np.zeros(mask.size, bool)]
        while True:
            i = start + turn * step
            inside = np.broadcast_to((i < stop) if step > 0 else (i > stop), mask.shape)
            active = mask & inside & ~done & ~self.frame.gone
            if not active.any():
                break
            self.words.mask = active
            self.assign(node.target, np.asarray(i, np.int64)[()])
            self.loops[-1][:] = False
            self.run(node.body, active)
            turn += 1
        del self.loops[-2:]

    def While(self, node: ast.While, mask: np.ndarray) -> None:
        done = np.zeros(mask.size, bool)
        self.loops += [done, np.zeros(mask.size, bool)]
        while True:
            active = mask & ~done & ~self.frame.gone
            self.words.mask = active
            if not active.any():
                break
            done |= active & ~np.broadcast_to(self.value(node.test), mask.shape)
            self.loops[-1][:] = False
            self.run(node.body, active)
        del self.loops[-2:]

    def Break(self, node: ast.Break, mask: np.ndarray) -> None:
        self.loops[-2] |= mask

    def Continue(self, node: ast.Continue, mask: np.ndarray) -> None:
        self.loops[-1] |= mask

    def Return(self, node: ast.Return, mask: np.ndarray) -> None:
        if node.value is not None:
            value = self.value(node.value)
            frame = self.frame
            frame.value = value if frame.value is None else merged(mask, value, frame.value)
        self.frame.gone |= mask

    # ---- expressions ------------------------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Any:
        """The value of an expression for the active threads."""
        if isinstance(node, ast.Name):
            return self.frame.names[node.id]
        if isinstance(node, ast.Constant):
            return np.int64(node.value) if isinstance(node.value, int) else np.float64(node.value)
        if isinstance(node, ast.BinOp):
            return self.binary(type(node.op), self.value(node.left), self.value(node.right))
        if isinstance(node, ast.UnaryOp):
            v = self.value(node.operand)
            return np.logical_not(v) if isinstance(node.op, ast.Not) else -v
        if isinstance(node, ast.Compare):
            assert len(node.ops) == 1, "kernels compare two"
            return COMPARE[type(node.ops[0])](self.value(node.left), self.value(node.comparators[0]))
        if isinstance(node, ast.Tuple):
            return tuple(self.value(e) for e in node.elts)
        if isinstance(node, ast.Subscript):
            return self.value(node.value)[int(self.value(node.slice))]
        if isinstance(node, ast.IfExp):
            return self.either(node)
        assert isinstance(node, ast.Call), ast.dump(node)
        assert isinstance(node.func, ast.Name), ast.dump(node)
        return self.apply(node.func.id, node)

    def either(self, node: ast.IfExp) -> Any:
        condition, mask = np.asarray(self.value(node.test), bool)[()], self.words.mask
        if np.ndim(condition) == 0:
            return self.value(node.body if condition else node.orelse)
        self.words.mask = mask & condition
        a = self.value(node.body)
        self.words.mask = mask & ~condition
        b = self.value(node.orelse)
        self.words.mask = mask
        return np.where(condition, a, b)

    def binary(self, kind: type, a: Any, b: Any) -> Any:
        """As Numba: integers of any kind give int64."""
        whole = [np.asarray(v).dtype.kind in "iu" for v in (a, b)]
        if all(whole):
            a, b = np.asarray(a, np.int64)[()], np.asarray(b, np.int64)[()]
        return BINARY[kind](a, b)

    def apply(self, name: str, node: ast.Call) -> Any:
        arguments = [self.value(a) for a in node.args]
        if name in self.frame.names:
            raise Fault(f"{name} is called, and a variable of the kernel")
        if name in self.functions:
            return self.call(self.functions[name], arguments)
        if name in BUILTINS:
            return BUILTINS[name](*arguments)
        if not self.words.knows(name):
            raise Fault(f"{name} is no word of kernels")
        return self.words.call(name, id(node), arguments)


def merged(mask: np.ndarray, new: Any, old: Any) -> Any:
    """``new`` for the threads of a mask, ``old`` for the others."""
    if isinstance(new, tuple):
        return tuple(merged(mask, n, o) for n, o in zip(new, old))
    if isinstance(new, Sums):
        return new.merged(mask, old)
    return np.where(mask, new, old)
