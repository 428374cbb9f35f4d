"""Backends: schedules and kernels to machine code. Imports ``graphc.ir`` and nothing else of graphc."""
