"""Hierarchical softmax: a class is a path through a tree, every node of which is a small softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.errors import RunError
from graphc.ir.opdef import Arg, Call, Trait, op
from graphc.ir.ops._products import add_scaled, dot
from graphc.ir.ops._rules import agree, bounded, product, require, require_rank, vector
from graphc.ir.ops.loss._hierarchy import TreeNode, read_paths, read_tree, write_tree
from graphc.ir.ops.loss.loss import FLOAT, LOG_THRESHOLD
from graphc.ir.types import UNKNOWN, Dim, DType, TensorType

INT = (DType.INT32,)
HIERARCHY = Arg("hierarchy", "string", b"", "serialised HierarchyProto: the path of every class")
ERRORS = ("a label has no path in the hierarchy", "the intermediate output has another size than the labels ask for")


def _sizes(call: Call) -> tuple[Dim, Dim, Dim]:
    """Rows of X, elements in one, rows of W; a vector X is one row."""
    x, w = require(call, 0, FLOAT).shape, require(call, 1, FLOAT).shape
    require(call, 2, FLOAT)
    rows: Dim = UNKNOWN
    columns: Dim = UNKNOWN
    if x is not None:
        if not x:
            call.fail("X has no dimensions, at least one is needed")
        rows, columns = (1, x[0]) if len(x) == 1 else (x[0], product(x[1:]))
    if w is None:
        return rows, columns, vector(call, 2, UNKNOWN, "length of b")
    if len(w) < 2:
        call.fail(f"W has {len(w)} dimensions, at least 2 are needed")
    agree(call, product(w[1:]), columns, "elements of a row of W against those of X")
    return rows, columns, vector(call, 2, w[0], "length of b")


def _attribute(call: Call, name: str) -> bytes:
    value = call.node.attrs.get(name, b"")
    return value if isinstance(value, bytes) else b""


def _labels(call: Call, rows: Dim) -> None:
    shape = require(call, 3, INT).shape
    if shape is not None:
        agree(call, product(shape), rows, "number of labels")


def _softmax_types(call: Call) -> list[TensorType]:
    """Y: one element a row of X; intermediate_output as long as the paths of the labels ask for."""
    rows, _, _ = _sizes(call)
    _labels(call, rows)
    return [TensorType(DType.FLOAT, (rows,)), TensorType(DType.FLOAT, (UNKNOWN,))]


def _paths(call: Call) -> Sequence[Any]:
    """(sorted words, where the nodes of each begin, the nodes' index, length and target one after another)."""
    try:
        paths = sorted(read_paths(_attribute(call, "hierarchy")).items())
    except ValueError as error:
        call.fail(f"hierarchy is no HierarchyProto: {error}")
    _, _, n = _sizes(call)
    for word, nodes in paths:
        for index, length, target in nodes:
            inside = index >= 0 and 0 <= target < length and (not isinstance(n, int) or index + length <= n)
            if not inside:
                call.fail(f"the path of class {word} has the node ({index}, {length}, {target}) outside of {n} rows")
    begins = np.cumsum([0, *(len(nodes) for _, nodes in paths)]).tolist()
    flat = tuple(v for _, nodes in paths for node in nodes for v in node)
    # A tuple without elements has no type: the last one of each is there for that alone.
    return (*(word for word, _ in paths), -1), tuple(begins), (*flat, 0)


def _find(words: tuple[int, ...], label: int) -> int:
    """Which of the sorted words, all but the last, is the label; -1 if none."""
    low, high = 0, len(words) - 1
    while low < high:
        middle = (low + high) // 2
        if words[middle] < label:
            low = middle + 1
        else:
            high = middle
    return low if low < len(words) - 1 and words[low] == label else -1


def _needed(labels: np.ndarray, words: tuple[int, ...], begins: tuple[int, ...], nodes: tuple[int, ...]) -> int:
    """Size of the intermediate output: two numbers for each row of each node; -1 for a label without a path."""
    total = 0
    for i in range(labels.size):
        at = _find(words, int(labels.flat[i]))
        if at < 0:
            return -1
        for k in range(begins[at], begins[at + 1]):
            total += 2 * nodes[3 * k + 1]
    return total


def _softmax_sizes(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    dims: np.ndarray,
    words: tuple[int, ...],
    begins: tuple[int, ...],
    nodes: tuple[int, ...],
) -> int:
    dims[0] = _needed(labels, words, begins, nodes)
    return 1 if dims[0] < 0 else 0


def _softmax_loop(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    y: np.ndarray,
    inner: np.ndarray,
    words: tuple[int, ...],
    begins: tuple[int, ...],
    nodes: tuple[int, ...],
) -> int:
    columns, at = w.size // max(w.shape[0], 1), 0
    for i in range(y.size):
        place = _find(words, int(labels.flat[i]))
        if place < 0:
            return 1
        for k in range(begins[place], begins[place + 1]):
            index, length, target = nodes[3 * k], nodes[3 * k + 1], nodes[3 * k + 2]
            top = -math.inf
            for j in range(length):
                v = dot(x, i * columns, w, (index + j) * columns, columns) + b.flat[index + j]
                inner[at + j] = np.float32(v)
                top = max(top, v)
            total = 0.0
            for j in range(length):
                total += math.exp(inner[at + j] - top)
            for j in range(length):
                inner[at + length + j] = np.float32(math.exp(inner[at + j] - top) / total)
            y[i] -= np.float32(math.log(max(float(inner[at + length + target]), LOG_THRESHOLD)))
            at += 2 * length
    return 0


op(
    "HSoftmax",
    _softmax_types,
    inputs="X W b labels",
    outputs="Y intermediate_output",
    args=(HIERARCHY,),
    loop=_softmax_loop,
    sizes=_softmax_sizes,
    constants=_paths,
    errors=ERRORS,
    doc="-log of the probability of each label: the product of the softmaxes on its path",
)


def _gradient_types(call: Call) -> list[TensorType]:
    """The gradients have the types of X, W, b and the intermediate output; dY has an element a row."""
    rows, _, _ = _sizes(call)
    _labels(call, rows)
    require(call, 4, FLOAT)
    require_rank(call, 4, 1)
    dy = require(call, 5, FLOAT).shape
    if dy is not None:
        agree(call, product(dy), rows, "elements of dY")
    return [call.type(0), call.type(1), call.type(2), call.type(4)]


def _gradient_loop(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    inner: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray,
    d_inner: np.ndarray,
    words: tuple[int, ...],
    begins: tuple[int, ...],
    nodes: tuple[int, ...],
) -> int:
    needed = _needed(labels, words, begins, nodes)
    if needed != inner.size:
        return 1 if needed < 0 else 2
    columns, at = w.size // max(w.shape[0], 1), 0
    for i in range(labels.size):
        place = _find(words, int(labels.flat[i]))
        for k in range(begins[place], begins[place + 1]):
            index, length, target = nodes[3 * k], nodes[3 * k + 1], nodes[3 * k + 2]
            p = float(inner[at + length + target])
            slope = -dy.flat[i] / max(p, LOG_THRESHOLD)
            d_inner[at + length + target] = np.float32(slope)
            for j in range(length):
                own = slope if j == target else 0.0
                d = np.float32((own - p * slope) * inner[at + length + j])
                d_inner[at + j] = d
                db.flat[index + j] += d
                add_scaled(d, x, i * columns, dw, (index + j) * columns, columns)
                add_scaled(d, w, (index + j) * columns, dx, i * columns, columns)
            at += 2 * length
    return 0


op(
    "HSoftmaxGradient",
    _gradient_types,
    inputs="X W b labels intermediate_output dY",
    outputs="dX dW db d_intermediate_output",
    args=(HIERARCHY,),
    loop=_gradient_loop,
    constants=_paths,
    errors=ERRORS,
    doc="gradients of HSoftmax",
)


def _search_types(call: Call) -> list[TensorType]:
    """Names and scores: (rows of X, topN)."""
    rows, _, _ = _sizes(call)
    n = bounded(call, call.arg("topN"), 1, "topN")
    return [TensorType(DType.STRING, (rows, n)), TensorType(DType.FLOAT, (rows, n))]


def _search(call: Call, node: TreeNode, score: float, logits: np.ndarray, found: list[tuple[bytes, float]]) -> None:
    """Add what lies within the beam below a node: its children, its words, then what lies below the children."""
    n = len(node.children) + len(node.words)
    if node.offset is None or node.offset < 0 or node.offset + n > len(logits):
        raise RunError(f"{call.node.location}: HSoftmaxSearch: a node of the tree has rows outside of the weight")
    part = logits[node.offset : node.offset + n]
    e = np.exp(part - part.max(initial=-np.inf))
    scores = score - np.log(np.maximum(e / e.sum(), np.float32(LOG_THRESHOLD)))
    near = scores < score + call.arg("beam")
    chosen = [(child, float(s)) for child, s, ok in zip(node.children, scores, near) if ok]
    if any(child.name is None for child, _ in chosen):
        raise RunError(f"{call.node.location}: HSoftmaxSearch: a node of the tree has no name")
    found += [(child.name or b"", s) for child, s in chosen]
    rest = slice(len(node.children), None)
    found += [(str(w).encode(), float(s)) for w, s, ok in zip(node.words, scores[rest], near[rest]) if ok]
    for child, s in chosen:
        _search(call, child, s, logits, found)


def _search_reference(call: Call, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    try:
        root = read_tree(_attribute(call, "tree"))
    except ValueError as error:
        call.fail(f"tree is no TreeProto: {error}")
    if root.offset is None or root.name is None:
        call.fail("the root of the tree has no offset or no name")
    n = call.arg("topN")
    logits = x.reshape(-1, w.size // max(len(w), 1)) @ w.reshape(len(w), -1).T + b
    names = np.full((len(logits), n), b"", object)
    scores = np.zeros((len(logits), n), np.float32)
    for i, row in enumerate(logits):
        found: list[tuple[bytes, float]] = []
        _search(call, root, 0.0, row, found)
        for j, (name, score) in enumerate(sorted(found, key=lambda pair: pair[1])[:n]):
            names[i, j], scores[i, j] = name, score
    return [names, scores]


op(
    "HSoftmaxSearch",
    _search_types,
    inputs="X W b",
    outputs="Y_names Y_scores",
    args=(
        Arg("tree", "string", b"", "serialised TreeProto, whose nodes have names"),
        Arg("beam", "float", float(np.float32(0.01)), "how much worse than its parent a node may be"),
        Arg("topN", "int", 5, "nodes and words that are named"),
    ),
    reference=_search_reference,
    traits=Trait.HOST,
    doc="the nodes and words of a tree with the best scores, -log of their probabilities, for each row",
)


def _huffman_type(call: Call) -> list[TensorType]:
    """One string, a TreeProto."""
    require(call, 0, (DType.INT64,))
    require_rank(call, 0, 1)
    bounded(call, call.arg("num_classes"), 1, "num_classes")
    return [TensorType(DType.STRING, (1,))]


def _sift_up(heap: list[tuple[int, int]], at: int, item: tuple[int, int]) -> None:
    while at > 0 and heap[(at - 1) // 2][0] > item[0]:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = item


def _pop(heap: list[tuple[int, int]]) -> tuple[int, int]:
    """The least item; equal ones come in the order of the C++ library's heap: the hole goes to the bottom first."""
    top, item = heap[0], heap.pop()
    if not heap:
        return top
    at, n = 0, len(heap)
    while 2 * at + 2 < n:
        child = 2 * at + 2
        child -= heap[child][0] > heap[child - 1][0]
        heap[at], at = heap[child], child
    if n % 2 == 0 and at == (n - 2) // 2:
        heap[at], at = heap[2 * at + 1], 2 * at + 1
    _sift_up(heap, at, item)
    return top


def _huffman_reference(call: Call, labels: np.ndarray) -> list[np.ndarray]:
    classes = call.arg("num_classes")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise RunError(f"{call.node.location}: HuffmanTreeHierarchy: a label is outside 0 ... {classes - 1}")
    counts = np.bincount(labels, minlength=classes).tolist()
    below: list[tuple[int, int] | None] = [None] * classes
    heap: list[tuple[int, int]] = []
    for i, count in enumerate(counts):
        heap.append((count, i))
        _sift_up(heap, i, (count, i))
    last = 0
    while heap:
        left = _pop(heap)
        last = left[1]
        if heap:
            right = _pop(heap)
            below.append((left[1], right[1]))
            heap.append((0, 0))
            _sift_up(heap, len(heap) - 1, (left[0] + right[0], len(below) - 1))
    offset = 2

    def build(i: int, node: TreeNode) -> None:
        nonlocal offset
        for side, child in enumerate(below[i] or ()):
            if below[child] is None:
                node.words.append(child)
                offset += side
            else:
                node.children.append(TreeNode(offset=offset))
                offset += 2
                build(child, node.children[-1])

    root = TreeNode(offset=0)
    build(last, root)
    answer = np.empty(1, object)
    answer[0] = write_tree(root)
    return [answer]


op(
    "HuffmanTreeHierarchy",
    _huffman_type,
    inputs="Labels",
    outputs="Hierarch",
    args=(Arg("num_classes", "int", 0, "how many classes there are"),),
    reference=_huffman_reference,
    traits=Trait.HOST,
    doc="the Huffman tree of the labels' frequencies, as a serialised TreeProto",
)
