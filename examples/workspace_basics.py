"""Blobs, operators and nets: the first steps with Caffe2's Python API on graphc.

    python -m graphc.caffe2 examples/workspace_basics.py

Ported from Caffe2's Basics tutorial. Under ``python -m graphc.caffe2`` the name ``caffe2`` means graphc's API.
"""

import numpy as np
from caffe2.python import core, workspace

# A workspace holds blobs, which have names. Feeding copies an array into a blob, fetching copies it out.
x = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
workspace.FeedBlob("x", x)
print("blobs:", workspace.Blobs(), "- has y:", workspace.HasBlob("y"))
print("x:", workspace.FetchBlob("x").tolist())

# An operator reads and writes blobs. It is a message that says so; running it does it.
relu = core.CreateOperator("Relu", ["x"], ["y"])
workspace.RunOperatorOnce(relu)
print("relu:", workspace.FetchBlob("y").tolist())

# A net is a list of operators. Its attributes add operators and give the blobs that these write.
net = core.Net("basics")
weights = net.GivenTensorFill([], "w", shape=[2, 3], values=[0.5, 0.25, 0.0, 0.0, 0.25, 0.5])
bias = net.ConstantFill([], "b", shape=[2], value=1.0)
y = net.FC(["x", weights, bias], "scores").Softmax([], "probabilities")
print("operators:", [op.type for op in net.Proto().op])

# RunNetOnce runs a net and forgets it; CreateNet keeps it, compiled, for as many runs as there are.
workspace.RunNetOnce(net)
print("probabilities:", workspace.FetchBlob(y).round(3).tolist())
workspace.CreateNet(net, input_blobs=["x"], overwrite=True)
for scale in (1, 10):
    workspace.FeedBlob("x", scale * x)
    workspace.RunNet(net)
    print(f"scores of {scale} x:", workspace.FetchBlob("scores").tolist())

# Several workspaces have blobs of their own.
workspace.SwitchWorkspace("another", True)
print("blobs of another workspace:", workspace.Blobs())
workspace.SwitchWorkspace("default")

# Errors name the blob, and what may have been meant; the workspace stays as it was.
try:
    workspace.FetchBlob("score")
except RuntimeError as error:
    print(error)
