"""Shapes, parts and elements of tensors: moved, joined, chosen, sorted, but not computed with."""
