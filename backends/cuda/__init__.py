"""The CUDA backend: kernels of one NVIDIA architecture, as text in the words of ``words.py``."""
