"""Caffe2's quick start on graphc: what is in a picture?

    python -m graphc.caffe2 -m caffe2.python.models.download -i squeezenet
    python -m graphc.caffe2 examples/quick_start.py flower.jpg

or, with a model from elsewhere, ``python -m graphc.caffe2 examples/quick_start.py IMAGE INIT_NET PREDICT_NET``.
"""

import sys

import caffe2.python.tutorials.helpers as helpers
import numpy as np
from caffe2.python import workspace

if len(sys.argv) not in (2, 4):
    sys.exit(__doc__)
IMAGE, *FILES = sys.argv[1:]
MEAN, INPUT_SIZE = 128, 227

if FILES:
    with open(FILES[0], "rb") as init, open(FILES[1], "rb") as predict:
        init_net, predict_net = init.read(), predict.read()
else:
    from caffe2.python.models import squeezenet as mynet

    init_net, predict_net = mynet.init_net.SerializeToString(), mynet.predict_net.SerializeToString()

p = workspace.Predictor(init_net, predict_net)

# The picture's shorter side becomes 227 pixels, its middle is cut out: blue, green and red, less the mean.
img = helpers.loadToNCHW(IMAGE, MEAN, INPUT_SIZE)
results = p.run([img])
print(np.asarray(results).shape)

print(helpers.parseResults(results))
