"""Runs of rows of unequal length: their sums, their packing, their decoding."""
