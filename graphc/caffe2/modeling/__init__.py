"""``caffe2.python.modeling``: parameters of models, and what fills them."""
