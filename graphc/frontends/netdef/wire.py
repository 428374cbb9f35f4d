"""A scanner of protobuf wire data that takes the weights of a NetDef out as NumPy arrays.

Caffe2 writes a list of floats unpacked: a tag byte before each of them. Protobuf needs several times the file's size to
read that. The scanner walks NetDef -> op -> arg without copying, takes the long lists and long strings out of the large
arguments, and leaves a small NetDef for protobuf to parse. No Python runs per element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LARGE = 4096
"""Operators and arguments of at least so many bytes are looked into."""
MAX_FIELDS = 2_000_000
"""Most operators, names and arguments that a net may have; real nets have thousands."""
MAX_RUNS = 10_000
"""An argument whose values lie in more pieces than this is left to protobuf, which is faster at pieces."""
MAX_DEPTH = 30
BLOCK = 1 << 20
FLOATS, INTS, STRINGS, STRING, NET = 5, 6, 7, 4, 8
"""Field numbers of ``Argument`` that the scanner takes out."""

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Payload = dict[int, object]
"""Field number of ``Argument`` -> float32 array, int64 array, tuple of bytes, or bytes."""
Path = tuple[int, ...]
Release = Callable[[int, int], None]


class WireError(ValueError):
    """The bytes break protobuf's rules; ``offset`` is where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (at byte {offset:,})")
        self.offset = offset


class _TooManyPieces(Exception):
    """Leave the argument to protobuf."""


@dataclass(frozen=True)
class Field:
    """One field: number, wire type, where it starts, where its value lies (for wire type 2: without the length)."""

    number: int
    wire: int
    start: int
    value: int
    end: int


@dataclass
class Split:
    """A NetDef without its large values, and these values by (operator, argument, ...) position."""

    rest: bytes
    payloads: dict[Path, Payload] = field(default_factory=dict)


def read_varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """Value and end of the varint at ``at``; raises ``WireError``."""
    value = shift = 0
    for i in range(at, min(end, at + 10)):
        byte = data[i]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, i + 1
        shift += 7
    raise WireError("the data end inside a number" if end - at < 10 else "a number has more than ten bytes", at)


