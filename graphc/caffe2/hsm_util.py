"""``caffe2.python.hsm_util``: the trees of hierarchical softmax (operators ``HSoftmax``, ``HSoftmaxSearch``)."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.caffe2.proto import hsm_pb2
from graphc.frontends.netdef.schema import Message


def create_node_with_words(words: Iterable[int], name: str = "node") -> Message:
    """A ``NodeProto`` whose children are words."""
    return hsm_pb2.NodeProto(name=name, word_ids=words)


def create_node_with_nodes(nodes: Iterable[Message], name: str = "node") -> Message:
    """A ``NodeProto`` with copies of other nodes below it."""
    return hsm_pb2.NodeProto(name=name, children=nodes)


def create_hierarchy(tree_proto: Message) -> Message:
    """The ``HierarchyProto`` of a ``TreeProto``: its number of rows, and the path to each word.

    Each node has consecutive rows of the weight matrix, one a child, numbered from the root downwards; the nodes of
    the tree learn their first row (``offset``). A step of a path is this row, how many there are, and which it takes.
    """
    hierarchy = hsm_pb2.HierarchyProto()
    _add_paths(tree_proto.root_node, [], hierarchy)
    return hierarchy


def _add_paths(node: Message, path: list[tuple[int, int, int]], hierarchy: Message) -> None:
    """Give a node its rows, then its children, then the paths of its words; nodes come before words."""
    node.offset = hierarchy.size
    n_children = len(node.children)
    width = n_children + len(node.word_ids)
    hierarchy.size += width
    for target, child in enumerate(node.children):
        _add_paths(child, [*path, (node.offset, width, target)], hierarchy)
    for target, word in enumerate(node.word_ids):
        steps = [*path, (node.offset, width, n_children + target)]
        nodes = [hsm_pb2.PathNodeProto(index=i, length=n, target=t) for i, n, t in steps]
        hierarchy.paths.add(word_id=word, path_nodes=nodes)
