"""LeNet on handwritten digits with Caffe2's Python API on graphc: training, checkpoints, resuming.

    python -m graphc.caffe2 examples/mnist_lenet.py --epochs 6 --checkpoints lenet
    python -m graphc.caffe2 examples/mnist_lenet.py --epochs 12 --checkpoints lenet     (goes on where that ended)

After Caffe2's MNIST tutorial. The digits are those of examples/digits, 8 x 8 pixels, so kernels are smaller than
LeNet's: 300 of them train, 60 test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from caffe2.python import brew, core, model_helper, optimizer, workspace

DIGITS = Path(__file__).resolve().parent / "digits" / "test_images.npz"
TRAINED, BATCH = 300, 30
EVERY = TRAINED // BATCH
"""Steps between two checkpoints: an epoch."""


def add_lenet(model: model_helper.ModelHelper) -> core.BlobReference:
    """The layers, from the pictures ``data`` (N, 1, 8, 8) to the scores of the ten digits."""
    x = brew.conv(model, "data", "conv1", dim_in=1, dim_out=16, kernel=3, pad=1)
    x = brew.max_pool(model, x, "pool1", kernel=2, stride=2)
    x = brew.conv(model, x, "conv2", dim_in=16, dim_out=32, kernel=3, pad=1)
    x = brew.max_pool(model, x, "pool2", kernel=2, stride=2)
    x = brew.fc(model, x, "fc3", dim_in=32 * 2 * 2, dim_out=64)
    x = brew.relu(model, x, x)
    return brew.fc(model, x, "pred", dim_in=64, dim_out=10)


def training_model(folder: Path) -> model_helper.ModelHelper:
    """Layers, loss, gradients, updates, and a checkpoint every epoch of all that the next step needs."""
    model = model_helper.ModelHelper(name="lenet_train", arg_scope={"order": "NCHW"})
    _, loss = model.net.SoftmaxWithLoss([add_lenet(model), "label"], ["softmax", "loss"])
    model.AddGradientOperators([loss])
    made = optimizer.build_sgd(
        model, base_learning_rate=0.05, momentum=0.9, policy="step", stepsize=8 * EVERY, gamma=0.5
    )
    state = ["optimizer_iteration", *model.params, *made.get_auxiliary_parameters().local]
    model.net.Checkpoint(
        state, [], db=str(folder / "step_%06d.minidb"), db_type="minidb", every=EVERY, absolute_path=1
    )  # fmt: skip
    return model


def testing_model() -> model_helper.ModelHelper:
    """The same layers, on the parameters that the training model has in the workspace."""
    model = model_helper.ModelHelper(name="lenet_test", arg_scope={"order": "NCHW"}, init_params=False)
    softmax = brew.softmax(model, add_lenet(model), "softmax")
    brew.accuracy(model, [softmax, "label"], "accuracy")
    return model


def resume(folder: Path) -> int:
    """Load the last checkpoint, if there is one; how many epochs it has seen."""
    checkpoints = sorted(folder.glob("step_*.minidb"))
    if checkpoints:
        print("resuming from", checkpoints[-1].name)
        load = core.CreateOperator(
            "Load", [], [], db=str(checkpoints[-1]), db_type="minidb", load_all=1, absolute_path=1
        )  # fmt: skip
        workspace.RunOperatorOnce(load)
    return int(workspace.FetchBlob("optimizer_iteration")[0]) // EVERY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12, help="epochs in all, those before a checkpoint included")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of the checkpoints")
    arguments = parser.parse_args()
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)

    with np.load(DIGITS) as file:
        images = (file["images"][:, None] / np.float32(255)).astype(np.float32)
        labels = file["labels"]
    order = np.random.default_rng(7).permutation(len(images))
    train, test = order[:TRAINED], order[TRAINED:]

    core.GlobalInit(["caffe2", "--caffe2_log_level=0"])
    model, tester = training_model(arguments.checkpoints), testing_model()
    model.param_init_net.set_rand_seed(1)
    workspace.RunNetOnce(model.param_init_net)
    done = resume(arguments.checkpoints)
    workspace.CreateNet(model.net, input_blobs=["data", "label"])
    workspace.CreateNet(tester.net)

    for epoch in range(done, arguments.epochs):
        shuffled = np.random.default_rng(epoch).permutation(train)
        losses = []
        for part in shuffled.reshape(-1, BATCH):
            workspace.FeedBlob("data", images[part])
            workspace.FeedBlob("label", labels[part])
            workspace.RunNet(model.net)
            losses.append(float(workspace.FetchBlob("loss")))
        print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}")

    workspace.FeedBlob("data", images[test])
    workspace.FeedBlob("label", labels[test])
    workspace.RunNet(tester.net)
    print(f"accuracy on {len(test)} digits that it never saw: {float(workspace.FetchBlob('accuracy')):.3f}")


if __name__ == "__main__":
    main()
