"""``caffe2.python.predictor``: models written to files and read again."""
