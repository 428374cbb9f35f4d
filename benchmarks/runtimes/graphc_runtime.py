"""graphc: a saved plan; ``compile_plan.py`` wrote it and filled the kernel cache."""

from __future__ import annotations

from model_files import ModelFiles

import graphc
from runtimes import Run


def load(files: ModelFiles, threads: int, int8: bool = False) -> Run:
    """The plan, loaded."""
    plan = graphc.load(files.int8_plan if int8 else files.plan, threads)
    return lambda inputs: list(plan.run(inputs).values())
