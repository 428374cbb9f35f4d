"""``caffe2.python.nomnigraph``: nets as graphs of operators and tensors that can be changed."""

from __future__ import annotations

from graphc.caffe2.nomnigraph.graph import Graph as Graph
from graphc.caffe2.nomnigraph.graph import NNGraph as NNGraph
from graphc.caffe2.nomnigraph.match import NNMatchGraph as NNMatchGraph
from graphc.caffe2.nomnigraph.match import NNSubgraph as NNSubgraph
from graphc.caffe2.nomnigraph.match import matchSubgraph as matchSubgraph
from graphc.caffe2.nomnigraph.module import NNModule as NNModule
from graphc.caffe2.nomnigraph.module import render as render
from graphc.caffe2.nomnigraph.values import Annotation as Annotation
from graphc.caffe2.nomnigraph.values import NeuralNetData as NeuralNetData
from graphc.caffe2.nomnigraph.values import NeuralNetOperator as NeuralNetOperator

Operator = NeuralNetOperator
Data = NeuralNetData
