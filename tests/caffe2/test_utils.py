"""Arguments and tensors as messages, by Caffe2's rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, utils
from graphc.caffe2.proto import caffe2_pb2


def filled(value: object) -> dict[str, object]:
    """The fields of an argument but its name."""
    fields = {f.name: v for f, v in utils.MakeArgument("a", value).ListFields() if f.name != "name"}
    return {name: list(v) if hasattr(v, "append") else v for name, v in fields.items()}


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (1.5, {"f": 1.5}),
        (3, {"i": 3}),
        (True, {"i": 1}),
        ("é", {"s": "é".encode()}),
        (b"\xff", {"s": b"\xff"}),
        (np.float32(0.5), {"f": 0.5}),
        (np.int32(4), {"i": 4}),
        ([1.0, 2.0], {"floats": [1.0, 2.0]}),
        ((1, 2), {"ints": [1, 2]}),
        ([True, 2], {"ints": [1, 2]}),
        (["a", b"b"], {"strings": [b"a", b"b"]}),
        (np.array([[1.0], [2.0]], np.float32), {"floats": [1.0, 2.0]}),
        (np.array([1, 2]), {"ints": [1, 2]}),
        ([], {}),
    ],
)
def test_make_argument(value: object, want: dict[str, object]) -> None:
    assert filled(value) == want


def test_messages_as_arguments() -> None:
    net, device = caffe2_pb2.NetDef(name="n"), caffe2_pb2.DeviceOption(device_id=2)
    assert utils.MakeArgument("a", net).n == net
    assert list(utils.MakeArgument("a", [net]).nets) == [net]
    assert utils.MakeArgument("a", device).s == device.SerializeToString()
    assert list(utils.MakeArgument("a", [device]).strings) == [device.SerializeToString()]


@pytest.mark.parametrize("value", [[1, 2.0], {"a": object()}, object(), [None]])
def test_other_arguments_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"Unknown .*argument type: key=a"):
        utils.MakeArgument("a", value if not isinstance(value, dict) else [*value.values()])


def test_args_to_dict() -> None:
    op = core.CreateOperator("Conv", [], [], kernel=3, pads=[1, 2], value=0.5, empty=[])
    found = utils.ArgsToDict(op.arg)
    assert {k: list(v) if k == "pads" else v for k, v in found.items()} == {
        "kernel": 3,
        "pads": [1, 2],
        "value": 0.5,
        "empty": None,
    }


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "?"])
def test_tensors_of_every_type(dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 100, 5]]).astype(dtype)
    message = utils.NumpyArrayToCaffe2Tensor(array, "t")
    assert message.name == "t"
    assert list(message.dims) == [2, 3]
    found = utils.Caffe2TensorToNumpyArray(caffe2_pb2.TensorProto.FromString(message.SerializeToString()))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_half_precision_goes_by_its_bits() -> None:
    bits = [0x3C00, 0x0001, 0x7C00]  # one, the least subnormal, infinity: IEEE 754
    message = utils.NumpyArrayToCaffe2Tensor(np.array(bits, np.uint16).view(np.float16))
    assert list(message.int32_data) == bits
    assert message.data_type == caffe2_pb2.TensorProto.FLOAT16


def test_strings_and_raw_data() -> None:
    found = utils.Caffe2TensorToNumpyArray(utils.NumpyArrayToCaffe2Tensor(np.array([["a", "b"]])))
    assert found.tolist() == [[b"a", b"b"]]
    raw = caffe2_pb2.TensorProto(dims=[2], data_type=1, raw_data=np.array([1.0, 2.0], "<f4").tobytes())
    assert utils.Caffe2TensorToNumpyArray(raw).tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="has 2 elements"):
        utils.Caffe2TensorToNumpyArray(caffe2_pb2.TensorProto(dims=[3], data_type=1, float_data=[1, 2]))
    with pytest.raises(RuntimeError, match="complex"):
        utils.NumpyArrayToCaffe2Tensor(np.zeros(1, complex))


def test_protos_from_text_and_bytes(tmp_path: Path) -> None:
    net = caffe2_pb2.NetDef(name="n")
    assert utils.TryReadProtoWithClass(caffe2_pb2.NetDef, 'name: "n"') == net
    assert utils.TryReadProtoWithClass(caffe2_pb2.NetDef, net.SerializeToString()) == net
    assert utils.GetContentFromProto(net, {caffe2_pb2.NetDef: lambda n: n.name}) == "n"
    assert utils.GetContentFromProtoString('name: "n"', {caffe2_pb2.NetDef: lambda n: n.name}) == "n"
    (tmp_path / "n.pbtxt").write_text('name: "n"')
    utils.ConvertProtoToBinary(caffe2_pb2.NetDef, str(tmp_path / "n.pbtxt"), str(tmp_path / "n.pb"))
    assert (tmp_path / "n.pb").read_bytes() == net.SerializeToString()


def test_axes_and_comparison() -> None:
    array = np.arange(24).reshape(1, 2, 3, 4)
    assert utils.NHWC2NCHW(array).shape == (1, 4, 2, 3)
    assert np.array_equal(utils.NHWC2NCHW(utils.NCHW2NHWC(array)), array)
    a, b = core.CreateOperator("Relu", "x", "y"), core.CreateOperator("Relu", "x", "y", name="other")
    assert not utils.OpAlmostEqual(a, b)
    assert utils.OpAlmostEqual(a, b, "name")
