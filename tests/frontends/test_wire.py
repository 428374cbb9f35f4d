"""The scanner gives what protobuf gives, for every way of writing lists, and refuses broken bytes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphc.frontends.netdef import message_class, read_net
from graphc.frontends.netdef.wire import WireError, decode_varints, read_fields, split_net
from graphc.ir import FileError

INTS = [0, 1, -1, 127, 128, 300, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]


def varint(value: int) -> bytes:
    value, out = value % 2**64, bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def record(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def net_with(argument: bytes) -> bytes:
    op = record(2, b"w") + record(4, b"GivenTensorFill") + record(5, record(1, b"values") + argument)
    return record(1, b"net") + record(2, op) + record(7, b"x")


def value_of(argument: bytes) -> object:
    return read_net(net_with(argument)).ops[0].args["values"]


def test_varints_of_every_length() -> None:
    values, ends = decode_varints(np.frombuffer(b"".join(map(varint, INTS)), np.uint8))
    assert values.tolist() == INTS
    assert ends[-1] == sum(len(varint(v)) for v in INTS)


@pytest.mark.parametrize("count", [1, 5, 2000, 300_000])
def test_unpacked_floats(count: int) -> None:
    values = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    records = np.empty(count, [("tag", "u1"), ("value", "<f4")])
    records["tag"], records["value"] = 0x2D, values
    got = value_of(records.tobytes())
    assert np.array_equal(np.asarray(got, np.float32), values)
    assert isinstance(got, np.ndarray) == (count >= 2000)


def test_packed_floats() -> None:
    values = np.arange(5000, dtype=np.float32)
    assert np.array_equal(value_of(record(5, values.tobytes())), values)


@pytest.mark.parametrize("packed", [False, True])
def test_ints_of_every_length(packed: bool) -> None:
    values = random.Random(0).choices(INTS, k=4000)
    if packed:
        argument = record(6, b"".join(map(varint, values)))
    else:
        argument = b"".join(b"\x30" + varint(v) for v in values)
    got = value_of(argument)
    assert isinstance(got, np.ndarray)
    assert got.dtype == np.int64
    assert got.tolist() == values


def test_ints_where_values_look_like_tags() -> None:
    values = [0x30, 0x2D, 48, 6] * 3000
    assert np.array_equal(value_of(b"".join(b"\x30" + varint(v) for v in values)), values)


def test_large_strings_are_taken_out_once() -> None:
    blob = bytes(range(256)) * 40
    assert value_of(record(7, blob)) == (blob,)
    assert value_of(record(4, blob)) == blob
    assert value_of(record(7, b"a") + record(7, blob)) == (b"a", blob)


def test_a_run_may_be_broken_by_other_fields() -> None:
    run = b"".join(b"\x2d" + np.float32(i).tobytes() for i in range(1000))
    mixed = run + record(5, np.arange(1000, 1500, dtype="<f4").tobytes()) + b"\xc0\x3e\x07" + run[:5]
    assert np.array_equal(value_of(mixed), [*range(1500), 0])


def test_a_list_in_many_pieces_is_left_to_protobuf() -> None:
    piece = b"\x2d" + np.float32(1).tobytes() + b"\xc0\x3e\x07"
    assert value_of(piece * 12_000) == (1.0,) * 12_000


def test_large_values_of_nested_nets() -> None:
    values = np.arange(3000, dtype=np.float32)
    inner = net_with(record(5, values.tobytes()))
    outer = record(1, b"outer") + record(2, record(4, b"If") + record(5, record(1, b"then_net") + record(8, inner)))
    nested = read_net(outer).ops[0].args["then_net"]
    assert np.array_equal(nested.ops[0].args["values"], values)
    assert len(split_net(memoryview(outer)).rest) < 200


def test_the_scanner_agrees_with_protobuf(shared: Path) -> None:
    for path in (shared / "models").rglob("init_net.pb"):
        message = message_class("NetDef").FromString(path.read_bytes())
        for op, expected in zip(read_net(path).ops, message.op, strict=True):
            for arg in expected.arg:
                if len(arg.floats):
                    assert np.array_equal(np.asarray(op.args[arg.name], np.float32), np.array(arg.floats, np.float32))
                if len(arg.ints):
                    assert list(op.args[arg.name]) == list(arg.ints)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x0a", "ends? inside a number"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", "more bytes than there are"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "more than ten bytes"),
        (b"\x03\x00", "field number 0|wire type 3"),
        (b"\x0b\x00", "wire type 3"),
        (b"\x0d\x00\x00", "2 more bytes|more bytes"),
    ],
)
def test_broken_fields(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason.replace("ends?", "end")):
        list(read_fields(memoryview(data), 0, len(data)))


def test_every_truncation_is_an_error_or_a_shorter_net() -> None:
    whole = net_with(b"".join(b"\x2d" + np.float32(i).tobytes() for i in range(2000)))
    for end in [*range(1, 60), *range(9_000, len(whole), 97)]:
        try:
            assert len(read_net(whole[:end]).ops) <= 1
        except FileError:
            continue


def test_truncation_names_the_missing_bytes(tmp_path: Path) -> None:
    path = tmp_path / "init_net.pb"
    path.write_bytes(net_with(record(5, bytes(40_000)))[:-10_000])
    with pytest.raises(FileError, match="damaged or truncated: field 2 needs 9,997 more bytes"):
        read_net(path)


def test_a_bad_operator_is_named() -> None:
    data = record(1, b"n") + record(2, record(4, b"Relu")) + record(2, record(4, b"Conv") + b"\x2a\x05a")
    with pytest.raises(FileError, match="operator #1 cannot be decoded"):
        read_net(data)


MEASURE = """
import sys, time
from graphc.frontends.netdef import read_net, weights

def status(key):
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(key)) * 1024

before = status('VmRSS')
arrays = weights(read_net(sys.argv[1]))
print(status('VmHWM') - before, sum(a.size for a in arrays.values()))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
def test_memory_of_a_large_init_net(tmp_path: Path) -> None:
    """A file like VGG-19's init net, at a sixth of its size, needs no more than 1.3 times its size."""
    path = tmp_path / "init_net.pb"
    sizes = [16_000_000, 6_000_000, 2_000_000, 64]
    with path.open("wb") as file:
        for i, count in enumerate(sizes):
            records = np.full(count, 0, [("tag", "u1"), ("value", "<f4")])
            records["tag"] = 0x2D
            shape = record(5, record(1, b"shape") + b"\x30" + varint(count))
            values = record(5, record(1, b"values") + records.tobytes())
            file.write(record(2, record(2, b"w%d" % i) + record(4, b"GivenTensorFill") + shape + values))
    result = subprocess.run([sys.executable, "-I", "-c", MEASURE, path], capture_output=True, text=True, check=True)
    peak, elements = map(int, result.stdout.split())
    assert elements == sum(sizes)
    assert peak < 1.3 * path.stat().st_size
