"""The schema table against Caffe2's wire format, and round trips of real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from graphc.frontends.netdef import message_class, parse_netdef, parse_text, to_text, write_net
from graphc.frontends.netdef.schema import Dialect


def test_field_numbers_on_the_wire() -> None:
    net = message_class("NetDef")(name="n", num_workers=2, external_input=["a"], external_output=["b"])
    op = net.op.add(type="T", input=["i"], is_gradient_op=True)
    op.arg.add(name="k", i=-1)
    op.device_option.device_id = 3
    tail = bytes.fromhex("0a0169 220154 2a0e0a016b18ffffffffffffffffff01 32021003 4801")
    assert net.SerializeToString() == b"\x0a\x01n\x12" + bytes([len(tail)]) + tail + b"\x20\x02\x3a\x01a\x42\x01b"


def test_lists_of_arguments_are_unpacked_and_those_of_tensors_packed() -> None:
    argument = message_class("Argument")(floats=[1.0, 2.0], ints=[3])
    assert argument.SerializeToString().hex() == "2d0000803f2d000000403003"
    tensor = message_class("TensorProto")(float_data=[1.0, 2.0], dims=[2])
    assert tensor.SerializeToString().hex() == "08021a080000803f00000040"


def test_defaults_of_proto2() -> None:
    assert message_class("TensorProto")().data_type == 1
    assert message_class("QTensorProto")().data_type == 2
    assert message_class("ModelInfo")().predictorType == "SINGLE_PREDICTOR"


def test_the_pool_is_private() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe2.NetDef")
    message_class("NetDef")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe2.NetDef")


def test_unknown_fields_survive() -> None:
    data = b"\x0a\x01n" + b"\x12\x09\x22\x01T\xf2\x3f\x03abc" + b"\xfa\x7f\x02hi"
    assert write_net(parse_netdef(data)) == data


def test_text_of_2018_names_the_device_cuda_gpu_id() -> None:
    old = parse_text('name: "n" op { type: "Relu" device_option { device_type: 1 cuda_gpu_id: 2 } }')
    new = parse_text('name: "n" op { type: "Relu" device_option { device_type: 1 device_id: 2 } }')
    assert old.op[0].device_option.device_id == 2
    assert old.SerializeToString() == new.SerializeToString()
    assert "cuda_gpu_id" in text_format.MessageToString(
        message_class("NetDef", Dialect.LEGACY).FromString(old.SerializeToString())
    )


def test_real_files_round_trip_bit_by_bit(shared: Path) -> None:
    files = [*(shared / "models").rglob("*.pb"), *(shared / "golden_files").glob("*.pb")]
    assert len(files) > 30
    for path in files:
        data = path.read_bytes()
        assert write_net(parse_netdef(path)) == data, path


def test_real_text_round_trips(shared: Path) -> None:
    files = [p for p in (shared / "models").rglob("*.pbtxt") if "plan" not in p.name]
    assert len(files) > 10
    for path in files:
        message = parse_netdef(path)
        assert parse_text(to_text(message)).SerializeToString() == message.SerializeToString(), path


def test_text_and_binary_of_one_net_agree(shared: Path) -> None:
    folder = shared / "golden_files"
    for name in ("mobile_init_net", "mobile_predict_net"):
        assert parse_netdef(folder / f"{name}.pbtxt") == parse_netdef(folder / f"{name}.pb")
