"""Arguments of operators: which ones only tune libraries that graphc has not, and conversion to a record's kind."""

from __future__ import annotations

import numpy as np

from graphc.frontends.netdef.blobs import RECURRENT
from graphc.frontends.netdef.net import ArgValue, Net, TensorArg
from graphc.ir import Arg, OpDef
from graphc.ir.attrs import as_float32

HARMLESS = frozenset(
    (
        "algo",
        "allow_broadcast_fastpath",
        "allow_fp16",
        "convolution_transform_strategy",
        "cudnn_exhaustive_search",
        "cudnn_state",
        "dequantize_output",
        "deterministic",
        "enable_tensor_core",
        "exhaustive_search",
        "float16_compute",
        "force_algo_dgrad",
        "force_algo_fwd",
        "force_algo_wgrad",
        "fp16_compute",
        "freeze_bias",
        "is_test",
        "kts",
        "nbits_in_non_outlier",
        "order",
        "preserve_activation_sparsity",
        "preserve_weight_sparsity",
        "quantize_channelwise",
        "quantize_groupwise",
        "reduced_precision",
        "shared_buffer",
        "training_mode",
        "use_cudnn",
        "use_grad_hack",
        "use_mkldnn",
        "use_nnpack",
        "use_nvtx",
        "ws_nbytes_limit",
        "Y_scale",
        "Y_zero_point",
    )
)
"""Arguments that change no answer on an operator whose record does not list them: they choose an algorithm, a library,
a work space or a precision of Caffe2's engines (cuDNN, NNPACK, DNNLOWP, MKL-DNN), or, as ``order`` and ``is_test`` do,
are set by Caffe2's helpers on every operator alike, those included that have no such argument."""

HARMLESS_ON = frozenset(
    (
        ("ConstantFill", "values"),
        ("ConvRelu", "activation"),
        ("Int8Add", "broadcast"),
        ("LSTMUnit", "axis"),
        ("PRelu", "alpha"),
        ("ResizeLike", "axis"),
    )
)
"""Operator and an argument that Caffe2's own scripts give it, though it reads none of that name."""


def is_harmless(op_type: str, name: str) -> bool:
    """The argument may be dropped where the operator's record does not list it."""
    return (
        name in HARMLESS
        or (op_type, name) in HARMLESS_ON
        or name.startswith("cudnn_")
        or (name.endswith(".rename") and op_type in RECURRENT)
    )


def known_argument(record: OpDef, name: str) -> Arg | None:
    """The record of an argument, None where there is none."""
    return record.arg(name) if record.has_arg(name) else None


def convert(value: ArgValue, kind: str) -> ArgValue:
    """The value as an argument of ``kind`` (see ``Arg``) holds it.

    An int serves as a float, a float without fraction as an int, an array as a tuple; a Net stays a Net. Raises
    ``ValueError`` that says what the value is and what is needed.
    """
    if isinstance(value, TensorArg):
        raise ValueError(f"is a tensor message (field {value.field}), which no operator of graphc takes")
    if isinstance(value, np.ndarray):
        value = tuple(value.tolist())
    if kind == "any":
        return value
    if kind == "graph":
        return _graph(value)
    if kind.endswith("s"):
        return _list(value, kind[:-1])
    return _scalar(value, kind)


def _graph(value: ArgValue) -> ArgValue:
    if isinstance(value, (Net, bytes)):
        return value
    raise ValueError(f"is {_describe(value)}, a net is needed")


def _list(value: ArgValue, kind: str) -> ArgValue:
    if not isinstance(value, tuple):
        raise ValueError(f"is {_describe(value)}, a list of {kind}s is needed")
    return tuple(_scalar(v, kind) for v in value)


def _scalar(value: ArgValue, kind: str) -> ArgValue:
    if (
        kind == "int"
        and isinstance(value, (int, float))
        and value == value
        and abs(value) < 2**63
        and int(value) == value
    ):
        return int(value)
    if kind == "float" and isinstance(value, (int, float)):
        return as_float32(value)
    if kind == "string" and isinstance(value, bytes):
        return value
    raise ValueError(f"is {_describe(value)}, {'an' if kind == 'int' else 'a'} {kind} is needed")


def _describe(value: ArgValue) -> str:
    if isinstance(value, tuple):
        return f"a list of {len(value)} values" if value else "without a value"
    if isinstance(value, Net):
        return "a net"
    if isinstance(value, bytes):
        return "the string " + repr(value[:40].decode("utf-8", "replace"))
    return f"the {type(value).__name__} {value}"
