"""``caffe2.python.tt_core``: weights of the operator ``TT``, a fully connected layer in tensor-train form.

Oseledets 2011, "Tensor-Train Decomposition"; Novikov et al. 2015, "Tensorizing Neural Networks". Core i has
``ranks[i] * inputs[i] * outputs[i] * ranks[i + 1]`` elements; the operator takes all cores in one vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def init_tt_cores(
    inp_sizes: Sequence[int], out_sizes: Sequence[int], tt_ranks: Sequence[int], seed: int = 1234
) -> Floats:
    """Random orthogonal cores for a layer that is trained from scratch, the same for the same seed.

    Raises ``AssertionError`` unless there are as many input as output sizes and one more rank.
    """
    _check_sizes(inp_sizes, out_sizes, tt_ranks)
    random = np.random.RandomState(seed)
    factor: Any = 1
    cores = []
    for i, (n_in, n_out) in enumerate(zip(inp_sizes, out_sizes, strict=True)):
        rows, columns = tt_ranks[i], n_in * n_out * tt_ranks[i + 1]
        core = np.dot(factor, random.normal(0, 1, size=(rows, columns))).reshape(-1, tt_ranks[i + 1])
        if i < len(inp_sizes) - 1:
            core, factor = np.linalg.qr(core)
        cores.append(core.ravel())
    scale = 0.1 / (np.prod(inp_sizes) * np.prod(tt_ranks)) ** (1.0 / len(inp_sizes))
    found: Floats = (scale * np.concatenate(cores)).astype(np.float32)
    return found


def matrix_to_tt(
    W: NDArray[Any], inp_sizes: Sequence[int], out_sizes: Sequence[int], tt_ranks: Sequence[int]
) -> Floats:
    """The cores, as ``TT`` takes them, of a trained matrix; exact where the ranks suffice.

    W: the weight of the ``FC`` that is replaced, prod(out_sizes) x prod(inp_sizes). (Caffe2 asks for the transposed
    shape, and so is right for square matrices alone.) Raises ``AssertionError`` for sizes that do not fit.
    """
    _check_sizes(inp_sizes, out_sizes, tt_ranks)
    if W.shape != (np.prod(out_sizes), np.prod(inp_sizes)):
        raise AssertionError(f"W is {W.shape}, the sizes ask for {(int(np.prod(out_sizes)), int(np.prod(inp_sizes)))}")
    n = len(inp_sizes)
    pairs = [axis for i in range(n) for axis in (i, n + i)]
    sizes = np.multiply(inp_sizes, out_sizes)
    tensor = W.T.reshape(*inp_sizes, *out_sizes).transpose(pairs).reshape(sizes)
    flat = tt_svd(tensor, sizes, tt_ranks)
    cores, at = [], 0
    for i in range(n):
        shape = (tt_ranks[i], inp_sizes[i], out_sizes[i], tt_ranks[i + 1])
        core = flat[at : at + np.prod(shape)].reshape(shape)
        cores.append(core.transpose(1, 3, 0, 2).ravel())
        at += core.size
    return np.concatenate(cores[::-1])


def tt_svd(W: NDArray[Any], sizes: Sequence[int] | NDArray[Any], tt_ranks: Sequence[int]) -> Floats:
    """The cores of a tensor of these sizes, one after the other: a reduced singular value decomposition for each.

    A rank that the tensor does not have raises ``AssertionError``.
    """
    if len(tt_ranks) != len(sizes) + 1:
        raise AssertionError(f"{len(sizes)} sizes need {len(sizes) + 1} ranks, not {len(tt_ranks)}")
    rest, cores = W, []
    for i, size in enumerate(sizes[:-1]):
        u, s, v = np.linalg.svd(rest.reshape(tt_ranks[i] * size, -1), full_matrices=False)
        rank = tt_ranks[i + 1]
        if rank > len(s):
            raise AssertionError(f"rank {i + 1} is {rank}, the tensor allows at most {len(s)}")
        cores.append(u[:, :rank].ravel())
        rest = s[:rank, None] * v[:rank]
    cores.append(rest.ravel())
    found: Floats = np.concatenate(cores).astype(np.float32)
    return found


def _check_sizes(inp_sizes: Sequence[int], out_sizes: Sequence[int], tt_ranks: Sequence[int]) -> None:
    if len(inp_sizes) != len(out_sizes):
        raise AssertionError(f"{len(inp_sizes)} input sizes and {len(out_sizes)} output sizes: they have to be as many")
    if len(tt_ranks) != len(inp_sizes) + 1:
        raise AssertionError(f"{len(inp_sizes)} sizes need {len(inp_sizes) + 1} ranks, not {len(tt_ranks)}")
