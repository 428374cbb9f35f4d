"""Networks of Caffe 1 as nets: layer by layer against NumPy, files by Caffe's own field numbers."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from google.protobuf import text_format

from graphc.caffe2 import caffe_translator as translator
from graphc.caffe2 import utils, workspace
from graphc.caffe2.caffe_translator.__main__ import main
from graphc.caffe2.proto import caffe2_pb2, caffe_pb2
from graphc.caffe2.workspace.program import parse_net
from graphc.frontends.netdef import import_net
from graphc.ir import DType, TensorType, evaluate
from graphc.ir.infer import infer_types

RNG = np.random.default_rng(7)


def network(text: str, blobs: dict[str, list[np.ndarray]] | None = None, **options: object):
    """The operators and the parameters, by name, of a prototxt whose layers have these arrays."""
    trained = caffe_pb2.NetParameter()
    for name, arrays in (blobs or {}).items():
        layer = trained.layer.add(name=name)
        for array in arrays:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())
    net, params = translator.TranslateModel(
        text_format.Parse(text, caffe_pb2.NetParameter()), trained, is_test=True, **options
    )
    return net, {p.name: utils.Caffe2TensorToNumpyArray(p) for p in params.protos}


def run(net, params: dict[str, np.ndarray], *wanted: str, **feeds: np.ndarray) -> list[np.ndarray]:
    """Blobs of a net, by the interpreter: what is tested is which operators stand there, not their kernels."""
    net.external_output[:] = wanted
    arrays = {**params, **feeds}
    types = {name: TensorType(DType.of(array.dtype), array.shape) for name, array in arrays.items()}
    graph = import_net(parse_net(net.SerializeToString()), None, types)
    infer_types(graph)
    found = evaluate(graph, {value.name: arrays[value.name] for value in graph.inputs})
    return [found[name] for name in wanted]


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def pooled(x: np.ndarray, kernel: int, stride: int, pad: int, is_max: bool) -> np.ndarray:
    """Caffe's pooling_layer.cpp, window by window."""
    n, c, h, w = x.shape
    sizes = [-(-(d + 2 * pad - kernel) // stride) + 1 for d in (h, w)]
    if pad:
        sizes = [o - 1 if (o - 1) * stride >= d + pad else o for o, d in zip(sizes, (h, w))]
    y = np.empty((n, c, *sizes), np.float32)
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, h + pad), min(left + kernel, w + pad)
            part = x[:, :, max(top, 0) : min(bottom, h), max(left, 0) : min(right, w)]
            y[:, :, i, j] = part.max((2, 3)) if is_max else part.sum((2, 3)) / ((bottom - top) * (right - left))
    return y


@pytest.mark.parametrize(
    ("kind", "kernel", "stride", "pad", "size"),
    [("MAX", 3, 2, 0, 8), ("MAX", 2, 2, 1, 5), ("AVE", 3, 2, 0, 8), ("AVE", 3, 2, 1, 6), ("AVE", 3, 1, 1, 6)],
)
def test_pooling_rounds_up_and_counts_padding_as_caffe_does(kind, kernel, stride, pad, size):
    text = f"""layer {{ name: "p" type: "Pooling" bottom: "x" top: "y"
        pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}"""
    x = random(2, 3, size, size)
    net, params = network(text)
    expected = pooled(x, kernel, stride, pad, kind == "MAX")
    np.testing.assert_allclose(run(net, params, "y", x=x)[0], expected, rtol=1e-5, atol=1e-6)


def test_average_windows_that_could_begin_in_the_padding_are_refused():
    text = """layer { name: "p" type: "Pooling" bottom: "x" top: "y"
        pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 } }"""
    with pytest.raises(NotImplementedError, match="layer 'p' of type Pooling"):
        network(text)


def test_removed_legacy_padding_gives_the_same():
    text = """input: "x" input_shape { dim: 1 dim: 2 dim: 8 dim: 7 }
        layer { name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }"""
    net, params = network(text, remove_legacy_pad=True)
    arguments = utils.ArgsToDict(net.op[0].arg)
    assert "legacy_pad" not in arguments
    assert [arguments[f"pad_{s}"] for s in "tblr"] == [1, 2, 1, 1]
    x = random(1, 2, 8, 7)
    np.testing.assert_array_equal(run(net, params, "y", x=x)[0], pooled(x, 3, 2, 1, True))


def test_layers_in_place_keep_their_own_parameters():
    text = """
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
        layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { eps: 0.001 } }
        layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }"""
    w, mean, scale, bias = random(4, 3, 1, 1), random(4), random(4), random(4)
    variance = RNG.uniform(0.5, 2, 4).astype(np.float32)
    blobs = {"c": [w], "bn": [mean * 50, variance * 50, np.array([50.0], np.float32)], "s": [scale, bias]}
    net, params = network(text, blobs)
    assert sorted(params) == ["c_b", "c_bias", "c_mean", "c_scale", "c_var", "c_w", "s_w"]
    x = random(2, 3, 5, 4)
    found = run(net, params, "c", x=x)[0]
    y = np.einsum("nchw,kc->nkhw", x, w[:, :, 0, 0])
    per_channel = (slice(None), None, None)
    y = (y - mean[per_channel]) / np.sqrt(variance[per_channel] + 1e-3) * scale[per_channel] + bias[per_channel]
    np.testing.assert_allclose(found, np.where(y > 0, y, 0.1 * y), rtol=1e-4, atol=1e-5)


ELEMENTWISE = {
    'type: "Power" power_param { power: 2 scale: 3 shift: 0.5 }': lambda x: (0.5 + 3 * x) ** 2,
    'type: "Power" power_param { shift: 1 }': lambda x: x + 1,
    'type: "ELU" elu_param { alpha: 0.5 }': lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
    'type: "Exp" exp_param { base: 2 scale: 0.5 }': lambda x: 2 ** (0.5 * x),
    'type: "BNLL"': lambda x: np.log1p(np.exp(x)),
    'type: "Permute" permute_param { order: 0 order: 2 order: 3 order: 1 }': lambda x: x.transpose(0, 2, 3, 1),
    'type: "Flatten" flatten_param { axis: 2 }': lambda x: x.reshape(*x.shape[:2], -1),
    'type: "Reshape" reshape_param { axis: 1 shape { dim: -1 dim: 2 } }': lambda x: x.reshape(x.shape[0], -1, 2),
    'type: "Reduction" reduction_param { operation: SUMSQ axis: -2 coeff: 2 }': lambda x: 2 * (x * x).sum((2, 3)),
    'type: "Normalize" norm_param { across_spatial: false channel_shared: true }': (
        lambda x: 20 * x / np.sqrt((x * x).sum(1, keepdims=True))
    ),
}


def test_layers_without_windows_against_numpy():
    layers = [f'layer {{ name: "l{i}" bottom: "x" top: "y{i}" {text} }}' for i, text in enumerate(ELEMENTWISE)]
    layers.append(
        """layer { name: "slice" type: "Slice" bottom: "x" top: "a" top: "b" slice_param { slice_point: 1 } }
        layer { name: "sum" type: "Eltwise" bottom: "y1" bottom: "y2" top: "sum" eltwise_param { coeff: 2 coeff: -3 } }
        layer { name: "prod" type: "Eltwise" bottom: "y1" bottom: "y2" bottom: "y3" top: "prod"
                eltwise_param { operation: PROD } }
        layer { name: "crop" type: "Crop" bottom: "x" bottom: "small" top: "crop" crop_param { offset: 1 } }"""
    )
    net, params = network("\n".join(layers), {f"l{len(ELEMENTWISE) - 1}": [np.array([20.0], np.float32)]})
    x = random(2, 4, 6, 4)
    names = [*(f"y{i}" for i in range(len(ELEMENTWISE))), "a", "b", "sum", "prod", "crop"]
    found = dict(zip(names, run(net, params, *names, x=x, small=random(2, 4, 3, 2))))
    y = [function(x) for function in ELEMENTWISE.values()]
    for i, expected in enumerate(y):
        np.testing.assert_allclose(found[f"y{i}"], expected, rtol=2e-5, atol=1e-5, err_msg=f"y{i}")
    np.testing.assert_array_equal(found["a"], x[:, :1])
    np.testing.assert_array_equal(found["b"], x[:, 1:])
    np.testing.assert_allclose(found["sum"], 2 * y[1] - 3 * y[2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["prod"], y[1] * y[2] * y[3], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["crop"], x[:, :, 1:4, 1:3])


def test_softmax_over_channels_of_every_pixel():
    text = """input: "x" input_shape { dim: 1 dim: 3 dim: 2 dim: 2 }
        layer { name: "s" type: "Softmax" bottom: "x" top: "y" }"""
    net, params = network(text)
    x = random(1, 3, 2, 2)
    e = np.exp(x)
    np.testing.assert_allclose(run(net, params, "y", x=x)[0], e / e.sum(1, keepdims=True), rtol=1e-5)


def test_layers_for_training_are_left_out():
    text = """layer { name: "d" type: "Data" top: "x" top: "label" include { phase: TRAIN } }
        layer { name: "r" type: "ReLU" bottom: "x" top: "y" }
        layer { name: "a" type: "Accuracy" bottom: "y" bottom: "label" top: "acc" exclude { phase: TEST } }"""
    assert [op.type for op in network(text)[0].op] == ["Relu"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('layer { name: "boxes" type: "PriorBox" }', KeyError, "layer 'boxes' of type PriorBox"),
        ('layer { name: "c" type: "Convolution" bottom: "x" top: "y" }', ValueError, "layer 'c'.* 0 arrays"),
        ('name: "empty"', ValueError, "no layers"),
        (
            'layer { name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param { pool: STOCHASTIC } }',
            NotImplementedError,
            "layer 'p'.*stochastic",
        ),
    ],
)
def test_what_cannot_be_translated_names_the_layer(text, error, message):
    with pytest.raises(error, match=message):
        network(text)


# ---- files -----------------------------------------------------------------------------------------------------------


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def blob(array: np.ndarray, old: bool) -> bytes:
    """A BlobProto: packed floats in field 5; the shape in field 7, or in four numbers as Caffe's first years had it."""
    data = field(5, struct.pack(f"<{array.size}f", *array.ravel()))
    if not old:
        return field(7, field(1, b"".join(map(varint, array.shape)))) + data
    dims = (1,) * (4 - array.ndim) + array.shape
    return b"".join(varint(i << 3) + varint(d) for i, d in enumerate(dims, 1)) + data


@pytest.mark.parametrize("old", [False, True])
def test_the_command_reads_files_by_caffes_field_numbers(tmp_path, capsys, old):
    w, b = random(5, 12), random(5)
    if old:
        layer = field(4, b"ip") + field(6, blob(w, True)) + field(6, blob(b, True))
        model = field(2, layer)
        kind, section = "INNER_PRODUCT", "layers"
    else:
        layer = field(1, b"ip") + field(2, b"InnerProduct") + field(7, blob(w, False)) + field(7, blob(b, False))
        model = field(100, layer)
        kind, section = '"InnerProduct"', "layer"
    text = f"""name: "tiny" input: "data" input_dim: 1 input_dim: 3 input_dim: 2 input_dim: 2
        {section} {{ name: "ip" type: {kind} bottom: "data" top: "ip" inner_product_param {{ num_output: 5 }} }}"""
    (tmp_path / "n.prototxt").write_text(text)
    (tmp_path / "n.caffemodel").write_bytes(model)
    files = [str(tmp_path / name) for name in ("n.prototxt", "n.caffemodel", "init.pb", "predict.pb")]
    assert main([*files[:2], "--init_net", files[2], "--predict_net", files[3]]) == 0
    assert "1 operators, inputs data, outputs ip" in capsys.readouterr().out
    predict = caffe2_pb2.NetDef()
    predict.ParseFromString((tmp_path / "predict.pb").read_bytes())
    assert list(predict.external_input) == ["data", "ip_w", "ip_b"]
    assert text_format.Parse((tmp_path / "predict.pbtxt").read_text(), caffe2_pb2.NetDef()) == predict
    x = random(2, 3, 2, 2)
    predictor = workspace.Predictor((tmp_path / "init.pb").read_bytes(), predict.SerializeToString())
    np.testing.assert_allclose(predictor.run([x])[0], x.reshape(2, 12) @ w.T + b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "i" type: "Interp" interp_param { height: 3 } }', "layer 'i' of type Interp"),
        ('layer { name: "r" type: "ReLU" bottom: "x" top: "y" relu_param { oops: 3 } }', "does not know: .*oops"),
        ("layer {", "no prototxt"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, text, message):
    (tmp_path / "n.prototxt").write_text(text)
    (tmp_path / "n.caffemodel").write_bytes(b"")
    assert main([str(tmp_path / "n.prototxt"), str(tmp_path / "n.caffemodel")]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error), error
