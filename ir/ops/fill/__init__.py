"""Tensors from arguments or at random."""
