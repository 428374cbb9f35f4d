"""What Linux tells about processes and the machine: CPU time, peak memory, the processor's name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = (0, 1, 2, 5, 6, 7)
"""Fields of the ``cpu`` line of /proc/stat for time in use: user, nice, system, interrupts (two), stolen."""


@dataclass(frozen=True)
class CpuTime:
    """Seconds of CPU used so far, by one process and by all."""

    own: float
    all: float


def cpu_time(pid: int) -> CpuTime:
    """CPU used by a process (with all its threads) and by the whole machine."""
    machine = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    process = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return CpuTime((int(process[11]) + int(process[12])) / TICKS, sum(int(machine[i]) for i in BUSY) / TICKS)


def peak_memory() -> float:
    """Most memory that this process ever held, in MB, shared libraries and mapped files included.

    ``ru_maxrss`` would not do: a new process inherits the figure of the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status names no VmHWM")


def processor() -> str:
    """Name of the processor and number of cores that this process may use."""
    names = [n for n in Path("/proc/cpuinfo").read_text().splitlines() if n.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else os.uname().machine
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
