"""Read a NetDef, binary or text, from a path, bytes or a message."""

from __future__ import annotations

import mmap
from os import PathLike, fspath
from pathlib import Path
from typing import Protocol

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from graphc.frontends.netdef.detect import TEXT_NET, require_net
from graphc.frontends.netdef.net import ArgValue, Device, Net, Operator, TensorArg
from graphc.frontends.netdef.schema import Dialect, Message, message_class
from graphc.frontends.netdef.wire import Path as Position
from graphc.frontends.netdef.wire import Payload, Release, WireError, read_fields, split_net
from graphc.ir import FileError, NetError

MAX_TEXT = 1 << 28
"""Longest text net in bytes; protobuf's text parser needs minutes and gigabytes beyond."""


class Serialisable(Protocol):
    """A protobuf message of any pool, for instance one of an installed PyTorch's ``caffe2_pb2``."""

    def SerializeToString(self) -> bytes: ...


Source = str | PathLike[str] | bytes | bytearray | memoryview | Serialisable


def read_net(source: Source) -> Net:
    """Read a NetDef.

    source: a path, the bytes of a binary or text NetDef, or a message. The memory needed is that of the weights.
    Raises ``FileError`` where the file cannot be read, is something else, or is damaged, and ``NetError`` for a NetDef
    that contradicts itself.
    """
    data, name, release = _open(source)
    if require_net(data, name) == TEXT_NET:
        return _Converter({}).net(_parse_text(data, name, raw=True), ())
    try:
        split = split_net(data, release)
    except WireError as e:
        raise FileError(f"{name}: damaged or truncated: {e}", _DAMAGED) from e
    net = _Converter(split.payloads).net(_parse_binary(split.rest, name), ())
    if not (net.name or net.ops or net.external_inputs or net.external_outputs):
        raise FileError(f"{name}: a NetDef without operators, inputs, outputs or a name", "pass another file")
    return net


_DAMAGED = "compare the size and checksum of the file with the original's, and copy or download it again"


def parse_netdef(source: Source) -> Message:
    """The NetDef message of a binary or text net, for tools that edit it; unknown fields stay in it.

    Names that are not UTF-8 stay in it but cannot be looked at. Raises ``FileError``.
    """
    data, name, _ = _open(source)
    if require_net(data, name) == TEXT_NET:
        return _parse_text(data, name, raw=False)
    try:
        return message_class("NetDef").FromString(bytes(data))
    except DecodeError as e:
        raise FileError(f"{name}: {_broken_place(bytes(data))}", _DAMAGED) from e


def parse_text(text: str, raw: bool = False) -> Message:
    """The NetDef message of a text net; 2018's names are understood. Raises ``FileError`` with line and column."""
    return _parse_text(memoryview(text.encode()), "text", raw)


def _open(source: Source) -> tuple[memoryview, str, Release | None]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return memoryview(source).cast("B"), "NetDef bytes", None
    if not isinstance(source, (str, PathLike)):
        if not hasattr(source, "SerializeToString"):
            raise FileError(f"a {type(source).__name__} is not a NetDef", "give a path, bytes or a NetDef message")
        return memoryview(source.SerializeToString()), "NetDef message", None
    path = Path(fspath(source))
    try:
        if path.is_dir():
            raise FileError(f"{path}: this is a folder", "pass the NetDef file in it, e.g. predict_net.pb")
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return memoryview(b""), str(path), None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise FileError(f"{str(path)!r} cannot be read: {reason}", "check the path and its permissions") from e
    return memoryview(mapped), str(path), _page_releaser(mapped)


