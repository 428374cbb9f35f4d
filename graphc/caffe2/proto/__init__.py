"""Caffe2's protobuf modules, by their names in ``caffe2.proto``."""
