"""The CUDA backend: kernels of one NVIDIA architecture, as text in the words of ``words.py``.

To read it, begin with ``rules.py`` and a whole family, ``kernels/pool.py``: the names of a kernel's parameters, its
text, the choice for a call, the task. ``across.py`` has warps and blocks that combine values, ``conv.py`` tiles in
shared memory, ``tensor_product.py`` tensor cores; ``loops_proof.py`` begins what is done with loops of records.

Terms. The units of a task are the blocks of its grid, and the spec's ``threads`` those of a block. Products of matrices
are sums over k of W[map, k] * X[k, pixel]: maps and pixels are what BLAS calls m and n. A tile is what a block computes
of them, a step so much of k as it holds at once, its depth; a stage is one of the buffers in shared memory that are
filled while another one is multiplied. Parts, or pieces, are cuts of k or of another long sum (split-K), which a
further launch joins. A team is the threads that have one result together, a warp or a block.
"""
