"""Conversions between packed photos and float planes."""
