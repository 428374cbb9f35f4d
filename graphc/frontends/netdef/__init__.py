"""The Caffe2 NetDef frontend: bytes or text to messages to Graph, and back. The only room that knows protobuf."""
