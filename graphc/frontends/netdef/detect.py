"""What a file is, told from its content alone, and what to do with one that is not a NetDef."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from graphc.frontends.netdef.wire import WireError, read_fields
from graphc.ir import FileError

BINARY_NET, TEXT_NET = "binary NetDef", "text NetDef"
HEAD = 1 << 16

_MAGIC = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x7fELF", "a program or shared library"),
    (b"%PDF-", "a PDF document"),
)


@dataclass(frozen=True)
class Kind:
    """name: what the file is. help: what to do with it; empty for a NetDef."""

    name: str
    help: str = ""

    @property
    def is_net(self) -> bool:
        """The file is a NetDef."""
        return self.name in (BINARY_NET, TEXT_NET)


def detect(data: memoryview) -> Kind:
    """Recognise the content of a file. A binary or text NetDef need not be a valid one."""
    head = bytes(data[:HEAD])
    if not head.strip():
        return Kind("an empty file" if not head else "a file of white space only", "download or export the net again")
    return _lfs(head) or _web_page(head) or _archive(data, head) or _pickle(head) or _text(data, head) or _binary(data)


def require_net(data: memoryview, source: str) -> str:
    """``BINARY_NET`` or ``TEXT_NET``; raises ``FileError`` that says what the file is instead and what to do."""
    kind = detect(data)
    if not kind.is_net:
        raise FileError(f"{source}: this is {kind.name}, not a NetDef", kind.help)
    return kind.name


def _lfs(head: bytes) -> Kind | None:
    if not head.startswith(b"version https://git-lfs"):
        return None
    oid = re.search(rb"^oid (\S+)", head, re.M)
    size = re.search(rb"^size (\d+)", head, re.M)
    what = [oid.group(1).decode("ascii", "replace")] if oid else []
    what += [f"{int(size.group(1)[:18]):,} bytes"] if size else []
    return Kind(
        f"a Git LFS pointer ({', '.join(what) or 'incomplete'})",
        "the repository was cloned without its large files: run `git lfs pull` in it, or download the file itself",
    )


def _web_page(head: bytes) -> Kind | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Kind("a web page (HTML)", "the download gave an error or log-in page; fetch the raw file instead")
    if start.startswith(b"<?xml"):
        return Kind("an XML file", "the download probably gave an error message; read it, and fetch the file again")
    return None


def _archive(data: memoryview, head: bytes) -> Kind | None:
    if head.startswith(b"PK\x03\x04"):
        return _zip(data, head)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return Kind(name, "unpack it and pass the NetDef inside" if "archive" in name else "pass the NetDef")
    if head[257:262] == b"ustar":
        return Kind("a tar archive", "unpack it and pass the NetDef inside")
    return None


def _zip(data: memoryview, head: bytes) -> Kind:
    names = head + bytes(data[-HEAD:])
    if b".npy" in names:
        return Kind("a NumPy archive (.npz)", "arrays are inputs of a run; pass the NetDef to compile")
    if b"data.pkl" in names:
        return Kind(
            "a PyTorch file (zip)", "graphc reads Caffe2 nets; export the model to Caffe2 with the tool it came from"
        )
    return Kind("a zip archive", "unpack it and pass the NetDef inside")


def _pickle(head: bytes) -> Kind | None:
    if head[:1] != b"\x80" or head[1:2] not in b"\x02\x03\x04\x05":
        return None
    if b"graphc" in head[:4096]:
        return Kind("a plan compiled by graphc", "run it with `graphc run`, or open it with graphc.load")
    return Kind(
        "a Python pickle",
        "pickles can run code, so graphc does not open them; Detectron's weights.pkl is turned into a net by its "
        "tools/convert_pkl_to_pb.py",
    )


def _text(data: memoryview, head: bytes) -> Kind | None:
    try:
        text = head.decode("utf-8-sig") if len(data) <= HEAD else head[:-4].decode("utf-8-sig", "ignore")
    except UnicodeDecodeError:
        return None
    if re.search(r"[\x00-\x08\x0e-\x1f]", text):
        return None
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    if re.match(r"\s*graph\b", lines):
        return Kind(
            "a graph in graphc's text format", "read it with graphc.ir.parse, or pass the NetDef that it was made from"
        )
    if re.search(r"^\s*(network\s*\{|execution_step\s*\{)", lines, re.M) and not re.search(r"^op\s*\{", lines, re.M):
        return _plan_def()
    if re.search(r"^\s*layers?\s*\{", lines, re.M):
        return Kind("a Caffe (1) prototxt", "translate it to Caffe2 first: caffe2.python.caffe_translator")
    if re.match(r"\s*[\[{]\s*[\"\]}\d\[{]", lines):
        return Kind("a JSON file", "pass the NetDef (predict_net.pb or predict_net.pbtxt)")
    if re.search(r"\b(op|arg|device_option)\s*:?\s*\{|\b(name|type|external_(in|out)put)\s*:", lines):
        return Kind(TEXT_NET)
    return Kind("a text file", "pass a NetDef, binary (.pb) or text (.pbtxt)") if len(text) > 3 else None


def _plan_def() -> Kind:
    return Kind(
        "a PlanDef (nets and the steps that run them)",
        "graphc compiles one net at a time: save the predict net as a NetDef of its own",
    )


def _binary(data: memoryview) -> Kind:
    if _is_minidb(data):
        return Kind(
            "a minidb database (predictor_exporter or a checkpoint)",
            "it holds weights by name and perhaps a MetaNetDef; export init_net.pb and predict_net.pb from it",
        )
    seen, complete = _outline(data, 0, len(data))
    if not complete and not _fits_net(seen):
        return Kind("no file that graphc knows (binary data)", "pass a NetDef; this one may be damaged or encrypted")
    return _message_kind(data, seen) if complete else Kind(BINARY_NET)  # the reader says where it is damaged


def _outline(data: memoryview, start: int, end: int) -> tuple[dict[int, tuple[int, int, int]], bool]:
    """First occurrence (wire type, value, end) of each field number among the first ten thousand fields.

    False with it: the bytes break protobuf's rules after these fields.
    """
    seen: dict[int, tuple[int, int, int]] = {}
    try:
        for count, f in enumerate(read_fields(data, start, end)):
            seen.setdefault(f.number, (f.wire, f.value, f.end))
            if count > 10_000:
                break
    except WireError:
        return seen, False
    return seen, True


def _fits_net(seen: dict[int, tuple[int, int, int]]) -> bool:
    """There are fields, and they have the wire types that they have in a NetDef."""
    return bool(seen) and all(wire == (0 if number == 4 else 2) for number, (wire, _, _) in seen.items() if number <= 9)


def _message_kind(data: memoryview, seen: dict[int, tuple[int, int, int]]) -> Kind:
    wires = {number: wire for number, (wire, _, _) in seen.items()}
    unknown = Kind("no NetDef (another protobuf message or binary data)", "pass predict_net.pb or init_net.pb")
    if wires.get(1) == 0:
        onnx = wires.get(7) == 2 and wires.get(8) == 2
        return (
            Kind("an ONNX model", "graphc reads Caffe2 nets; convert it with onnx's caffe2 backend")
            if onnx
            else unknown
        )
    if set(wires) == {1} and not re.fullmatch(rb"[^\x00-\x1f]+", bytes(data[seen[1][1] : seen[1][2]][:256])):
        return Kind(
            "a TensorProtos file or protodb (tensors by name)", "tensors are weights or inputs; pass the NetDef"
        )
    depth = _operator_depth(data, seen.get(2), 3)
    if depth == 2:
        return _plan_def()
    if depth == 3:
        return Kind("a MetaNetDef (nets of a predictor export)", "pass the minidb's predict net and init net as files")
    if wires.get(2) == 2 and depth is None and (wires.get(3) == 2 or wires.get(4) == 2) and wires.get(1) == 2:
        _, value, end = seen[2]
        if bytes(data[value : min(end, value + 40)]) in (b"Tensor", b"std::string", b"Int8TensorCPU", b"DBReader"):
            return Kind("a BlobProto (one saved blob)", "pass the NetDef that uses the blob")
    known = [n for n in wires if 1 <= n <= 9 and wires[n] == (0 if n == 4 else 2)]
    if not known or any(n <= 9 and n not in known for n in wires) or not ({1, 2, 7, 8} & set(known)):
        return unknown
    return Kind(BINARY_NET)


def _operator_depth(data: memoryview, field: tuple[int, int, int] | None, most: int) -> int | None:
    """How many levels of field 2 lie above the first message that looks like an OperatorDef: 1 in a NetDef."""
    for depth in range(1, most + 1):
        if field is None or field[0] != 2:
            return None
        seen, complete = _outline(data, field[1], field[2])
        if not complete:
            return None
        if 4 in seen and seen[4][0] == 2:
            return depth
        field = seen.get(2)
    return None


def _is_minidb(data: memoryview) -> bool:
    """Records of int32 key length, int32 value length, key, value, to the very end or for the first hundred."""
    at, size = 0, len(data)
    for _ in range(100):
        if at == size:
            return at > 0
        if at + 8 > size:
            return False
        key, value = struct.unpack_from("<ii", data, at)
        name = bytes(data[at + 8 : at + 8 + min(key, 4096)]) if key > 0 else b""
        if not 0 < key <= 4096 or value < 0 or at + 8 + key + value > size or not re.fullmatch(rb"[ -~]+", name):
            return False
        at += 8 + key + value
    return True
