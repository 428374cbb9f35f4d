"""A net as a picture, as DOT and as text; no Graphviz is needed.

    python -m graphc.caffe2 examples/draw_net.py digits.png

The net is that of examples/digits.
"""

import sys
from pathlib import Path

from caffe2.proto import caffe2_pb2
from caffe2.python import net_drawer, net_printer

if len(sys.argv) != 2:
    sys.exit(__doc__)
target = Path(sys.argv[1])

net = caffe2_pb2.NetDef()
net.ParseFromString((Path(__file__).resolve().parent / "digits" / "predict_net.pb").read_bytes())

# A box for each operator and for each value that a blob takes, from left to right.
graph = net_drawer.GetPydotGraph(net, rankdir="LR")
graph.write_png(str(target))
graph.write_svg(str(target.with_suffix(".svg")))
graph.write(str(target.with_suffix(".dot")))

# Operators alone.
minimal = net_drawer.GetPydotGraphMinimal(net, rankdir="TB", minimal_dependency=True)
print(minimal.to_string())
print(net_printer.to_string(net))
