"""Integers that stand for real numbers: the Int8 operators and the engine DNNLOWP."""
