"""``caffe2.python.serialized_test``: tests of operators whose results Caffe2 kept in files."""
