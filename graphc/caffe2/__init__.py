"""Caffe2's Python API on graphc: modules with the names, signatures and results of ``caffe2.python``."""
