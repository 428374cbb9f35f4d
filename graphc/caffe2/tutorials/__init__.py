"""What the tutorials of Caffe2 import."""
