"""``caffe2.python.models.seq2seq``: models that map sequences to sequences."""
