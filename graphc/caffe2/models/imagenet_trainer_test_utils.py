"""``caffe2.python.models.imagenet_trainer_test_utils``: what tests of models for ImageNet compare.

Each function builds a model with ``create_model(model, data, num_input_channels=3, num_labels, is_test)``, has
``memonger`` share its blobs, runs both nets, and gives how many blobs there are, (after, before), and what was
computed, (before, after).
"""

# ruff: noqa: PT028  (the names are Caffe2's; these are not tests)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.caffe2 import cnn, core, memonger, workspace
from graphc.frontends.netdef.schema import Message

Pair = tuple[Any, Any]
CreateModel = Callable[..., Any]
_SHAPE = (4, 3, 227, 227)


def has_blob(proto: Message, needle: str) -> bool:
    """An operator of the net reads or writes the blob."""
    return needle in _blobs(proto)


def count_blobs(proto: Message) -> int:
    """How many blobs the operators read and write."""
    return len(_blobs(proto))


def count_shared_blobs(proto: Message) -> int:
    """How many of them are called ``_shared``."""
    return sum("_shared" in blob for blob in _blobs(proto))


def _blobs(proto: Message) -> set[str]:
    return {blob for op in proto.op for blob in (*op.input, *op.output)}


def _pictures() -> NDArray[np.float32]:
    return np.random.rand(*_SHAPE).astype(np.float32)


def test_shared_grads(
    with_shapes: bool,
    create_model: CreateModel,
    conv_blob: str,
    last_out_blob: str,
    data_blob: str = "gpu_0/data",
    label_blob: str = "gpu_0/label",
    num_labels: int = 1000,
) -> list[Pair]:
    """Training with shared gradients: the number of blobs, the last output, the gradient of the parameter named."""
    model = cnn.CNNModelHelper(order="NCHW", name="test", cudnn_exhaustive_search=True)
    with core.NameScope("gpu_0"):
        data, label = model.net.AddExternalInputs(data_blob, label_blob)
        _, loss = create_model(
            model, data, num_input_channels=3, num_labels=num_labels, label=label, is_test=False
        )  # fmt: skip
    gradients = model.AddGradientOperators([loss])
    gradient = gradients[core.BlobReference(conv_blob)]
    fed = {data_blob: list(_SHAPE), label_blob: [_SHAPE[0]]}
    shapes, _ = workspace.InferShapesAndTypes([model.param_init_net, model.net], fed)
    before = count_blobs(model.net.Proto())
    shared = memonger.share_grad_blobs(
        model.net,
        ["gpu_0/loss"],
        set(model.param_to_grad.values()),
        "gpu_0/",
        share_activations=True,
        dont_share_blobs={str(gradient)},
        blob_shapes=shapes if with_shapes else None,
    )
    workspace.RunNetOnce(model.param_init_net)
    workspace.FeedBlob(data_blob, _pictures())
    workspace.FeedBlob(label_blob, (np.random.rand(_SHAPE[0]) * num_labels).astype(np.int32))
    workspace.RunNetOnce(model.net)
    losses, slopes = [workspace.FetchBlob(last_out_blob)], [workspace.FetchBlob(gradient)]
    workspace.FeedBlob(gradient, np.array([0.0]))
    workspace.RunNetOnce(shared)
    losses.append(workspace.FetchBlob(last_out_blob))
    slopes.append(workspace.FetchBlob(gradient))
    return [(count_blobs(shared), before), (losses[0], losses[1]), (slopes[0], slopes[1])]


def test_forward_only(
    create_model: CreateModel, last_out_blob: str, data_blob: str = "gpu_0/data", num_labels: int = 1000
) -> list[Any]:
    """Inference, shared by ``optimize_inference_for_dag``: numbers of blobs, of shared ones, the last output."""
    model = _inference_model(create_model, data_blob, num_labels)
    return _compare(
        model, memonger.optimize_inference_for_dag(model.net, [data_blob], "gpu_0/"), data_blob, last_out_blob
    )


def test_forward_only_fast_simplenet(
    create_model: CreateModel, last_out_blob: str, data_blob: str = "gpu_0/data", num_labels: int = 1000
) -> list[Any]:
    """The same with ``optimize_inference_fast``."""
    model = _inference_model(create_model, data_blob, num_labels)
    static = {data_blob, last_out_blob, *model.net.Proto().external_input}
    return _compare(model, memonger.optimize_inference_fast(model.net.Proto(), static), data_blob, last_out_blob)


def _inference_model(create_model: CreateModel, data_blob: str, num_labels: int) -> Any:
    model = cnn.CNNModelHelper(order="NCHW", name="test", cudnn_exhaustive_search=True)
    with core.NameScope("gpu_0"):
        data = model.net.AddExternalInput(data_blob)
        create_model(model, data, num_input_channels=3, num_labels=num_labels, is_test=True)
    return model


def _compare(model: Any, shared: Message, data_blob: str, last_out_blob: str) -> list[Any]:
    workspace.RunNetOnce(model.param_init_net)
    workspace.FeedBlob(data_blob, _pictures())
    found = []
    for net in (model.net, shared):
        workspace.RunNetOnce(net)
        found.append(workspace.FetchBlob(last_out_blob))
    counts = count_blobs(shared), count_blobs(model.net.Proto())
    return [counts, count_shared_blobs(shared), (found[0], found[1])]
