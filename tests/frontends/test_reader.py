"""Reading nets into plain data and writing them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.frontends.netdef import Device, Net, Operator, parse_netdef, read_net, to_text, write_net
from graphc.ir import FileError, GraphcError, NetError

NESTED = Net("inner", [Operator("Relu", ["a"], ["b"])])
FULL = Net(
    "full",
    [
        Operator(
            "Conv",
            ["x", "w"],
            ["y"],
            {
                "kernel": 3,
                "alpha": 0.5,
                "order": b"NCHW",
                "pads": (1, 2, -3),
                "scales": (1.0, 0.25),
                "names": (b"a", b"\xff\x00"),
                "nothing": (),
                "net": NESTED,
                "nets": (NESTED, NESTED),
            },
            name="conv",
            engine="CUDNN",
            device=Device(1, 2, 3, "node", 4, ("extra",)),
            is_gradient=True,
            control_inputs=["c"],
            debug_info="made here",
            domain="d",
            version=7,
        )
    ],
    ["x", "w"],
    ["y"],
    {"size_divisibility": 32},
    "dag",
    4,
    Device(1),
)


def test_every_field_round_trips() -> None:
    assert read_net(write_net(FULL)) == FULL
    assert read_net(to_text(FULL).encode()) == FULL


def test_paths_bytes_and_messages_give_the_same_net(tmp_path: Path) -> None:
    data = write_net(FULL)
    path = tmp_path / "net"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), memoryview(data), parse_netdef(data)):
        assert read_net(source) == FULL


def test_text_with_comments_and_byte_order_mark() -> None:
    text = '﻿# made by hand\nname: "n"\nop { input: "x" output: "y" type: "Relu" } # end\n'
    assert read_net(text.encode()) == Net("n", [Operator("Relu", ["x"], ["y"])])


def test_2018_text() -> None:
    net = read_net(b'op { type: "Relu" device_option { device_type: 1 cuda_gpu_id: 2 } }')
    assert net.ops[0].device == Device(1, 2)
    assert str(net.ops[0].device) == "cuda:2"


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (Device(), ""),
        (Device(random_seed=0), "cpu:0 random_seed=0"),
        (Device(1, 2, 4294967295), "cuda:2 random_seed=4294967295"),
    ],
)
def test_seeds_of_devices(device: Device, text: str) -> None:
    net = read_net(write_net(Net("n", [Operator("Relu", ["x"], ["y"], device=device)])))
    assert net.ops[0].device == device
    assert str(device) == text


def test_names_that_are_not_utf8() -> None:
    net = read_net(b"\x12\x0b\x0a\x03a\xe9b\x22\x04Relu")
    assert net.ops[0].inputs == ["a\\xe9b"]


def test_text_errors_show_the_line() -> None:
    with pytest.raises(FileError) as e:
        read_net(b'name: "n"\nop {\n  typo: "Relu"\n}\n')
    assert 'no field named "typo"' in e.value.message
    assert e.value.excerpt == '  typo: "Relu"\n  ^'


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(FileError):
        read_net(b'op { arg { name: "n" n { ' * 2000)
    data = b"\x22\x01T"
    for _ in range(300):
        for tag in (b"\x12", b"\x42", b"\x2a"):
            size = len(data)
            length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
            data = tag + length + data
    with pytest.raises(FileError):
        read_net(
            b"\x0a\x01n\x12" + bytes([len(data) & 0x7F | 0x80, len(data) >> 7 & 0x7F | 0x80, len(data) >> 14]) + data
        )


def test_repeated_arguments() -> None:
    same = b'op { type: "Conv" arg { name: "k" i: 1 } arg { name: "k" i: 1 } }'
    assert read_net(same).ops[0].args == {"k": 1}
    with pytest.raises(NetError, match="op #0 Conv: argument 'k' is given twice"):
        read_net(same.replace(b"i: 1", b"i: 2", 1))
    with pytest.raises(NetError, match=r"argument 'k' has several values \(f, i\)"):
        read_net(b'op { type: "Conv" arg { name: "k" i: 1 f: 1 } }')


def test_a_net_of_nothing_is_refused() -> None:
    with pytest.raises(FileError):
        read_net(b"\x1a\x03dag")


def test_shared_nets_read_and_round_trip(shared: Path) -> None:
    read = 0
    for path in [*(shared / "models").rglob("*.pb"), *(shared / "models").rglob("*.pbtxt")]:
        if "plan" in path.name:
            continue
        net = read_net(path)
        assert net.ops
        again = read_net(write_net(net))
        assert _text(again) == _text(net), path
        read += 1
    assert read > 40


def test_golden_nets_read(shared: Path) -> None:
    count = 0
    for path in sorted((shared / "golden_nets").glob("*.npz")):
        with np.load(path) as file:
            data = bytes(file["net"])
        net = read_net(data)
        assert _text(read_net(write_net(net))) == _text(net), path
        count += 1
    assert count > 200


def test_arguments_of_an_operator_as_lists_and_texts() -> None:
    op = Operator("Squeeze", ["x"], ["y"], {"dims": [0, 2], "order": "NCHW", "names": ["a", b"b"]})
    assert op.args == {"dims": (0, 2), "order": b"NCHW", "names": (b"a", b"b")}
    assert read_net(write_net(Net("n", [op], ["x"], ["y"]))).ops == [op]


def test_hostile_sizes_are_refused_at_once() -> None:
    for data in (
        b"\x12\xff\xff\xff\xff\x0f",
        b"\x12\x06\x2a\xff\xff\xff\x7f",
        b"\x0a\x01n\x12\x80\x80\x80\x80\x80\x80\x80\x80\x7f",
    ):
        with pytest.raises(GraphcError):
            read_net(data)


def _text(net: Net) -> str:
    with np.printoptions(threshold=50):
        return repr([(op, {k: np.asarray(v).sum() for k, v in op.args.items() if _is_floats(v)}) for op in net.ops])


def _is_floats(value: object) -> bool:
    return isinstance(value, (tuple, np.ndarray)) and len(value) > 0 and isinstance(value[0], (float, np.floating))
