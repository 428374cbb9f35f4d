"""A model in one file, written by one process and read by another.

    python -m graphc.caffe2 examples/predictor_export.py digits.minidb

The model is the net of examples/digits. The second process knows nothing but the file.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, workspace
from caffe2.python.predictor import mobile_exporter, predictor_exporter

DIGITS = Path(__file__).resolve().parent / "digits"
PARAMETERS = [f"{layer}_{kind}" for layer in ("conv1", "conv2", "conv3", "fc4") for kind in "wb"]


def pictures():
    """The test pictures as the net takes them, and their labels."""
    test = np.load(DIGITS / "test_images.npz")
    return test["images"][:, None] / np.float32(255), test["labels"]


def export(path):
    """Write the net and its parameters, which are blobs of the workspace after training, or here after the init net."""
    init_net, predict_net = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()
    init_net.ParseFromString((DIGITS / "init_net.pb").read_bytes())
    predict_net.ParseFromString((DIGITS / "predict_net.pb").read_bytes())
    workspace.RunNetOnce(init_net)
    meta = predictor_exporter.PredictorExportMeta(
        predict_net=core.Net(predict_net),
        parameters=PARAMETERS,
        inputs=["data"],
        outputs=["softmax"],
        shapes={"data": (1, 1, 8, 8), "softmax": (1, 10)},
    )
    predictor_exporter.save_to_db("minidb", path, meta)

    # The same as a pair of nets, which is what phones and workspace.Predictor take.
    init_net, predict_net = mobile_exporter.Export(workspace, predict_net, PARAMETERS)
    answers = workspace.Predictor(init_net, predict_net).run([pictures()[0][:1]])[0]
    print(f"exported {len(PARAMETERS)} parameters; the first picture is a {answers.argmax()}")


def load(path):
    """Read the file and recognise all pictures."""
    net = predictor_exporter.prepare_prediction_net(path, "minidb")
    images, labels = pictures()
    workspace.FeedBlob("data", images)
    workspace.RunNet(net)
    right = (workspace.FetchBlob("softmax").argmax(axis=1) == labels).sum()
    print(f"loaded: {right} of {len(labels)} right")


if len(sys.argv) == 1:
    sys.exit(__doc__)
if sys.argv[1] == "--load":
    load(sys.argv[2])
else:
    export(sys.argv[1])
    subprocess.run([sys.executable, "-m", "graphc.caffe2", __file__, "--load", sys.argv[1]], check=True)
