"""Caffe2's hierarchies of classes (``caffe2/proto/hsm.proto``): their wire format, read and written field by field.

``HierarchyProto``: paths (2) of a word (1) through nodes (2), each with the index (1) of its first row in the weight,
their number (2), and the row to go (3). ``TreeProto``: a root (1) with children (1), words (2), offset (3), name (4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

VARINT, BYTES = 0, 2


@dataclass
class TreeNode:
    """A node of a tree: nodes and words below it, its first row in the weight, its name."""

    children: list[TreeNode] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    offset: int | None = None
    name: bytes | None = None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value - (1 << 64) if value >> 63 else value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == BYTES:
            size, at = _varint(data, at)
        if size is None or size < 0 or at + size > len(data):
            raise ValueError("a field is cut off or of an unknown kind")
        yield tag >> 3, data[at : at + size]
        at += size


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a field has not the kind that it should have")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field has not the kind that it should have")
    return value


def read_paths(data: bytes) -> dict[int, list[tuple[int, int, int]]]:
    """Word -> (index, length, target) of each node on its path; raises ``ValueError`` for other bytes."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for number, value in _fields(data):
        if number == 2:
            word, nodes = 0, []
            for inner, part in _fields(_message(value)):
                if inner == 1:
                    word = _number(part)
                elif inner == 2:
                    numbers = {k: _number(v) for k, v in _fields(_message(part)) if k <= 3}
                    nodes.append((numbers.get(1, 0), numbers.get(2, 0), numbers.get(3, 0)))
            found.setdefault(word, nodes)
    return found


def read_tree(data: bytes) -> TreeNode:
    """The root of a ``TreeProto``; raises ``ValueError`` for other bytes."""
    for number, value in _fields(data):
        if number == 1:
            return _read_node(_message(value))
    raise ValueError("the tree has no root")


def _read_node(data: bytes) -> TreeNode:
    node = TreeNode()
    for number, value in _fields(data):
        if number == 1:
            node.children.append(_read_node(_message(value)))
        elif number == 2:
            node.words += [_number(value)] if isinstance(value, int) else _packed(value)
        elif number == 3:
            node.offset = _number(value)
        elif number == 4:
            node.name = _message(value)
    return node


def _packed(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def write_tree(root: TreeNode) -> bytes:
    """The ``TreeProto`` of a root."""
    return _write(1, _write_node(root))


def _write_node(node: TreeNode) -> bytes:
    parts = [_write(1, _write_node(child)) for child in node.children]
    parts += [_write(2, word) for word in node.words]
    parts += [] if node.offset is None else [_write(3, node.offset)]
    parts += [] if node.name is None else [_write(4, node.name)]
    return b"".join(parts)


def _write(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _digits(number << 3 | VARINT) + _digits(value)
    return _digits(number << 3 | BYTES) + _digits(len(value)) + value


def _digits(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
