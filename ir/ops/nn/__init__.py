"""Layers: convolution, pooling, normalisation, matrix products, and their gradients."""