def _page_releaser(mapped: mmap.mmap) -> Release | None:
    """Gives pages that were read back to the system, so that a load needs no more memory than the arrays."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return None

    def release(start: int, end: int) -> None:
        first, last = start - start % mmap.PAGESIZE, end - end % mmap.PAGESIZE
        if last > first:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)

    return release


def _parse_text(data: memoryview, name: str, raw: bool) -> Message:
    if len(data) > MAX_TEXT:
        raise FileError(f"{name}: a text net of {len(data):,} bytes is too long to parse", "save it as binary (.pb)")
    try:
        text = bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise FileError(f"{name}: the text is not UTF-8 at byte {e.start:,}", "save it as UTF-8") from e
    dialect = Dialect.LEGACY if "cuda_gpu_id" in text else Dialect.MODERN
    try:
        message = text_format.Parse(text, message_class("NetDef", dialect, raw)())
    except text_format.ParseError as e:
        raise FileError(f"{name}: not a text NetDef: {e}", "mend the line", _excerpt(text, e)) from e
    except (RecursionError, UnicodeError, ValueError) as e:
        raise FileError(
            f"{name}: not a text NetDef: {type(e).__name__} while parsing", "check strings and nesting"
        ) from e
    if dialect is Dialect.MODERN:
        return message
    return message_class("NetDef", raw=raw).FromString(message.SerializeToString())


def _excerpt(text: str, error: text_format.ParseError) -> str:
    line, column = error.GetLine(), error.GetColumn()
    lines = text.splitlines()
    if line is None or not 0 < line <= len(lines):
        return ""
    return f"{lines[line - 1]}\n{' ' * max(0, (column or 1) - 1)}^"


def _parse_binary(data: bytes, name: str) -> Message:
    try:
        return message_class("NetDef", raw=True).FromString(data)
    except DecodeError as e:
        raise FileError(f"{name}: {_broken_place(data)}", _DAMAGED) from e


def _broken_place(data: bytes) -> str:
    """The first operator that protobuf cannot decode, in words."""
    index = 0
    try:
        for f in read_fields(memoryview(data), 0, len(data)):
            if f.number == 2 and f.wire == 2:
                try:
                    message_class("OperatorDef", raw=True).FromString(data[f.value : f.end])
                except DecodeError:
                    return f"damaged: operator #{index} cannot be decoded (at byte {f.value:,})"
                index += 1
    except WireError as e:
        return f"damaged or truncated: {e}"
    return "damaged: protobuf cannot decode it"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


_SINGLE = ("f", "i", "s", "n")
_TENSORS = ("t", "tensors", "qtensors")
_NUMBERS = {"f": 2, "i": 3, "s": 4, "floats": 5, "ints": 6, "strings": 7, "n": 8, "nets": 9}
_NAMES = {number: name for name, number in _NUMBERS.items()}


class _Converter:
    """Messages of the raw dialect to plain data; large values come from ``payloads``."""

    def __init__(self, payloads: dict[Position, Payload]) -> None:
        self.payloads = payloads

    def net(self, m: Message, at: Position) -> Net:
        return Net(
            name=_text(m.name),
            ops=[self.operator(op, (*at, i)) for i, op in enumerate(m.op)],
            external_inputs=[_text(n) for n in m.external_input],
            external_outputs=[_text(n) for n in m.external_output],
            args=self.arguments(m.arg, None, f"net '{_text(m.name)}'"),
            type=_text(m.type),
            num_workers=m.num_workers,
            device=_device(m),
        )

    def operator(self, m: Message, at: Position) -> Operator:
        where = f"op #{at[-1]} {_text(m.type)}"
        return Operator(
            type=_text(m.type),
            inputs=[_text(n) for n in m.input],
            outputs=[_text(n) for n in m.output],
            args=self.arguments(m.arg, at, where),
            name=_text(m.name),
            engine=_text(m.engine),
            device=_device(m),
            is_gradient=m.is_gradient_op,
            control_inputs=[_text(n) for n in m.control_input],
            debug_info=_text(m.debug_info),
            domain=_text(m.domain),
            version=m.op_version,
        )

    def arguments(self, args: Message, at: Position | None, where: str) -> dict[str, ArgValue]:
        """Arguments by name. Caffe2 accepts the same argument twice and refuses two that differ."""
        found: dict[str, tuple[ArgValue, Message]] = {}
        for i, arg in enumerate(args):
            name = _text(arg.name)
            value = self.argument(arg, () if at is None else (*at, i), where)
            if name in found and (arg != found[name][1] or (at is not None and (*at, i) in self.payloads)):
                raise NetError(f"{where}: argument '{name}' is given twice with different values", "remove one of them")
            found[name] = (value, arg)
        return {name: value for name, (value, _) in found.items()}

    def argument(self, arg: Message, at: Position, where: str) -> ArgValue:
        values: dict[str, ArgValue] = {_NAMES[k]: v for k, v in self.payloads.get(at, {}).items()} if at else {}
        for descriptor, value in arg.ListFields():
            kind = descriptor.name
            if kind == "n":
                values[kind] = self.net(value, at)
            elif kind == "nets":
                values[kind] = tuple(_Converter({}).net(n, ()) for n in value)
            elif kind in _TENSORS:
                content = [value] if kind == "t" else value
                values[kind] = TensorArg(kind, tuple(t.SerializeToString() for t in content))
            elif kind != "name":
                values[kind] = value if kind in _SINGLE else tuple(value)
        if len(values) > 1:
            fields = ", ".join(sorted(values))
            raise NetError(f"{where}: argument '{_text(arg.name)}' has several values ({fields})", "keep the one meant")
        return next(iter(values.values()), ())


def _device(m: Message) -> Device | None:
    if not m.HasField("device_option"):
        return None
    d = m.device_option
    extra = tuple(_text(n) for n in d.extra_info)
    seed = d.random_seed if d.HasField("random_seed") else None
    return Device(d.device_type, d.device_id, seed, _text(d.node_name), d.numa_node_id, extra)
