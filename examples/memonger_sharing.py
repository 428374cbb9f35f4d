"""Memonger with Caffe2's Python API on graphc: fewer blobs for a training net and for an inference net, same answers.

    python -m graphc.caffe2 examples/memonger_sharing.py

The net is a chain of fully connected layers. What is shared are names in the ``NetDef``, so that the result is a net
for any runtime; what graphc itself makes of either net, it plans anyway (docs/memory.md).
"""

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import brew, core, memonger, model_helper, workspace

BATCH, WIDTH, LAYERS, CLASSES = 64, 256, 6, 10


def add_layers(model):
    """Scores (BATCH, CLASSES) of the blob ``data`` (BATCH, WIDTH)."""
    x = "data"
    for k in range(LAYERS):
        x = brew.fc(model, x, f"fc{k}", dim_in=WIDTH, dim_out=WIDTH)
        x = brew.relu(model, x, f"relu{k}")
    return brew.fc(model, x, "scores", dim_in=WIDTH, dim_out=CLASSES)


def memory(net):
    """Bytes of all blobs that the net writes; their shapes follow from those that the workspace has."""
    shapes, types = workspace.InferShapesAndTypes([net])
    return memonger.estimate_memory_usage([net], shapes, types, caffe2_pb2.DeviceOption()).total


def results(net, blobs):
    """Run a net once and fetch blobs of it."""
    workspace.RunNetOnce(net)
    return [workspace.FetchBlob(b) for b in blobs]


rng = np.random.default_rng(0)
workspace.FeedBlob("data", rng.standard_normal((BATCH, WIDTH)).astype(np.float32))
workspace.FeedBlob("label", rng.integers(0, CLASSES, BATCH).astype(np.int32))

# Training: the gradients that pass from layer to layer are needed for a moment only. Those of parameters are kept.
train = model_helper.ModelHelper(name="train")
_, loss = train.net.SoftmaxWithLoss([add_layers(train), "label"], ["softmax", "loss"])
train.AddGradientOperators([loss])
parameters = train.GetParams()
gradients = [train.param_to_grad[p] for p in parameters]
workspace.RunNetOnce(train.param_init_net)

shared = memonger.share_grad_blobs(train.net, [loss], map(str, gradients), namescope="")
before, after = memory(train.net.Proto()), memory(shared)
print(f"training: {before / 1024:.0f} KB of blobs, {after / 1024:.0f} KB when gradients share theirs")
expected = results(train.net, [loss, *gradients])
same = all(np.array_equal(a, b) for a, b in zip(expected, results(core.Net(shared), [loss, *gradients])))
print("loss and gradients of the parameters are", "bit for bit the same" if same else "DIFFERENT")

# Inference: every result of a layer is needed for a moment only.
predict = model_helper.ModelHelper(name="predict", init_params=False)
predict.net.AddExternalOutput(add_layers(predict))
shared = memonger.optimize_inference_for_dag(predict.net, ["data"])
before, after = memory(predict.net.Proto()), memory(shared)
print(f"inference: {before / 1024:.0f} KB of blobs, {after / 1024:.0f} KB when they share")
print("blobs now:", ", ".join(dict.fromkeys(b for op in shared.op for b in op.output)))
same = np.array_equal(*results(predict.net, ["scores"]), *results(core.Net(shared), ["scores"]))
print("scores are", "bit for bit the same" if same else "DIFFERENT")
