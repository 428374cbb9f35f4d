"""The bundled digits net in 8 bits, in bfloat16, and what that costs: how many of 300 digits each form reads.

    python examples/quantize_digits.py [FOLDER]

60 pictures calibrate, the other 300 are read. The int8 net is written as a Caffe2 pair, with the report of its layers,
into FOLDER (``build/digits_int8``); ``graphc run FOLDER/predict_net.pb --init FOLDER/init_net.pb ...`` runs it.
"""

import sys
from pathlib import Path

import numpy as np

import graphc

DIGITS = Path(__file__).resolve().parent / "digits"
NET, INIT = DIGITS / "predict_net.pb", DIGITS / "init_net.pb"
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "build/digits_int8")
CALIBRATION = 60

pictures = np.load(DIGITS / "test_images.npz")
data = pictures["images"][:, None].astype(np.float32) / 255
labels = pictures["labels"]

samples = [{"data": data[:CALIBRATION]}]
pair = graphc.quantize(NET, INIT, samples)
pair.save(FOLDER)
print(pair.report)

forms = {
    "float32": graphc.compile(NET, INIT),
    "bfloat16": graphc.compile(NET, INIT, precision="bfloat16"),
    "int8, Caffe2 pair": graphc.compile(FOLDER / "predict_net.pb", FOLDER / "init_net.pb"),
    "int8, graphc's operators": graphc.quantize(NET, INIT, samples, native=True).compile(),
}
reference = forms["float32"].run({"data": data[CALIBRATION:]})["softmax"]
for name, plan in forms.items():
    probabilities = plan.run({"data": data[CALIBRATION:]})["softmax"]
    right = int((probabilities.argmax(1) == labels[CALIBRATION:]).sum())
    off = np.abs(probabilities - reference).max()
    print(f"{name:25}{right} of {len(reference)} right, probabilities {off:.4f} off")
