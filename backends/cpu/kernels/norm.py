"""Normalisation with statistics of the input: InstanceNorm, GroupNorm, LayerNorm, Normalize."""
