"""``caffe2.python.rnn``: what tests of recurrent layers share."""
