"""``caffe2.python.onnx.bin``: the command that converts."""
