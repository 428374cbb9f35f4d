"""The smallest arena in which onnxruntime runs a net: ``python benchmarks/memory_onnxruntime.py NET.onnx``.

Its planner has no report that can be read, but its arena has a limit. A run in a process of its own shows for one limit
whether the net runs three times on one thread; bisection finds the limit to one part in 200. Weights lie outside of the
arena, as in graphc; graph optimisations are all on, as by default.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime

MOST = 1 << 27
LEAST = 1 << 20
PRECISION = 200


def runs_within(path: str, limit: int) -> bool:
    """Run the net three times in an arena of at most ``limit`` bytes."""
    settings = {"max_mem": limit, "arena_extend_strategy": 1, "initial_chunk_size_bytes": 256}
    kinds = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    memory = onnxruntime.OrtMemoryInfo("Cpu", *kinds)
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(settings))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        given = {
            i.name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], np.float32)
            for i in session.get_inputs()
        }
        for _ in range(3):
            session.run(None, given)
    except Exception as error:
        if "arena" in str(error) or "Fail" in type(error).__name__:
            return False
        raise
    return True


def runs(path: str, limit: int) -> bool:
    """The same in a process of its own, because allocators stay with the process."""
    done = subprocess.run([sys.executable, __file__, path, str(limit)], check=False, capture_output=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode())
    return done.returncode == 0


def smallest(path: str) -> int:
    """Bytes; 0 where no limit stops the net, because onnxruntime does not keep to it. It ignores the lowest ones."""
    high = MOST
    while runs(path, high // 2):
        high //= 2
        if high < LEAST:
            return 0
    low = high // 2
    while high - low > high // PRECISION:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(path, middle) else (middle, high)
    return high


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(0 if runs_within(sys.argv[1], int(sys.argv[2])) else 1)
    print(smallest(sys.argv[1]))
