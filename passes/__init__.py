"""Passes: Graph to Graph, and Graph to Schedule. Imports ``graphc.ir`` and nothing else of graphc."""
