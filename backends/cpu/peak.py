"""What this machine can do: peak FMA rate and memory bandwidth, measured with generated kernels."""

from __future__ import annotations

import ctypes
import time
from functools import cache
from threading import Thread

import numpy as np

from graphc.backends.cache import KernelCache
from graphc.backends.cpu.compile import compile_kernels
from graphc.backends.cpu.target import CpuTarget, find
from graphc.backends.lines import Lines
from graphc.backends.load import LoadedKernels

STREAM_BYTES = 64 << 20
FMA_ROUNDS = 200_000


def _fma_source(target: CpuTarget) -> str:
    """Independent chains of FMAs on as many registers as hide the latency."""
    s = Lines()
    chains = min(target.registers - 2, 20)
    with s.block("def peak_fma(p, lo, hi, tid):"):
        for i in range(chains):
            s(f"a{i} = vload(p, {i})")
        s("m = vload(p, 0)")
        with s.block("for k in range(lo, hi):"):
            for i in range(chains):
                s(f"a{i} = vfma(a{i}, m, m)")
        for i in range(chains):
            s(f"vstore(p, {i * target.lanes}, a{i})")
    return s.text()


def _read_source(target: CpuTarget) -> str:
    s = Lines()
    with s.block("def peak_read(p, lo, hi, tid):"):
        for i in range(4):
            s(f"a{i} = vzero()")
        with s.block("for k in range(lo, hi):"):
            for i in range(4):
                s(f"a{i} = vadd(a{i}, vload(p, (4 * k + {i}) * {target.lanes}))")
        s("vstore(p, 0, vadd(vadd(a0, a1), vadd(a2, a3)))")
    return s.text()


@cache
def measure(target_name: str, threads: int) -> tuple[float, float]:
    """FLOP/s and bytes/s read from memory, of ``threads`` threads together; a tenth of a second each."""
    target = find(target_name)
    sources = {"peak_fma": _fma_source(target), "peak_read": _read_source(target)}
    loaded = LoadedKernels(compile_kernels(sources, target, KernelCache.default()))
    chains = min(target.registers - 2, 20)
    flops = threads * 2 * chains * target.lanes * FMA_ROUNDS
    small = [np.zeros(4096, np.float32) for _ in range(threads)]
    big = [np.zeros(STREAM_BYTES // 4, np.float32) for _ in range(threads)]
    rounds = STREAM_BYTES // (16 * target.lanes)
    fma = flops / _best(loaded.addresses["peak_fma"], small, FMA_ROUNDS)
    read = threads * STREAM_BYTES / _best(loaded.addresses["peak_read"], big, rounds)
    return fma, read


def _best(address: int, buffers: list[np.ndarray], rounds: int, tries: int = 5) -> float:
    """Seconds of the fastest try in which all threads run the kernel once."""
    function = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_ssize_t] * 6)(address)
    ignored = np.zeros(2, np.int64)
    base = ignored.ctypes.data
    best = float("inf")
    for _ in range(tries):
        calls = [(base, base + 8, b.ctypes.data, 0, rounds, 0) for b in buffers]
        others = [Thread(target=function, args=c) for c in calls[1:]]
        start = time.perf_counter()
        for t in others:
            t.start()
        function(*calls[0])
        for t in others:
            t.join()
        best = min(best, time.perf_counter() - start)
    return best
