"""``caffe2.python.onnx``: nets become models of ONNX. It needs the package onnx: ``pip install 'graphc[onnx]'``."""
