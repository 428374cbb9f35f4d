"""The driver: native code that walks a job's steps, with any number of threads and no Python.

One step is active at a time, named by the job's generation number, which only grows. Each of ``slots`` threads owns a
range of the step's units; a slot word holds ``generation << 32 | next unit`` and is advanced by compare-and-swap, so a
thread takes work from its own slot first, then from the others', and one that comes late or was suspended can never
touch a step that is over. Whoever finishes the last unit opens the next step. No thread waits for a thread that is not
there: a job completes with the calling thread alone.

A worker thread runs ``serve``: it waits for the team's sequence number to change, joins the job named there, and
returns when it has waited so long that sleeping is better.
"""

from __future__ import annotations

from graphc.backends.job import SLOT_WORDS, Job, Team

SPINS_BEFORE_YIELD = 4096
SPINS_BEFORE_SLEEP = 40_000
"""Waits between two looks at memory; one takes 10 to 40 ns."""


NAME = "driver"

_DRIVE = """
def open_step(job, step, generation):
    steps = ld(job, {STEPS}); tasks = ld(job, {TASKS}); slots = ld(job, {SLOTS})
    last = ld(steps, 3 * step) + ld(steps, 3 * step + 1) - 1
    units = ld(tasks, 4 * last + 2) + ld(tasks, 4 * last + 3)
    astore(job + {REMAINING} * 8, units)
    for q in range(slots):
        astore(job + ({SLOT0} + {SLOT_WORDS} * q) * 8, ((generation & 0x7fffffff) << 32) | (units * q // slots))
    astore(job + {GENERATION} * 8, generation)

def run_units(job, step, lo, hi, tid):
    steps = ld(job, {STEPS}); tasks = ld(job, {TASKS}); ignored = job + {IGNORED} * 8
    first = ld(steps, 3 * step)
    for k in range(first, first + ld(steps, 3 * step + 1)):
        before = ld(tasks, 4 * k + 3)
        a = max(lo - before, 0)
        b = min(hi - before, ld(tasks, 4 * k + 2))
        if a < b:
            callk(ld(tasks, 4 * k), ld(tasks, 4 * k + 1), a, b, tid, ignored)

def take(job, step, generation, tid):
    steps = ld(job, {STEPS}); tasks = ld(job, {TASKS}); slots = ld(job, {SLOTS})
    last = ld(steps, 3 * step) + ld(steps, 3 * step + 1) - 1
    units = ld(tasks, 4 * last + 2) + ld(tasks, 4 * last + 3)
    for k in range(slots):
        q = (tid + k) % slots
        limit = units * (q + 1) // slots
        word = job + ({SLOT0} + {SLOT_WORDS} * q) * 8
        while True:
            w = aload(word)
            a = w & 0xffffffff
            if (w >> 32) != (generation & 0x7fffffff) or a >= limit:
                break
            n = limit - a
            if slots > 1:
                n = max(n // ld(steps, 3 * step + 2), 1)
            if aswap(word, w, w + n) == w:
                run_units(job, step, a, a + n, tid)
                if aadd(job + {REMAINING} * 8, -n) == n:
                    if generation + 1 < ld(job, {END}):
                        open_step(job, step + 1, generation + 1)
                    else:
                        astore(job + {GENERATION} * 8, generation + 1)
                return True
    return False

def work(job, tid):
    spins = 0
    while True:
        generation = aload(job + {GENERATION} * 8)
        step = generation - aload(job + {BASE} * 8)
        if step < 0 or generation >= aload(job + {END} * 8):
            return
        if tid < aload(job + {SLOTS} * 8) and take(job, step, generation, tid):
            spins = 0
        elif tid >= aload(job + {SLOTS} * 8):
            return
        else:
            spins += 1
            pause()
            if spins > {SPINS_BEFORE_YIELD}:
                cpu_yield(ld(job, {YIELD}))
"""

_START = """
def driver(p, lo, hi, tid):
    job = p
    if lo == 1:
        serve(p, tid)
        return
    generation = ld(job, {GENERATION}) + 1
    astore(job + {BASE} * 8, generation)
    astore(job + {END} * 8, generation + ld(job, {N_STEPS}))
    open_step(job, 0, generation)
    if hi != 0:
        astore(hi + {JOB} * 8, job)
        aadd(hi + {SEQUENCE} * 8, 1)
    work(job, 0)

def serve(team, tid):
    state = team + ({STATE0} + {SLOT_WORDS} * (tid - 1)) * 8
    seen = 0
    spins = 0
    while True:
        now = aload(team + {SEQUENCE} * 8)
        if now != seen:
            seen = now
            spins = 0
            job = aload(team + {JOB} * 8)
            aswap(state + 8, 0, job)
            if job != 0 and aload(team + {JOB} * 8) == job:
                work(job, tid)
            astore(state + 8, 0)
        spins += 1
        pause()
        if spins > {SPINS_BEFORE_SLEEP}:
            astore(state, 0)
            if aload(team + {SEQUENCE} * 8) == seen or aswap(state, 0, 1) != 0:
                return
            spins = 0
"""


def source() -> str:
    """Source of ``driver(p, lo, hi, tid)``.

    lo = 0: start the job at ``p`` and work on it as thread 0 until it is done; ``hi``: the team to call, or 0.
    lo = 1: serve the team at ``p`` as thread ``tid``.
    """
    words = {m.name: int(m) for e in (Job, Team) for m in e}
    words |= {
        "SLOT_WORDS": SLOT_WORDS,
        "SPINS_BEFORE_YIELD": SPINS_BEFORE_YIELD,
        "SPINS_BEFORE_SLEEP": SPINS_BEFORE_SLEEP,
    }
    return (_DRIVE + _START).format(**words)
