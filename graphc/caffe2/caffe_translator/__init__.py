"""``caffe2.python.caffe_translator``: networks of Caffe 1, prototxt and caffemodel, to Caffe2's.

``python -m graphc.caffe2.caffe_translator deploy.prototxt weights.caffemodel`` writes ``init_net.pb`` and
``predict_net.pb``.
"""

from __future__ import annotations

from graphc.caffe2.caffe_translator import layers, pointwise  # noqa: F401  (they register translations)
from graphc.caffe2.caffe_translator.helpers import AddArgument as AddArgument
from graphc.caffe2.caffe_translator.helpers import BaseTranslate as BaseTranslate
from graphc.caffe2.caffe_translator.nets import ConvertTensorProtosToInitNet as ConvertTensorProtosToInitNet
from graphc.caffe2.caffe_translator.nets import TranslateModel as TranslateModel
from graphc.caffe2.caffe_translator.nets import declare_blobs as declare_blobs
from graphc.caffe2.caffe_translator.nets import read_caffemodel as read_caffemodel
from graphc.caffe2.caffe_translator.nets import read_prototxt as read_prototxt
from graphc.caffe2.caffe_translator.registry import TranslatorRegistry as TranslatorRegistry
