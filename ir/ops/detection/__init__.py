"""Boxes of detectors, and features of regions."""
