"""The memory that threads share while they run a plan: layout of job and team blocks, in int64 words.

The driver of a backend works on it in native code, the runtime fills it in; neither knows more of the other.
"""

from __future__ import annotations

from enum import IntEnum


class Job(IntEnum):
    """Words of a job block. STEPS: per step the first task, the number of tasks, and n: a thread takes an n-th of what
    is left of a slot at a time. TASKS: per task function,
    parameters, units and the sum of the units of the tasks before it in its step. The steps of a run are the
    generations from BASE up to END."""

    GENERATION = 0
    END = 1
    BASE = 8
    N_STEPS = 9
    STEPS = 10
    TASKS = 11
    SLOTS = 12
    YIELD = 13
    IGNORED = 14
    REMAINING = 16
    SLOT0 = 24


class Team(IntEnum):
    """Words of the team block. STATE0 + SLOT_WORDS * (t - 1): 1 while worker t is in ``serve``, 0 while it sleeps; the
    word after it: the job that the worker looks at, 0 for none. A job whose address stands there must not be freed."""

    SEQUENCE = 0
    JOB = 1
    STATE0 = 8


SLOT_WORDS = 8
"""A slot or state has a cache line of its own."""


def job_words(slots: int) -> int:
    """Size of a job block in words."""
    return Job.SLOT0 + SLOT_WORDS * slots
