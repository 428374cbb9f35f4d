"""``caffe2.python.net_drawer``: nets and plans as graphs, in DOT and as pictures.

Graphs have the methods of the package pydot that scripts use, which need not be installed; see ``dot.py``.
``python -m graphc.caffe2.net_drawer --input FILE`` writes the graphs of a file.
"""

from graphc.caffe2.net_drawer.dot import Dot as Dot
from graphc.caffe2.net_drawer.dot import Edge as Edge
from graphc.caffe2.net_drawer.dot import Node as Node
from graphc.caffe2.net_drawer.graphs import BLOB_STYLE as BLOB_STYLE
from graphc.caffe2.net_drawer.graphs import OP_STYLE as OP_STYLE
from graphc.caffe2.net_drawer.graphs import GetBlobNodeProducer as GetBlobNodeProducer
from graphc.caffe2.net_drawer.graphs import GetGraphInJson as GetGraphInJson
from graphc.caffe2.net_drawer.graphs import GetGraphPngSafe as GetGraphPngSafe
from graphc.caffe2.net_drawer.graphs import GetOperatorMapForPlan as GetOperatorMapForPlan
from graphc.caffe2.net_drawer.graphs import GetOpNodeProducer as GetOpNodeProducer
from graphc.caffe2.net_drawer.graphs import GetPlanGraph as GetPlanGraph
from graphc.caffe2.net_drawer.graphs import GetPydotGraph as GetPydotGraph
from graphc.caffe2.net_drawer.graphs import GetPydotGraphMinimal as GetPydotGraphMinimal
