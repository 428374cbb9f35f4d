"""The CPU backend: kernels as generated Numba source over LLVM vectors."""
