"""Operators that run in Python between native segments: strings, maps, control flow, reports."""
