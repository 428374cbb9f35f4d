"""``caffe2.python.helpers``: what ``brew`` calls, a file for each family.

A helper takes the model first, then inputs and outputs as names or blobs, creates the parameters that its operators
read, and gives the blob that it is about. Without ``blob_out`` the net chooses a name, where that is possible.
"""
