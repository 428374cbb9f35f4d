"""graphc: a compiler for Caffe2 models."""
