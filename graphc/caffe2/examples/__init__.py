"""``caffe2.python.examples``: what is more than a script of Caffe2's examples."""