def read_fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in ``data[start:end]``; raises ``WireError`` where the bytes break the rules."""
    at = start
    while at < end:
        tag, value = read_varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            stop = read_varint(data, value, end)[1]
        elif wire == 1:
            stop = value + 8
        elif wire == 5:
            stop = value + 4
        elif wire == 2:
            size, value = read_varint(data, value, end)
            stop = value + size
        else:
            raise WireError(f"wire type {wire} does not occur in a NetDef", at)
        if number == 0:
            raise WireError("field number 0", at)
        if stop > end:
            raise WireError(f"field {number} needs {stop - end:,} more bytes than there are", at)
        yield Field(number, wire, at, value, stop)
        at = stop


def decode_varints(block: Bytes) -> tuple[Ints, Ints]:
    """The complete varints of a block as int64, and where each ends. One of over ten bytes has a meaningless value."""
    ends = np.flatnonzero(block < 0x80) + 1
    starts = np.concatenate((ends[:0], [0], ends))[: len(ends)]
    lengths = ends - starts
    values = np.zeros(len(ends), np.uint64)
    for k in range(min(int(lengths.max(initial=0)), 10)):
        chosen = slice(None) if k == 0 else np.flatnonzero(lengths > k)
        values[chosen] |= (block[starts[chosen] + k] & 0x7F).astype(np.uint64) << np.uint64(7 * k)
    return values.view(np.int64), ends


def _check_lengths(ends: Ints, at: int) -> None:
    if int(np.diff(ends, prepend=0).max(initial=0)) > 10:
        raise WireError("a number has more than ten bytes", at)


def split_net(data: memoryview, release: Release | None = None) -> Split:
    """Take the large values out of a serialised NetDef.

    release(start, end) is called when that part of ``data`` will not be read again (a memory map gives its pages back).
    Raises ``WireError``.
    """
    scanner = _Scanner(data, release or (lambda start, end: None))
    rest = scanner.net(0, len(data), ())
    return Split(bytes(data) if rest is None else rest, scanner.payloads)


class _Scanner:
    """Each method gives the message without its large values, or None where it has none."""

    def __init__(self, data: memoryview, release: Release) -> None:
        self.data, self.release = data, release
        self.bytes: Bytes = np.frombuffer(data, np.uint8)
        self.payloads: dict[Path, Payload] = {}

    def net(self, start: int, end: int, path: Path) -> bytes | None:
        return self._shrink(start, end, path, child=2, visit=self._operator)

    def _operator(self, start: int, end: int, path: Path) -> bytes | None:
        return self._shrink(start, end, path, child=5, visit=self._argument)

    def _shrink(
        self, start: int, end: int, path: Path, child: int, visit: Callable[[int, int, Path], bytes | None]
    ) -> bytes | None:
        """Replace the large children (field ``child``) of a message by what ``visit`` leaves of them."""
        pieces: list[bytes] = []
        index, copied = 0, start
        for count, f in enumerate(read_fields(self.data, start, end)):
            if count > MAX_FIELDS:
                raise WireError(f"more than {MAX_FIELDS:,} fields in one net", f.start)
            if f.number != child or f.wire != 2:
                continue
            small = visit(f.value, f.end, (*path, index)) if f.end - f.value >= LARGE else None
            if small is not None:
                pieces += [bytes(self.data[copied : f.start]), _record(child, small)]
                copied = f.end
            index += 1
        if not pieces:
            return None
        return b"".join([*pieces, bytes(self.data[copied:end])])

    def _argument(self, start: int, end: int, path: Path) -> bytes | None:
        try:
            rest, values = self._take(start, end, path)
        except _TooManyPieces:
            return None
        if values:
            self.payloads[path] = {number: _joined(number, parts) for number, parts in values.items()}
        self.release(start, end)
        return rest

    def _take(self, start: int, end: int, path: Path) -> tuple[bytes, dict[int, list[object]]]:
        rest: list[bytes] = []
        values: dict[int, list[object]] = {}
        at, pieces = start, 0
        while at < end:
            f = next(read_fields(self.data, at, end))
            pieces += 1
            if pieces > MAX_RUNS:
                raise _TooManyPieces
            value, at = self._value(f, end)
            if value is not None:
                values.setdefault(f.number, []).append(value)
            elif f.number == NET and f.wire == 2 and len(path) < 2 * MAX_DEPTH and not self._repeated(f, end):
                small = self.net(f.value, f.end, path)
                rest.append(bytes(self.data[f.start : f.end]) if small is None else _record(NET, small))
            else:
                rest.append(bytes(self.data[f.start : f.end]))
        return b"".join(rest), values

    def _repeated(self, f: Field, end: int) -> bool:
        """Another ``n`` follows, which protobuf would merge with this one."""
        return any(g.number == NET for g in read_fields(self.data, f.end, end))

    def _value(self, f: Field, end: int) -> tuple[object | None, int]:
        """The value or run of values that starts with field ``f``, and where it ends; None: not one to take out."""
        if f.number == FLOATS and f.wire == 5:
            return self._float_run(f.start, end)
        if f.number == FLOATS and f.wire == 2 and (f.end - f.value) % 4 == 0:
            return self._floats(f.value, (f.end - f.value) // 4, 4), f.end
        if f.number == INTS and f.wire == 0:
            return self._int_run(f.start, end)
        if f.number == INTS and f.wire == 2:
            return self._packed_ints(f.value, f.end), f.end
        if f.number in (STRINGS, STRING) and f.wire == 2:
            return bytes(self.data[f.value : f.end]), f.end
        return None, f.end

    def _float_run(self, start: int, end: int) -> tuple[NDArray[np.float32], int]:
        """Records of a tag byte and four bytes, from ``start`` for as long as the tag is the same."""
        count, block, most = 0, 64, (end - start) // 5
        while count < most:
            n = min(block, most - count)
            first, last = start + 5 * count, start + 5 * (count + n)
            other = np.flatnonzero(self.bytes[first:last:5] != FLOATS << 3 | 5)
            self.release(first, last)
            if len(other):
                count += int(other[0])
                break
            count += n
            block = min(4 * block, BLOCK)
        if count == 0:
            raise WireError("a float needs more bytes than there are", start)
        return self._floats(start + 1, count, 5), start + 5 * count

    def _floats(self, start: int, count: int, stride: int) -> NDArray[np.float32]:
        """``count`` little-endian floats that lie ``stride`` bytes apart, copied block by block."""
        out = np.empty(count, np.float32)
        for i in range(0, count, BLOCK):
            n, at = min(BLOCK, count - i), start + stride * i
            out[i : i + n] = np.ndarray((n,), "<f4", self.data, at, (stride,))
            self.release(at, at + stride * n)
        return out

    def _int_run(self, start: int, end: int) -> tuple[Ints, int]:
        """Pairs of tag and varint: a stream of varints whose even ones are the tag, itself a varint of one byte."""
        parts, at, block = [], start, 256
        while at < end:
            stop = min(end, at + block)
            values, ends = decode_varints(self.bytes[at:stop])
            pairs = len(ends) // 2
            starts = np.concatenate(([0], ends[1::2]))[:pairs]
            other = np.flatnonzero(self.bytes[at + starts] != INTS << 3)
            pairs = int(other[0]) if len(other) else pairs
            _check_lengths(ends[: 2 * pairs], at)
            parts.append(values[1 : 2 * pairs : 2])
            at += int(ends[2 * pairs - 1]) if pairs else 0
            if len(other) or stop == end or not pairs:
                break
            block = min(4 * block, BLOCK)
        if at == start:
            raise WireError("the data end inside a number", start)
        return np.concatenate(parts), at

    def _packed_ints(self, start: int, end: int) -> Ints:
        parts, at = [np.zeros(0, np.int64)], start
        while at < end:
            values, ends = decode_varints(self.bytes[at : min(end, at + BLOCK)])
            if not len(ends):
                raise WireError("the data end inside a number", at)
            _check_lengths(ends, at)
            parts.append(values)
            at += int(ends[-1])
        return np.concatenate(parts)


def _joined(number: int, parts: list[object]) -> object:
    if number == STRINGS:
        return tuple(parts)
    if len(parts) == 1 or number == STRING:
        return parts[-1]
    return np.concatenate(parts)  # type: ignore[arg-type]


def _record(number: int, content: bytes) -> bytes:
    size, out = len(content), bytearray([number << 3 | 2])
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out) + content
