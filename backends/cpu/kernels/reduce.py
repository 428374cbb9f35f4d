"""Reductions over any axes, and ArgMax, ArgMin, TopK."""
