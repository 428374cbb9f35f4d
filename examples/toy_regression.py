"""A linear regression with Caffe2's Python API on graphc: y = 2 x0 + 1.5 x1 + 0.5.

    python -m graphc.caffe2 examples/toy_regression.py

Ported from Caffe2's Toy Regression tutorial, with ``ModelHelper``, ``brew`` and an optimizer in place of operators by
hand: ``docs/caffe2-api.md`` has the version by hand.
"""

import numpy as np
from caffe2.python import brew, model_helper, optimizer, workspace

TRUE_WEIGHTS, TRUE_BIAS = np.array([[2.0, 1.5]], np.float32), 0.5
STEPS, BATCH = 100, 64

# A model is two nets: param_init_net makes the parameters, net reads the data and computes the loss.
model = model_helper.ModelHelper(name="regression")
prediction = brew.fc(model, "x", "prediction", dim_in=2, dim_out=1)
distance = model.net.SquaredL2Distance([prediction, "y"], "distance")
loss = model.net.AveragedLoss(distance, "loss")

# Gradients of the loss, then an update of every parameter. The learning rate shrinks by 10 % every 20 steps.
model.AddGradientOperators([loss])
optimizer.build_sgd(model, base_learning_rate=0.1, policy="step", stepsize=20, gamma=0.9)

workspace.RunNetOnce(model.param_init_net)
workspace.CreateNet(model.net, input_blobs=["x", "y"])

rng = np.random.default_rng(0)
for step in range(STEPS):
    x = rng.standard_normal((BATCH, 2), np.float32)
    workspace.FeedBlob("x", x)
    workspace.FeedBlob("y", x @ TRUE_WEIGHTS.T + np.float32(TRUE_BIAS))
    workspace.RunNet(model.net)
    if step % 20 == 0:
        print(f"step {step:2}: loss {workspace.FetchBlob('loss'):.4f}")

print("weights", workspace.FetchBlob("prediction_w").round(2), "bias", workspace.FetchBlob("prediction_b").round(2))
