"""Operators whose record gives a loop: the loop itself, compiled."""
